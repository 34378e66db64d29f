"""Owner locks that die with their owner: advisory `flock` on a file that carries who holds it.

The kernel lets go when the holder ends, however it ends, so there is no stale lock to break. POSIX only.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL = 0.1  # seconds between two tries


@contextmanager
def owner_lock(path: Path, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold `path` exclusively; wait as long as another process or thread does, telling `on_wait` once who it is."""
    told = False
    while (descriptor := _try(path)) is None:
        if not told and on_wait is not None:
            told = True
            on_wait(holder(path))
        time.sleep(POLL)
    with _held(path, descriptor):
        yield


@contextmanager
def owner_lock_if_free(path: Path) -> Iterator[bool]:
    """Like `owner_lock`, without waiting: yields whether the lock was taken."""
    descriptor = _try(path)
    if descriptor is None:
        yield False
        return
    with _held(path, descriptor):
        yield True


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock; in doubt, when another one asks at the same moment, yes."""
    if not path.exists():
        return False
    with owner_lock_if_free(path) as free:
        return not free


def holder(path: Path) -> str:
    """Who holds the lock, in words; a guess when they are just letting go."""
    try:
        return path.read_text().strip() or "another process"
    except OSError:
        return "another process"


def _try(path: Path) -> int | None:
    """An open descriptor that holds the lock, or None. A file that its last holder removed meanwhile does not count."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass  # held by somebody, or removed between our open and our lock: try again later
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


@contextmanager
def _held(path: Path, descriptor: int) -> Iterator[None]:
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # while still holding it: whoever waits on this file sees that it is gone
        os.close(descriptor)
