"""The only mutable state of a store: ledgers, champions, cursors, pointers to the newest of a kind.

A value is an immutable snapshot; its name is a pointer that moves by compare-and-swap, so that of two writers who
both read the old value exactly one succeeds and the other is told. Everything else in a store never changes.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.digests import text_digest
from data.errors import TextmillError
from data.files import write_durably
from data.locks import owner_lock
from data.manifest import canonical_json, safe_name

KEPT_SNAPSHOTS = 20  # per name, newest first


@dataclass(frozen=True)
class Snapshot:
    """A value as it was read; `token` is what `swap` wants to see unchanged (None: there was nothing yet)."""

    value: Any
    token: str | None


class Refs:
    """Named JSON values below `root`, e.g. `ledgers/6f1c...`; names are sanitised part by part."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> Snapshot:
        """The value of `name` now. Raises TextmillError when what is there cannot be read."""
        folder = self._folder(name)
        try:
            token = (folder / "current").read_text().strip()
            return Snapshot(json.loads((folder / f"{token}.json").read_text()), token)
        except FileNotFoundError:
            if (folder / "current").exists():
                raise TextmillError(self._damaged(folder, "its snapshot is missing")) from None
            return Snapshot(None, None)
        except ValueError as error:
            raise TextmillError(self._damaged(folder, str(error))) from error

    def swap(self, name: str, seen: str | None, value: Any) -> str:
        """Put `value` in place of the value read with token `seen`; returns the new token.

        Raises TextmillError when somebody else moved the pointer since then: read again and decide anew.
        """
        folder = self._folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        text = canonical_json(value)
        token = text_digest(text)[:32]
        with owner_lock(folder / "lock"):
            now = self.read(name).token
            if now != seen:
                raise TextmillError(
                    f"{folder} was changed by another run meanwhile (expected {seen}, found {now}): run it again."
                )
            if token != now:
                write_durably(folder / f"{token}.json", text)
                write_durably(folder / "current", token + "\n")
                self._forget_old(folder, token)
        return token

    def names(self, prefix: str) -> list[str]:
        """The names of all values below `prefix`, sorted."""
        base = self._folder(prefix)
        return sorted(f"{prefix}/{path.parent.relative_to(base)}" for path in base.glob("**/current"))

    def _folder(self, name: str) -> Path:
        return self.root.joinpath(*(safe_name(part) for part in name.split("/")))

    def _damaged(self, folder: Path, why: str) -> str:
        return f"{folder} is damaged: {why}. Delete that folder: the next run starts this state anew."

    def _forget_old(self, folder: Path, current: str) -> None:
        old = sorted(folder.glob("*.json"), key=os.path.getmtime, reverse=True)[KEPT_SNAPSHOTS:]
        for path in old:
            if path.stem != current:
                path.unlink(missing_ok=True)
