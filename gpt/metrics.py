"""The run's diary: lines of JSON that only grow, cut back to the checkpoint on a resume, and TensorBoard event files.

Knows how to write down numbers, not what they mean.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpt.files import replace_text, sync


class JsonLines:
    """A file of JSON objects, one per line, each with the key "step"."""

    def __init__(
        self, path: Path, resumed_step: int, is_ours: Callable[[dict[str, Any]], bool] = lambda line: True
    ) -> None:
        """Keep the whole lines up to `resumed_step` that `is_ours` of what an earlier process wrote; drop the rest."""
        self.path = path
        kept = [line for line in read_lines(path) if line["step"] <= resumed_step and is_ours(line)]
        replace_text(path, "".join(_line(content) for content in kept))

    def write(self, content: dict[str, Any]) -> None:
        """Append one line in one write, so that a reader sees whole lines. Raises OSError when it did not fit."""
        line = _line(content).encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Force the lines to the disk, before a checkpoint counts on them."""
        sync(self.path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of such a file, a torn last one left out; an absent file has none."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break  # torn by a crash; whatever follows is of a later step
    return lines


class Events:
    """TensorBoard scalars, if tensorboard is installed; else a note and nothing more.

    It is loaded when the first of them come, for that takes a second: a run that goes on has done an update by then.
    """

    def __init__(
        self,
        folder: Path,
        resumed_step: int,
        note: Callable[[str], None],
        also: Callable[[int, dict[str, float | None]], None] = lambda step, scalars: None,
    ) -> None:
        """Go on after `resumed_step`; -1 starts anew. `also` gets everything that is written."""
        self.folder, self.purged, self.note, self.also = folder, max(resumed_step + 1, 0) or None, note, also
        self.writer: Any = None
        self.is_open = False
        if resumed_step < 0:
            shutil.rmtree(folder, ignore_errors=True)

    def _open(self) -> None:
        self.is_open = True
        try:
            from torch.utils.tensorboard import SummaryWriter  # optional: the JSON lines hold the same numbers
        except ImportError:
            self.note("TensorBoard is not installed: no event files are written; metrics.jsonl has the same numbers.")
            return
        self.writer = SummaryWriter(str(self.folder), purge_step=self.purged)

    def write(self, step: int, scalars: dict[str, float | None]) -> None:
        """Record scalars at a step; None is left out."""
        self.also(step, scalars)
        if not self.is_open:
            self._open()
        if self.writer is not None:
            for name, value in scalars.items():
                if value is not None:
                    self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what is buffered."""
        if self.writer is not None:
            self.writer.close()


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, allow_nan=False) + "\n"
