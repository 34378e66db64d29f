"""Who uses a store, and whether they are alive: by their lock where this machine can see it, else by their last word.

Where a process works is known by machine and folder, by name and mark.

The mark is made once in each folder, as two machines, or containers, may have the very same names.
"""

import fcntl
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from data.files import storage_errors
from data.locks import is_held

MARK = ".machine"  # file in the folder


def lock_of(root: Path, kind: str, one: str) -> Path:
    """The owner lock of a run or a collection, in the work folder of the store at `root`."""
    return root / "work" / f"{kind}-{one}.lock"


def is_alive(root: Path, kind: str, one: str, place: str, said: str, lease: float) -> bool:
    """Whether somebody who works at `place` is there still: of this folder whoever holds their lock, of another one
    whoever spoke in the last `lease` seconds; `said` is their last word, as `now` gave it."""
    if is_place_of(root, place):
        return is_held(lock_of(root, kind, one))
    return (datetime.now(UTC) - datetime.fromisoformat(said)).total_seconds() < lease


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def this_process() -> str:
    """For people."""
    return f"process {os.getpid()} on {os.uname().nodename}"


def place_of(root: Path) -> str:
    """In words that no other folder has. `root` must be there; its mark is made if need be."""
    with storage_errors(root), (root / MARK).open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if not (mark := file.read()):
            mark = uuid.uuid4().hex
            file.write(mark)
            file.flush()
    return _named(root, mark)


def is_place_of(root: Path, place: str) -> bool:
    """Whether `place_of` gave this for the folder. Writes nothing."""
    try:
        with storage_errors(root):
            return place == _named(root, (root / MARK).read_text(encoding="ascii"))
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _named(root: Path, mark: str) -> str:
    return f"{os.uname().nodename}:{root}:{mark}"
