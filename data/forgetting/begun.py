"""Unfinished work that may hold what was forgotten: on the machine that forgets, at once; on others, at their next run.

refs/forgotten             when something was forgotten last, and the token arrays that went, which trainers read
<root>/forgotten.txt       up to when this machine has followed; of stores that several machines share
"""

import json
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from data.files import write_durably
from data.forgetting.gone import REMOVED
from data.manifest import ArtifactRef
from data.store import Store

NAME = "forgotten"


def note_removed(store: Store, refs: Iterable[ArtifactRef], date: str, in_parts: bool = False) -> None:
    """Note what is about to be removed, before it is; nothing where nothing is. `in_parts`: raw slots lose bytes."""
    gone = list(refs)
    read = {str(ref) for ref in gone if ref.stage in ("corpus", "tokens")}

    def add(value: Mapping[str, Any] | None) -> dict[str, Any]:
        return {"date": date, "read": sorted(read.union((value or {}).get("read", ())))}

    if gone or in_parts:
        store.refs.update(NAME, add)


def clear_begun(store: Store) -> list[str]:
    """Throw away what this machine has begun and may hold forgotten text; returns names of work folders."""
    return _clear(store, store.refs.read(NAME).value or {})


def follow(store: Store) -> list[str]:
    """The same on a machine where nobody has done that since something was forgotten on another one."""
    note = store.root / f"{NAME}.txt"
    if store.where == str(store.root):
        return []
    value = store.refs.read(NAME).value
    if value is None or (note.exists() and note.read_text() == value["date"]):
        return []
    return _clear(store, value)


def _clear(store: Store, value: Mapping[str, Any]) -> list[str]:
    cleared = store.clear_work(partial(_is_unwanted, value.get("read", ())))
    if value and store.root.is_dir() and store.where != str(store.root):
        write_durably(store.root / f"{NAME}.txt", value["date"])
    return cleared


def _is_unwanted(removed: Collection[str], work: Path) -> bool:
    """Whether unfinished work may hold forgotten text: anything up to tokens, and what trains on removed ones."""
    stage = work.name.rpartition("-")[0]
    if stage in (*REMOVED, "tokenizer", "removed", "replaced"):
        return True
    for job in work.rglob("*.json"):
        try:
            text = json.dumps(json.loads(job.read_text()), ensure_ascii=False)
        except (OSError, ValueError):
            continue
        if any(ref in text for ref in removed):
            return True
    return False
