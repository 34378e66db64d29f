"""Raw slots without the bytes of what is forgotten, in the way of their source: files of a folder, or chats."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.forgetting.blanking import KIND, Blanked, blank_slot, may_blank, readings_of
from data.forgetting.blanking import concerns as concerns_files
from data.forgetting.chats import SECRET, Authors, Kind, authors_of, sift_slot, ways_of
from data.forgetting.messages import ApiLines, ExportRecords
from data.forgetting.posts import DumpLines
from data.forgetting.tombstones import Sieve
from data.manifest import canonical_json
from data.sources.base import RawDocument, SlotItem
from data.sources.pack import PackReader, read_items

_CHATS: dict[str, type[Kind]] = {"discord": ExportRecords, "discord-api": ApiLines, "reddit": DumpLines}


def may_sift(kind: str, native_id: str) -> bool:
    """Whether something can be taken out of an item of a source of this kind while the rest of it stays."""
    return kind in _CHATS or may_blank(kind, native_id)


def concerns(kind: str, sieve: Sieve, items: Sequence[SlotItem]) -> bool:
    """Whether something that may lie in these items can be taken out of them."""
    if kind in _CHATS:
        return bool(sieve.authors or sieve.documents)
    return kind == KIND and concerns_files(sieve.documents, items)


@dataclass(frozen=True)
class Searched:
    """A slot of a chat in which somebody was looked for; it need not be read again to take them out.

    concerned  the items that hold something of them, or quote it
    """

    chat: Kind
    authors: Authors
    identities: frozenset[str]
    concerned: Collection[str]

    def items(self) -> dict[str, set[str]]:
        """{item: documents} in which messages of the authors are, used or not."""
        return {item: set().union(*(sums.held.get(item, ()) for sums in self.chat.sums)) for item in self.concerned}

    def bytes(self) -> int:
        """What it takes in memory, about."""
        return self.chat.held_bytes() + self.authors.bytes()

    def is_all_that_goes(self, sieve: Sieve, identities: Sequence[Mapping[str, Any]]) -> bool:
        """Whether nothing else of the slot is forgotten; where that is not sure, it is denied."""
        others = sieve.authors - set(self.authors.hashes)
        return (
            self.identities == _told(identities)
            and not (others and not (self.chat.has_seen_everyone and not self.authors.may_have_seen(others)))
            and not any(sums.may_hold(sieve.documents) for sums in self.chat.sums)
        )


def _told(identities: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(map(canonical_json, identities))


def sift(
    kind: str,
    raw: Path,
    out: Path,
    sieve: Sieve,
    identities: Sequence[Mapping[str, Any]],
    secret: str = SECRET,
    searched: Searched | None = None,
) -> Blanked:
    """Copy the raw slot of a source of this kind in the folder `raw` into `out`, without what is forgotten.

    identities  all settings with which the slot was, or will be, read
    secret      name of the one that authors' names are made with
    searched    what was found in this very slot when it was planned what goes
    """
    if kind not in _CHATS:
        return blank_slot(raw, out, sieve.documents, readings_of(identities))
    ways = ways_of(kind, identities, sieve, secret)
    if searched and searched.is_all_that_goes(sieve, identities):
        searched.chat.ways = ways
        found = sift_slot(raw, out, searched.chat, ways, searched.concerned)
        return Blanked(found.done, found.left, found.why)
    found = sift_slot(raw, out, _CHATS[kind](ways, authors_of(ways, sieve)), ways)
    return Blanked(found.done, found.left, found.why)


def search_slot(
    kind: str, raw: Path, authors: Collection[str], identities: Sequence[Mapping[str, Any]], secret: str = SECRET
) -> Searched | None:
    """Look for messages of authors, given as hashes, in a slot of a chat; None where it is none."""
    if kind not in _CHATS or not authors:
        return None
    sieve = Sieve(frozenset(), frozenset(authors))
    ways = ways_of(kind, identities, sieve, secret)
    everybody = authors_of(ways, sieve)
    chat = _CHATS[kind](ways, everybody)
    with PackReader(raw) as reader:
        concerned = chat.search(reader, list(read_items(raw)))
    everybody.clear_cache()  # many slots may be searched
    for way in ways:
        way.sieve.clear_cache()
    return Searched(chat, everybody, _told(identities), concerned)


def items_with(
    kind: str, raw: Path, documents: Collection[str], identities: Sequence[Mapping[str, Any]], secret: str = SECRET
) -> set[str]:
    """Items of chats in which any of the documents lies, in whatever way they are read; all where no way is known."""
    items = list(read_items(raw))
    ways = ways_of(kind, identities, Sieve(frozenset(documents)), secret)
    if not ways:
        return {item.native_id for item in items}
    chat = _CHATS[kind](ways, Authors(()))
    with PackReader(raw) as reader:
        return {
            item
            for way in ways
            for item, one in chat.read(reader, items, way)
            if isinstance(one, RawDocument) and way.sieve.holds(one)
        }
