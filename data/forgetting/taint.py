"""Marks on artifacts that learnt from what was forgotten since. They lie in refs; no artifact is changed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from data.manifest import ArtifactRef, Manifest
from data.store import Store

NAME = "tainted"


@dataclass(frozen=True)
class Taint:
    """Why and since when (ISO 8601) an artifact is tainted."""

    ref: ArtifactRef
    date: str
    reason: str


def mark(store: Store, refs: Iterable[ArtifactRef], date: str, reason: str) -> None:
    """Mark artifacts; one that is marked keeps its first mark."""
    new = {ref.key: {"date": date, "reason": reason} for ref in refs}

    def add(value: dict[str, Any] | None) -> dict[str, Any]:
        return new | (value or {})

    if new:
        store.refs.update(NAME, add)


def tainted(store: Store) -> Iterator[Taint]:
    """All artifacts of the store that are marked, or were made since from one that is; in the order of manifests."""
    marks = store.refs.read(NAME).value or {}
    if not marks:
        return
    manifests = list(store.manifests())
    found: dict[str, Taint] = {}
    waiting = True
    while waiting:  # stages are not listed in the order in which they are made from each other
        waiting = False
        for manifest in manifests:
            if manifest.key not in found and (taint := _taint(manifest, marks, found)):
                found[manifest.key] = taint
                waiting = True
    yield from (found[manifest.key] for manifest in manifests if manifest.key in found)


def is_tainted(store: Store, ref: ArtifactRef) -> bool:
    """Whether an artifact learnt from text that was forgotten since."""
    return any(one.ref.key == ref.key for one in tainted(store))


def _taint(manifest: Manifest, marks: dict[str, Any], found: dict[str, Taint]) -> Taint | None:
    if one := marks.get(manifest.key):
        return Taint(manifest.ref, one["date"], one["reason"])
    for text in manifest.inputs:
        if parent := found.get(text.rpartition("-")[2]):
            return Taint(manifest.ref, parent.date, f"made from {text}: {parent.reason}")
    return None
