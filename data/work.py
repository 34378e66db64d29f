"""The work folder of a store: builds in progress, each with its lock, and what killed ones have left.

    work/<stage>-<key>/out/      a payload being written; thrown away unless it is published
    work/<stage>-<key>/keep/     what an unfinished build wants to find again (checkpoints, cut downloads)
    work/<stage>-<key>.lock      who is building

What is being removed lies here, too, until it is deleted.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data.files import make_folder, sync_folder
from data.locks import owner_lock, owner_lock_if_free
from data.manifest import safe_name

_LOCK = ".lock"


class WorkFolder:
    """The folder `work/` at `base`, which need not exist yet."""

    def __init__(self, base: Path) -> None:
        self.base = base

    @contextmanager
    def owned(self, stage: str, key: str, on_wait: Callable[[str], None] | None = None) -> Iterator[Path]:
        """Be the one who builds or removes an artifact; gives its work folder. Whoever is at it is waited for."""
        work = self.base / f"{safe_name(stage)}-{key}"
        make_folder(self.base)
        with owner_lock(_lock_of(work), on_wait):
            yield work

    @contextmanager
    def owned_if_free(self, stage: str, key: str) -> Iterator[Path | None]:
        """The same, or None where somebody is at it."""
        work = self.base / f"{safe_name(stage)}-{key}"
        make_folder(self.base)
        with owner_lock_if_free(_lock_of(work)) as free:
            yield work if free else None

    def sweep(self, is_left_over: Callable[[Path], bool]) -> list[str]:
        """Throw away work that nobody is on, and that nobody can continue or `is_left_over`; returns names."""
        swept = []
        names = {path.name.removesuffix(_LOCK) for path in self.base.iterdir()} if self.base.is_dir() else set()
        for work in (self.base / name for name in sorted(names)):
            with owner_lock_if_free(_lock_of(work)) as free:  # which also removes a lock that outlived its folder
                if free and work.is_dir() and (is_left_over(work) or not has_files(work / "keep")):
                    shutil.rmtree(work, ignore_errors=True)
                    swept.append(work.name)
        return swept

    def clear(self, is_unwanted: Callable[[Path], bool]) -> list[str]:
        """Throw away the work folders that `is_unwanted` names and nobody is on; returns names."""
        cleared = []
        for work in sorted(self.base.glob("*")):
            if work.is_dir() and is_unwanted(work):
                with owner_lock_if_free(_lock_of(work)) as free:
                    if free:
                        shutil.rmtree(work)
                        cleared.append(work.name)
        return cleared

    def delete(self, folder: Path) -> None:
        """Delete a published folder: it is gone from its place at once, whenever this is killed."""
        aside = self.base / f"removed-{uuid.uuid4().hex[:8]}"
        with owner_lock(_lock_of(aside)):  # so that nobody sweeps it meanwhile
            os.rename(folder, aside)
            sync_folder(folder.parent)
            shutil.rmtree(aside)


def has_files(folder: Path) -> bool:
    """Whether there is any file below a folder, which need not exist."""
    return any(path.is_file() for path in folder.rglob("*"))


def newest_change(folder: Path) -> int:
    """When a file below `folder` was changed last, in nanoseconds since 1970; 0 when there is none."""
    return max((path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()), default=0)


def _lock_of(work: Path) -> Path:
    return work.with_name(work.name + _LOCK)
