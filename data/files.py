"""Writing that survives a power cut, and storage errors said in one line."""

import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import TextmillError

REMEDIES = {
    errno.ENOSPC: "the disk is full: free space there, or point TEXTMILL_STORE at another disk",
    errno.EDQUOT: "the quota is used up: free space there, or point TEXTMILL_STORE elsewhere",
    errno.EROFS: "the file system is read-only: mount it writable, or point TEXTMILL_STORE elsewhere",
    errno.EACCES: "permission denied: change the owner or mode, or point TEXTMILL_STORE elsewhere",
    errno.EPERM: "operation not permitted: change the owner or mode, or point TEXTMILL_STORE elsewhere",
    errno.EFBIG: "the file would grow over the allowed size: raise the limit (ulimit -f)",
    errno.ENOTDIR: "a part of that path is a file, not a folder: point TEXTMILL_STORE elsewhere",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
    errno.EIO: "the disk reports an input/output error: check it before going on",
}


class StorageError(TextmillError):
    """The store's disk or server did not take or give what was asked; `code` is the server's word for why."""

    code = ""


@contextmanager
def storage_errors(root: Path) -> Iterator[None]:
    """Turn the errors of a full, read-only, over-quota or unwritable disk into a StorageError that names the place."""
    try:
        yield
    except TextmillError:
        raise
    except Exception as error:
        number = _errno_of(error)
        if number not in REMEDIES:
            raise
        where = getattr(error, "filename", None) or root
        raise StorageError(f"Cannot use {where} (store {root}): {REMEDIES[number]}.") from error


def _errno_of(error: Exception) -> int | None:
    """The system's number for what went wrong, also where a library only says it in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if in_words := re.search(r"\(os error (\d+)\)", str(error)):  # libraries written in Rust
        return int(in_words[1])
    if isinstance(error, OSError) and "requested and" in str(error):  # numpy, when a write took only a part
        return errno.ENOSPC
    return None


def make_folder(path: Path) -> None:
    """Create a folder and those above it as far as they are missing; their entries survive a power cut."""
    if not path.is_dir():
        make_folder(path.parent)
        try:
            path.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Force a file's bytes to the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Force a folder's entries (creations, renames) to the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, text: str) -> None:
    """Replace `path` by `text` at once and for good: a reader sees the old text or the new, also after a power cut."""
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        partial.write_text(text, encoding="utf-8")
        sync_file(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
