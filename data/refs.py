"""The only mutable state of a store: ledgers, champions, cursors, pointers to the newest of a kind.

A value is an immutable snapshot; its name is a pointer that moves by compare-and-swap, so that of two writers who
both read the old value exactly one succeeds and the other is told. Everything else in a store never changes.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.digests import text_digest
from data.errors import TextmillError
from data.files import make_folder, storage_errors, write_durably
from data.locks import owner_lock
from data.manifest import canonical_json, safe_name

KEPT_SNAPSHOTS = 20  # per name, newest first


@dataclass(frozen=True)
class Snapshot:
    """A value as it was read; `token` is what `swap` wants to see unchanged (None: there was nothing yet)."""

    value: Any
    token: str | None


class RefMovedError(TextmillError):
    """Somebody else moved the pointer between our reading and our writing."""


class Refs:
    """Named JSON values below `root`, e.g. `ledgers/6f1c...`; each part of a name becomes one harmless folder name.

    Every method raises StorageError when the disk refuses.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, name: str) -> str:
        """Where `name` is kept, for people."""
        return str(self.root / name)

    def read(self, name: str) -> Snapshot:
        """The value of `name` now. Raises TextmillError when what is there cannot be read."""
        return self._read(self._folder(name))

    def _read(self, folder: Path) -> Snapshot:
        pointer = folder / "current"
        try:
            with storage_errors(self.root):
                token = pointer.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return Snapshot(None, None)
        except ValueError as error:
            raise TextmillError(self._damaged(folder, str(error))) from error
        try:
            with storage_errors(self.root):
                text = (folder / f"{token}.json").read_text(encoding="utf-8")
            if (found := token_of(text)) != token:
                raise TextmillError(self._damaged(folder, f"its snapshot {token} has the content of {found}"))
            return Snapshot(json.loads(text), token)
        except FileNotFoundError:
            if not pointer.exists() or pointer.read_text(encoding="utf-8").strip() != token:
                return self._read(folder)  # others have moved the pointer on so often that this one was forgotten
            raise TextmillError(self._damaged(folder, "its snapshot is missing")) from None
        except ValueError as error:
            raise TextmillError(self._damaged(folder, str(error))) from error

    def swap(self, name: str, seen: str | None, value: Any) -> str:
        """Put `value` in place of the value read with token `seen`; returns the new token.

        Raises RefMovedError when somebody else moved the pointer since then: read again and decide anew.
        """
        folder = self._folder(name)
        text = canonical_json(value)
        token = token_of(text)
        with storage_errors(self.root):
            make_folder(folder)
            self._swap_locked(folder, seen, token, text)
        return token

    def _swap_locked(self, folder: Path, seen: str | None, token: str, text: str) -> None:
        with owner_lock(folder / "lock"):
            now = self._read(folder).token
            if now != seen:
                raise RefMovedError(
                    f"{folder} was changed by another run meanwhile (expected {seen}, found {now}): run it again."
                )
            if token != now:
                write_durably(folder / f"{token}.json", text)
                write_durably(folder / "current", token + "\n")
                self._forget_old(folder, token)

    def update(self, name: str, change: Callable[[Any], Any]) -> Any:
        """Replace the value of `name` by `change(value)`, computed anew as often as others come between; returns it."""
        while True:
            seen = self.read(name)
            value = change(seen.value)
            try:
                self.swap(name, seen.token, value)
                return value
            except RefMovedError:
                continue

    def names(self, folder: str) -> list[str]:
        """Names of all values below `folder` (one level), sorted."""
        with storage_errors(self.root):
            found = [path.name for path in (self.root / folder).glob("*") if (path / "current").exists()]
        return sorted(f"{folder}/{name}" for name in found)

    def drop_earlier(self, name: str) -> None:
        """Delete every snapshot of `name` but the one that counts now."""
        folder = self._folder(name)
        if (token := self._read(folder).token) is None:
            return
        with storage_errors(self.root), owner_lock(folder / "lock"):
            token = self._read(folder).token
            for path in folder.glob("*.json"):
                if path.stem != token:
                    path.unlink(missing_ok=True)

    def _folder(self, name: str) -> Path:
        return self.root.joinpath(*(folder_name(part) for part in name.split("/")))

    def _damaged(self, folder: Path, why: str) -> str:
        return f"{folder} is damaged: {why}. Delete that folder: the next run starts this state anew."

    def _forget_old(self, folder: Path, current: str) -> None:
        old = sorted(folder.glob("*.json"), key=os.path.getmtime, reverse=True)[KEPT_SNAPSHOTS:]
        halves = folder.glob(".*")  # of writers that were killed; the lock is ours, so nobody is writing now
        for path in (*old, *halves):
            if path.stem != current:
                path.unlink(missing_ok=True)


def token_of(text: str) -> str:
    return text_digest(text)[:32]


def folder_name(part: str) -> str:
    """A harmless folder name, and another one for every other part: what sanitising loses is made up by a digest."""
    plain = safe_name(part)
    return plain if plain == part else f"{plain[:40]}-{text_digest(part)[:16]}"
