"""Saving without standing still: training waits for a copy in memory, a thread writes it to the disk.

There is at most one copy and one writer: whoever saves again waits for the writer first. What went wrong in the writer
is raised in the training, when it next asks. Knows neither models nor what a checkpoint means.
"""

import threading
from collections.abc import Callable

import torch

from gpt.checkpoint import Checkpoint, Tensors


class Snapshot:
    """A copy of named tensors in CPU memory; the memory of one copy is used again for the next."""

    def __init__(self) -> None:
        self._copies: dict[str, Tensors] = {}
        self._lasting: dict[str, tuple[Tensors, Tensors]] = {}  # by group: what was copied, and its copy

    @torch.no_grad()
    def take(self, tensors: dict[str, Tensors], lasting: dict[str, Tensors]) -> dict[str, Tensors]:
        """Copies of both; they hold until the next call.

        tensors  groups whose tensors change from step to step
        lasting  groups whose tensors never change; another dict means other tensors. Only copied from another device
        """
        copies = {group: self._copy(group, named) for group, named in tensors.items()}
        for group, named in lasting.items():
            if group not in self._lasting or self._lasting[group][0] is not named:
                self._lasting[group] = (named, {name: tensor.detach().cpu() for name, tensor in named.items()})
            copies[group] = self._lasting[group][1]
        if any(tensor.is_cuda for named in tensors.values() for tensor in named.values()):
            torch.cuda.synchronize()  # the copies into pinned memory
        return copies

    def _copy(self, group: str, tensors: Tensors) -> Tensors:
        copies = self._copies.get(group, {})
        if {n: (t.shape, t.dtype) for n, t in copies.items()} != {n: (t.shape, t.dtype) for n, t in tensors.items()}:
            copies = {
                name: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
                for name, tensor in tensors.items()
            }
            self._copies[group] = copies
        for name, tensor in tensors.items():
            copies[name].copy_(tensor, non_blocking=tensor.is_cuda)
        return copies


class BackgroundSaver:
    """Writes checkpoints one after the other, each in a thread of its own."""

    def __init__(self, write: Callable[[Checkpoint], object]) -> None:
        """`write` puts one checkpoint on the disk; it runs in another thread than `save`."""
        self._write = write
        self._snapshot = Snapshot()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def copy(self, checkpoint: Checkpoint, lasting: dict[str, Tensors]) -> Checkpoint:
        """The checkpoint with copies of its tensors and of `lasting` groups, good until the next copy or save."""
        self.wait()
        tensors = self._snapshot.take(checkpoint.tensors, lasting)
        return Checkpoint(checkpoint.step, tensors, checkpoint.state, checkpoint.observed)

    def save(self, checkpoint: Checkpoint, lasting: dict[str, Tensors]) -> None:
        """Copy a checkpoint and have it written; returns before it is, but after the one before it."""
        copied = self.copy(checkpoint, lasting)
        self._thread = threading.Thread(target=self._run, args=(copied,), name="checkpoint")
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def raise_failure(self) -> None:
        """Raise what made the last write fail, once."""
        if self._failure is not None and not self.is_busy:
            failure, self._failure = self._failure, None
            raise failure

    def wait(self) -> None:
        """Return when nothing is being written any more; raises what made the last write fail."""
        self.join()
        self.raise_failure()

    def join(self) -> None:
        """Return when nothing is being written any more, whatever came of it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, checkpoint: Checkpoint) -> None:
        try:
            self._write(checkpoint)
        except BaseException as failure:
            self._failure = failure
