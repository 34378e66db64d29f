"""Raw slots without the bytes of what is forgotten, in the way of their source: files of a folder, or chats."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.forgetting.blanking import KIND, Blanked, blank_slot, may_blank, readings_of
from data.forgetting.blanking import concerns as concerns_files
from data.forgetting.chats import SECRET, Authors, Kind, authors_of, sift_slot, ways_of
from data.forgetting.messages import ApiLines, ExportRecords
from data.forgetting.posts import DumpLines
from data.forgetting.tombstones import Sieve
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


def sift(
    kind: str, raw: Path, out: Path, sieve: Sieve, identities: Sequence[Mapping[str, Any]], secret: str = SECRET
) -> Blanked:
    """Copy the raw slot of a source of this kind in the folder `raw` into `out`, without what is forgotten.

    identities  all settings with which the slot was, or will be, read
    secret      name of the one that authors' names are made with
    """
    if kind not in _CHATS:
        return blank_slot(raw, out, sieve.documents, readings_of(identities))
    ways = ways_of(kind, identities, sieve, secret)
    found = sift_slot(raw, out, _CHATS[kind](ways, authors_of(ways, sieve)), ways)
    return Blanked(found.done, found.left)


def items_by(
    kind: str, raw: Path, authors: Collection[str], identities: Sequence[Mapping[str, Any]], secret: str = SECRET
) -> dict[str, set[str]]:
    """{item: documents} of chats in which messages of authors, given as hashes, are, used or not."""
    if kind not in _CHATS or not authors:
        return {}
    sieve = Sieve(frozenset(), frozenset(authors))
    ways = ways_of(kind, identities, sieve, secret)
    chat = _CHATS[kind](ways, authors_of(ways, sieve))
    items = list(read_items(raw))
    with PackReader(raw) as reader:
        found: dict[str, set[str]] = {item: set() for item in chat.search(reader, items)}
        for way in ways:
            for item, one in chat.read(reader, items, way):
                if item in found and isinstance(one, RawDocument) and way.sieve.holds(one):
                    found[item].add(one.native_id)
    return found


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
