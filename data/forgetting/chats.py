"""Chats without the messages that are forgotten: exports and channels of Discord, dumps of Reddit.

A message goes that lies in a forgotten document in one of the ways in which the slot was read, and in no other document
in any of them; so does every message of a forgotten author, whether it was used or not. Before a slot is replaced, both
versions are read in all these ways: what else it holds must be the same, but for quotes of what went. An item of which
that is not true stays as it was. Everything is streamed; memory holds the ids of what goes. What messages look like is
the matter of data/forgetting/messages.py (Discord) and posts.py (Reddit).
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from data.forgetting.tombstones import Sieve, author_hash
from data.sources.base import Problem, RawDocument
from data.sources.chats.pseudonyms import KeyedNames, Names, NumberedNames, PseudonymSettings
from data.sources.pack import PackedItem, PackReader, PackWriter, read_items

REALMS = {"discord": "discord", "discord-api": "discord", "reddit": "reddit"}  # of keyed names, by kind of source
SECRET = PseudonymSettings().pseudonym_key  # name of the one that is tried where nothing else is said
_CACHED = 100_000  # authors
_NO_KEY = bytes(32)  # makes names of the length that all have
Found = tuple[str, RawDocument | Problem]
"""The native id of an item, and something that it is read as."""


class CannotSiftError(Exception):
    """An item of which messages cannot be taken out."""


@dataclass(frozen=True)
class Way:
    """One way in which a slot is read.

    identity  the source's settings, as documents artifacts name them
    names     of authors; where the secret is not at hand, others of the same length
    sieve     tells forgotten documents, by their authors only where the names are right
    """

    identity: Mapping[str, Any]
    names: Names
    sieve: Sieve


@dataclass
class Authors:
    """Tells authors, by the chat's own id or name, who are forgotten."""

    hashes: Collection[str]
    named: Sequence[Names] = ()
    _known: dict[str, bool] = field(default_factory=dict)

    def hold(self, author: str | None) -> bool:
        if not author or not self.hashes:
            return False
        known = self._known.get(author)
        if known is None:
            if len(self._known) >= _CACHED:
                self._known.clear()
            spelt = {author, *(names.name(author) for names in self.named)}
            known = self._known[author] = any(author_hash(one) in self.hashes for one in spelt)
        return known


class Kind(Protocol):
    """How messages of a kind of source are read and taken out; `quotes`: whether documents quote others."""

    quotes: bool

    def __init__(self, ways: Sequence[Way], authors: Authors) -> None: ...

    def search(self, reader: PackReader, items: Sequence[PackedItem]) -> set[str]:
        """Find what goes; returns the items that hold something of it, or quote it."""

    def give_up(self, items: Collection[str]) -> None:
        """Let these items be."""

    def sifted(self, reader: PackReader, item: PackedItem) -> tuple[PackedItem, Iterable[bytes]]:
        """An item without what goes; its `meta` is settled when all bytes were taken. Raises CannotSiftError."""

    def read(
        self, reader: PackReader, items: Sequence[PackedItem], way: Way, unquoted: bool = False
    ) -> Iterator[Found]:
        """What a slot is read as; `unquoted` as if it quoted nothing of what goes."""


@dataclass
class Sifted:
    """Native ids of items: of those that were changed, and of those that still hold bytes of forgotten documents."""

    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def ways_of(kind: str, identities: Iterable[Mapping[str, Any]], sieve: Sieve, secret: str = SECRET) -> list[Way]:
    """The distinct ways to read slots of a kind, among settings of all kinds; `secret` names that of made names."""
    distinct: dict[str, Mapping[str, Any]] = {repr(sorted(one.items())): one for one in identities}
    return [_way(kind, one, sieve, secret) for _, one in sorted(distinct.items()) if one.get("kind") == kind]


def _way(kind: str, identity: Mapping[str, Any], sieve: Sieve, secret: str) -> Way:
    if identity.get("pseudonyms") == "numbered":
        return Way(identity, NumberedNames(), Sieve(sieve.documents))
    names = PseudonymSettings(pseudonym_key=secret).names_if_keyed(REALMS[kind], str(identity.get("pseudonym_key")))
    if names is None:
        return Way(identity, KeyedNames(_NO_KEY, REALMS[kind]), Sieve(sieve.documents))
    return Way(identity, names, Sieve(sieve.documents, sieve.authors))


def authors_of(ways: Sequence[Way], sieve: Sieve) -> Authors:
    """Who is forgotten, as far as the names of these ways tell."""
    return Authors(sieve.authors, [way.names for way in ways if way.sieve.authors])


def sift_slot(raw: Path, out: Path, kind: Kind, ways: Sequence[Way]) -> Sifted:
    """Copy the raw slot in the folder `raw` into `out`, without the messages that go."""
    items = list(read_items(raw))
    with PackReader(raw) as reader:
        wanted = kind.search(reader, items) if ways else set()
        left: set[str] = set()
        while True:
            kind.give_up(left)
            left |= _write(reader, items, out, kind, wanted - left)
            kind.give_up(left)
            differing, remaining = _compare(reader, items, out, kind, ways)
            if differing <= left or left >= wanted:
                break
            left |= (differing & wanted) - left or wanted
    if not ways:  # nobody knows how the slot was read
        remaining = {item.native_id for item in items}
    done = {item.native_id for item in items} & (wanted - left)
    return Sifted(tuple(sorted(done)), tuple(sorted((left & wanted) | remaining)))


def _write(reader: PackReader, items: Sequence[PackedItem], out: Path, kind: Kind, wanted: Collection[str]) -> set[str]:
    """Write the slot with the wanted items sifted; returns those of them that cannot be, which stay as they are."""
    failed: set[str] = set()
    while True:
        with PackWriter(out) as pack:
            for item in items:
                if item.native_id in wanted and item.native_id not in failed:
                    try:
                        changed, chunks = kind.sifted(reader, item)
                        pack.add(changed, chunks, check=False, sifted=True)
                    except CannotSiftError:
                        failed.add(item.native_id)
                        break
                else:
                    pack.add(item, reader.chunks(item), check=False, sifted=item.sifted is not None)
            else:
                return failed
        kind.give_up(failed)


def _compare(
    reader: PackReader, items: Sequence[PackedItem], out: Path, kind: Kind, ways: Sequence[Way]
) -> tuple[set[str], set[str]]:
    """(Items that hold anything else than they should, items that still hold forgotten documents)."""
    differing: set[str] = set()
    remaining: set[str] = set()
    new = list(read_items(out))
    with PackReader(out) as sifted:
        for way in ways:
            before = _Sums(way, kind.read(reader, items, way, unquoted=True))
            after = _Sums(way, kind.read(sifted, new, way))
            differing |= before.differing(after)
            remaining |= after.forgotten
            if kind.quotes:
                shape = _Sums(way, kind.read(reader, items, way), texts=False)
                differing |= shape.differing(_Sums(way, kind.read(sifted, new, way), texts=False))
    return differing, remaining


class _Sums:
    """What items are read as but for forgotten documents, as sums of digests: the order of documents does not count."""

    def __init__(self, way: Way, found: Iterable[Found], texts: bool = True) -> None:
        self._sums: dict[str, int] = defaultdict(int)
        self.forgotten: set[str] = set()
        for item, one in found:
            if isinstance(one, Problem):
                if one.what != "repeated":  # of what goes, every copy does
                    self._sums[item] += _number(repr(one))
            elif way.sieve.holds(one):
                self.forgotten.add(item)
            else:
                self._sums[item] += _number(repr((_shape(one), one.text if texts else "")))

    def differing(self, other: "_Sums") -> set[str]:
        """The items of which the sums are not equal."""
        return {one for one in {*self._sums, *other._sums} if self._sums.get(one) != other._sums.get(one)}


def _shape(document: RawDocument) -> tuple[object, ...]:
    """All of a document but its text."""
    meta = sorted(document.meta.items())
    return document.native_id, tuple(document.authors), document.url, document.created, document.licence, meta


def _number(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return 1 + int.from_bytes(digest, "big")
