"""One published folder in the place of another, so that one of them is found whole whenever this is killed.

    <stage>/<name>-<key>/              the artifact
    <stage>/.replaced/<name>-<key>/    what it replaces, from just before it takes its place until it has it

No file system exchanges two folders on every platform, so there is a moment at which the place is empty: then what lies
aside is the artifact. Whoever next holds the lock of its key settles it, see `settle`.
"""

import contextlib
import os
import shutil
from pathlib import Path

from data.errors import TextmillError
from data.files import make_folder, sync_folder
from data.manifest import KEY_LENGTH, Manifest
from data.verification import MANIFEST

ASIDE = ".replaced"


def folders_by_key(stage: Path) -> dict[str, Path]:
    """{key: folder} of everything published for a stage, one listing in all unless something lies aside."""
    names = _names(stage)
    found = _keyed(stage, names)
    if ASIDE in names:
        aside = _keyed(stage / ASIDE, _names(stage / ASIDE))
        return found | aside | _keyed(stage, _names(stage))  # looked at again: the place may have been filled meanwhile
    return found


def replace(existing: Path, out: Path, final: Path) -> None:
    """Put `out` at `final` in place of `existing`, of the same stage and key. Only under the lock of the key."""
    aside = existing.parent / ASIDE / existing.name
    _move_aside(existing, aside)
    try:
        _sync(existing.parent)
        os.rename(out, final)
    except BaseException:
        if not final.exists():
            os.rename(aside, existing)
        raise
    _sync(existing.parent)
    _delete(aside)


def settle(stage: Path, key: str, out: Path) -> Path | None:
    """Carry through what a killed `replace` has begun; only under the lock of the key. Returns what lay aside, or None.

    Where the place is empty, what should have come there comes there, if it still lies whole at `out`, else what lay
    aside. Where it is not, what lies aside is deleted.
    """
    aside = lying_aside(stage).get(key)
    if aside is None:
        return None
    if key not in _keyed(stage, _names(stage)):
        if name := _name_of(out, key):
            os.rename(out, stage / f"{name}-{key}")
        else:
            os.rename(aside, stage / aside.name)
        _sync(stage)
    _delete(aside)
    return aside


def lying_aside(stage: Path) -> dict[str, Path]:
    """{key: folder} of what was being replaced in a stage, or is just now."""
    return _keyed(stage / ASIDE, _names(stage / ASIDE))


def _move_aside(existing: Path, aside: Path) -> None:
    while True:
        make_folder(aside.parent)
        try:
            os.rename(existing, aside)
            return
        except FileNotFoundError:  # another key's replacement was over, and removed the folder that we had seen
            if not existing.is_dir():
                raise


def tidy(stage: Path) -> None:
    """Remove the folder in which things are laid aside, if nothing lies there."""
    with contextlib.suppress(OSError):
        (stage / ASIDE).rmdir()


def _name_of(out: Path, key: str) -> str | None:
    """What the payload at `out` is called, if it is all written: its manifest comes last."""
    try:
        manifest = Manifest.from_json((out / MANIFEST).read_text(encoding="utf-8"), str(out))
    except (OSError, UnicodeDecodeError, TextmillError):
        return None
    return manifest.name if manifest.key == key else None


def _delete(aside: Path) -> None:
    shutil.rmtree(aside, ignore_errors=True)
    tidy(aside.parent.parent)


def _sync(stage: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # another key's replacement was over, and removed it
        sync_folder(stage / ASIDE)
    sync_folder(stage)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _keyed(folder: Path, names: list[str]) -> dict[str, Path]:
    keyed = (name.rpartition("-") for name in names)
    return {key: folder / f"{name}-{key}" for name, _, key in keyed if name and len(key) == KEY_LENGTH}
