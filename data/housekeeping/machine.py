"""Where a process works, so that others can tell whether they could see it alive: machine and folder, by name and mark.

The mark is made once in each folder, as two machines, or containers, may have the very same names.
"""

import fcntl
import os
import uuid
from pathlib import Path

from data.files import storage_errors

MARK = ".machine"  # file in the folder


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
