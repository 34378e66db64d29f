"""What a store knows of the sources that it was filled from, in its refs: names, and which raw slots are theirs."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data.digests import text_digest
from data.manifest import canonical_json
from data.refs import Refs
from data.sources.base import SourceConfig

_FORGETTING = "forgetting"


@dataclass(frozen=True)
class KnownSource:
    """A source that a run has looked at.

    id     see `source_id`
    kind   as in settings; empty where only an older version has looked
    names  what recipes called it
    raw    keys of all raw slots that were ever fetched of it
    read   how a chat was read, as documents artifacts say it, when something of it was forgotten last
    is_being_forgotten  whether that was not finished, so that documents which were read so may be gone already
    """

    id: str
    kind: str
    names: frozenset[str]
    raw: frozenset[str]
    read: tuple[Mapping[str, Any], ...] = ()
    is_being_forgotten: bool = False

    def __str__(self) -> str:
        return f"{' or '.join(sorted(self.names)) or 'a source'} ({self.kind or 'of an older run'}, {self.id[:8]})"


def source_id(source: SourceConfig) -> str:
    """What makes a source the same one, whatever a recipe calls it: hash(kind, location)."""
    return text_digest(canonical_json([source.kind, source.location()]))[:32]


def note_source(refs: Refs, source: SourceConfig, name: str, raw: Collection[str]) -> None:
    """Note that the raw slots with these keys are of `source`. Keeps no path and no address."""

    def add(value: Mapping[str, Any] | None) -> dict[str, Any]:
        known = value or {"names": [], "raw": []}
        return {
            **known,
            "kind": source.kind,
            "names": sorted({*known["names"], name}),
            "raw": sorted({*known["raw"], *raw}),
        }

    refs.update(f"sources/{source_id(source)}", add)


def note_readings(refs: Refs, source: str, read: Sequence[Mapping[str, Any]]) -> None:
    """Note how the source with this id was read, for the time when no documents of it are left to say it. What is noted
    counts beside what documents say until `note_done`."""
    known = {"kind": "", "names": [], "raw": []}
    refs.update(f"sources/{source}", lambda value: {**known, **(value or {}), "read": read, _FORGETTING: True})


def note_done(refs: Refs, source: str) -> None:
    """Note that what was to be forgotten of this source is gone."""

    def done(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
        return None if value is None else {name: one for name, one in value.items() if name != _FORGETTING}

    refs.update(f"sources/{source}", done)


def known_sources(refs: Refs) -> Iterator[KnownSource]:
    """All of them, also those that only a version without such notes has fetched."""
    ids = {name.partition("/")[2] for folder in ("sources", "fetched") for name in refs.names(folder)}
    for one in sorted(ids):
        known = refs.read(f"sources/{one}").value or {"kind": "", "names": [], "raw": []}
        fetched = refs.read(f"fetched/{one}").value or {}
        keys = {*known["raw"], *fetched.values()}
        read = tuple(known.get("read", ()))
        names = frozenset(known["names"])
        yield KnownSource(one, known["kind"], names, frozenset(keys), read, bool(known.get(_FORGETTING)))
