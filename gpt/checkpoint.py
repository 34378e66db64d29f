"""Checkpoints: everything a run needs to go on, as safetensors and JSON, never a pickle.

A checkpoint is a directory that appears by one rename after all of it is on the disk, and then the pointer `latest`
moves to it. A crash between any two writes leaves an older checkpoint to load. Randomness needs no file: every draw
of a step is seeded by (seed, step). Knows tensors by name and nothing of models or optimizers.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gpt.errors import GPTError
from gpt.files import digest, publish_directory, replace_text, write_json
from gpt.identity import refuse_other_identity
from gpt.jobfile import read_json

KEEP = 3
FORMAT = 1

Tensors = dict[str, torch.Tensor]


@dataclass
class Checkpoint:
    """The state after `step` updates.

    tensors   named groups ("weights", "optimizer", "best"), each a file of its own; CPU tensors when loaded
    state     numbers that determine how the run goes on (JSON)
    observed  numbers that do not, such as the seconds spent so far
    """

    step: int
    tensors: dict[str, Tensors]
    state: dict[str, Any]
    observed: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one run below `root`; `identity` is what must not change between save and resume."""

    def __init__(
        self, root: Path, identity: Mapping[str, Any], milestone_every: int = 1, milestone_age: int = 0
    ) -> None:
        """Checkpoints of steps that `milestone_every` divides are milestones, once `milestone_age` more steps are done.

        The newest milestone is never dropped. `pinned`, ascending, are steps that a run may want to go back to, of
        which the last counts: it stays with the milestone before it, and so does what was the last at that milestone.
        """
        self.pinned: Sequence[int] = ()
        self.root = root
        self.identity = dict(identity)
        self.milestone_every = milestone_every
        self.milestone_age = milestone_age

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, move `latest` to it and drop all but the last few; returns its directory."""
        final = self.root / _name(checkpoint.step)
        self.root.mkdir(parents=True, exist_ok=True)
        self.sweep()
        if final.exists():  # of the same step of the same run; after going back, of another learning rate
            shutil.rmtree(final) if not _holds(final, checkpoint) else None
        if not final.exists():
            temporary = self.root / f".partial-{final.name}"
            temporary.mkdir()
            write_state(temporary, checkpoint, self.identity)
            write_json(temporary / "observed.json", checkpoint.observed)
            publish_directory(temporary, final)
        replace_text(self.root / "latest", final.name + "\n")
        self._prune(checkpoint.step)
        return final

    def _prune(self, step: int) -> None:
        """Drop what a run at `step` cannot want any more."""
        pinned = self.pinned
        milestone = self._newest_milestone(min(step, *pinned[-1:]) if pinned else step)
        earlier = [one for one in pinned if one <= milestone]
        pins = {*earlier[-1:], *pinned[len(earlier) :]}
        for old in map(_step, self._names()[:-KEEP]):
            is_milestone = old % self.milestone_every == 0 and old >= milestone
            if not (is_milestone or old in pins or old == step):
                shutil.rmtree(self.root / _name(old), ignore_errors=True)

    def load(self, note: Callable[[str], None]) -> Checkpoint | None:
        """The newest undamaged checkpoint, or None if there is none; `note` hears about damaged ones.

        Raises GPTError when the checkpoint was made with another model, tokenizer, data or training.
        """
        return self._load(self._candidates(), note)

    def back_to_milestone(self, step: int, note: Callable[[str], None]) -> Checkpoint | None:
        """The newest undamaged milestone at `step`, or None; all checkpoints after it are removed."""
        checkpoint = self._load(self._milestones(step), note)
        for name in self._names():
            if checkpoint is None or _step(name) > checkpoint.step:
                shutil.rmtree(self.root / name)
        return checkpoint

    def back_to(self, step: int, note: Callable[[str], None]) -> Checkpoint | None:
        """The checkpoint of a pinned step, and all after it are removed; None if it is gone or damaged."""
        checkpoint = self._load([_name(step)], note)
        for name in self._names() if checkpoint is not None else ():
            if _step(name) > step:
                shutil.rmtree(self.root / name)
        return checkpoint

    def _load(self, names: list[str], note: Callable[[str], None]) -> Checkpoint | None:
        for name in names:
            folder = self.root / name
            if not _is_whole(folder):
                note(f"Checkpoint {folder} is damaged; going on from an older one.")
                continue
            refuse_other_identity(read_json(folder / "state.json")["identity"], self.identity, folder)
            return read_state(folder, read_json(folder / "observed.json"))
        return None

    def sweep(self) -> None:
        """Remove what a crashed save left behind."""
        for path in self.root.glob(".partial-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _names(self) -> list[str]:
        return sorted(path.name for path in self.root.glob("step-*"))

    def _milestones(self, step: int) -> list[str]:
        """Those that count as such at `step`, newest first."""
        steps = range(0, step - self.milestone_age + 1, self.milestone_every)
        return [name for name in self._names()[::-1] if _step(name) in steps]

    def _newest_milestone(self, step: int) -> int:
        return next(map(_step, self._milestones(step)), 0)

    def _candidates(self) -> list[str]:
        pointer = self.root / "latest"
        names = self._names()[::-1]
        pointed = pointer.read_text(encoding="utf-8").strip() if pointer.exists() else ""
        return [pointed] * (pointed in names) + [name for name in names if name != pointed]


def save_tensors(path: Path, tensors: Tensors) -> None:
    """Write named tensors as safetensors; raises GPTError when the disk refuses."""
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        raise GPTError(f"Cannot write {path}: {error}. Free space there, then run the same again.") from None


def write_state(folder: Path, checkpoint: Checkpoint, identity: Mapping[str, Any]) -> None:
    """Write tensors and state.json (with the files' digests) into an existing directory."""
    files = {}
    for group, tensors in sorted(checkpoint.tensors.items()):
        path = folder / f"{group}.safetensors"
        save_tensors(path, tensors)
        files[path.name] = digest(path)
    content = {"format": FORMAT, "step": checkpoint.step, "state": checkpoint.state, "identity": identity}
    write_json(folder / "state.json", content | {"files": files})


def read_state(folder: Path, observed: dict[str, Any] | None = None) -> Checkpoint:
    """Read what `write_state` wrote and nobody has damaged."""
    content = read_json(folder / "state.json")
    tensors = {file.removesuffix(".safetensors"): load_file(folder / file) for file in content["files"]}
    return Checkpoint(content["step"], tensors, content["state"], observed or {})


def is_whole_state(folder: Path) -> bool:
    """Whether `folder` holds what `write_state` wrote, byte for byte."""
    try:
        files = read_json(folder / "state.json")["files"]
        return all((folder / f).exists() and digest(folder / f) == d for f, d in files.items())
    except (GPTError, KeyError, AttributeError, TypeError, OSError):
        return False


def _holds(folder: Path, checkpoint: Checkpoint) -> bool:
    return _is_whole(folder) and read_json(folder / "state.json")["state"] == checkpoint.state


def _name(step: int) -> str:
    return f"step-{step:09d}"


def _step(name: str) -> int:
    return int(name.rpartition("-")[2])


def _is_whole(folder: Path) -> bool:
    try:
        read_json(folder / "observed.json")
    except GPTError:
        return False
    return is_whole_state(folder)
