"""Writing files so that a crash at any moment leaves the old state or the new one. Knows nothing of their content."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def sync(path: Path) -> None:
    """Force a file's or directory's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Write JSON (sorted keys, no NaN) and force it to the disk; not atomic by itself."""
    path.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    sync(path)


def replace_text(path: Path, text: str) -> None:
    """Give `path` a new content in one rename: readers see the old text or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    sync(temporary)
    os.replace(temporary, path)
    sync(path.parent)


def publish_directory(temporary: Path, final: Path) -> None:
    """Force a finished directory to the disk and give it its name in one rename; `final` must not exist."""
    for path in sorted(temporary.rglob("*"), reverse=True):
        sync(path)
    sync(temporary)
    os.rename(temporary, final)
    sync(final.parent)


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
