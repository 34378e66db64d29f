"""Chats without the messages that are forgotten: exports and channels of Discord, dumps of Reddit.

A message goes that lies in a forgotten document in one of the ways in which the slot was read, and in no other document
in any of them; so does every message of a forgotten author, whether it was used or not. Before a slot is replaced, both
versions are read in all these ways: what else it holds must be the same, but for quotes of what went. An item of which
that is not true stays as it was. Everything is streamed. Memory holds the ids of what goes, 8 bytes for each other
document in each way of reading (of Discord as it is and as it is to be), for each author and each message that is
answered, and what reading itself takes. How slots of Discord are read and written is the matter of
data/forgetting/channels.py, what messages look like that of messages.py (Discord) and posts.py (Reddit).
"""

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.forgetting.sums import Found, Sums, may_be_in
from data.forgetting.tombstones import Sieve, author_hash
from data.sources.chats.pseudonyms import KeyedNames, Names, NumberedNames, PseudonymSettings
from data.sources.pack import PackedItem, PackReader, PackWriter, read_items

REALMS = {"discord": "discord", "discord-api": "discord", "reddit": "reddit"}  # of keyed names, by kind of source
SECRET = PseudonymSettings().pseudonym_key  # name of the one that is tried where nothing else is said
_CACHED = 100_000  # authors
_SHARED = 4  # keys whose names are kept from slot to slot
_NO_KEY = bytes(32)  # makes names of the length that all have


_shared: dict[tuple[str, str], Names] = {}  # by realm and digest of the key


class CannotSiftError(Exception):
    """An item of which messages cannot be taken out."""


class NothingGoesError(Exception):
    """An item that holds nothing of what goes, as its end shows."""


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
    _seen: "array[int]" = field(default_factory=lambda: array("q"))
    _distinct: int = 0  # of `_seen`, when they were counted last

    def hold(self, author: str | None) -> bool:
        if not author or not self.hashes:
            return False
        known = self._known.get(author)
        if known is None:
            if len(self._known) >= _CACHED:
                self.clear_cache()
            hashes = {author_hash(one) for one in (author, *(names.name(author) for names in self.named))}
            self._seen.extend(map(_number, hashes))
            known = self._known[author] = not hashes.isdisjoint(self.hashes)
        return known

    def clear_cache(self) -> None:
        """Let go of what tells an author quickly; whoever is asked for again is noted again, and counted once later."""
        self._known.clear()
        if len(self._seen) > 2 * self._distinct + _CACHED:
            self._seen = array("q", np.unique(np.asarray(self._seen)).tobytes())
            self._distinct = len(self._seen)

    def may_have_seen(self, hashes: Collection[str]) -> bool:
        """Whether any of these authors was asked for; hardly ever wrongly so."""
        return may_be_in(self._seen, map(_number, hashes))

    def bytes(self) -> int:
        """What is kept of those that were asked for, cached ones aside: for each author and each of the names that it
        has by `named` 8 bytes, for a moment up to five times that."""
        return self._seen.itemsize * len(self._seen)


def _number(author: str) -> int:
    return int(author[:15], 16)


class Kind(Protocol):
    """How messages of a kind of source are read and taken out.

    ways               in which the slot is read. Those that write may differ from those that searched in their sieves,
                       which must hold the same of what was found then; order, identities and names are the same
    sums               what the slot is read as, by way, after `search`
    has_seen_everyone  whether `search` has asked `authors` of everybody who wrote in the slot
    """

    ways: Sequence[Way]
    sums: list[Sums]
    has_seen_everyone: bool

    def __init__(self, ways: Sequence[Way], authors: Authors) -> None: ...

    def search(self, reader: PackReader, items: Sequence[PackedItem]) -> set[str]:
        """Find what goes; returns the items that hold something of it, or quote it, and hardly any other."""

    def held_bytes(self) -> int:
        """What it holds of a slot in memory, about, besides `authors`."""

    def expected(self, reader: PackReader, items: Sequence[PackedItem], number: int) -> Sums:
        """What the slot must be read as, in the way with this number, when what goes is gone."""

    def give_up(self, items: Collection[str]) -> None:
        """Let these items be."""

    def sifted(self, reader: PackReader, item: PackedItem) -> tuple[PackedItem, Iterable[bytes]]:
        """An item without what goes; its `meta` is settled when all bytes were taken. Raises CannotSiftError."""

    def read(self, reader: PackReader, items: Sequence[PackedItem], way: Way) -> Iterator[Found]:
        """What a slot is read as."""


@dataclass
class Sifted:
    """Native ids of items: of those that were changed, and of those that still hold bytes of forgotten documents.

    why  {item that was left: what was in the way}, where its file was
    """

    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    why: Mapping[str, str] = field(default_factory=dict)


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
    if len(_shared) >= _SHARED:
        _shared.clear()
    names = _shared.setdefault((REALMS[kind], str(identity.get("pseudonym_key"))), names)
    return Way(identity, names, Sieve(sieve.documents, sieve.authors))


def authors_of(ways: Sequence[Way], sieve: Sieve) -> Authors:
    """Who is forgotten, as far as the names of these ways tell."""
    return Authors(sieve.authors, [way.names for way in ways if way.sieve.authors])


def sift_slot(
    raw: Path, out: Path, kind: Kind, ways: Sequence[Way], concerned: Collection[str] | None = None
) -> Sifted:
    """Copy the raw slot in the folder `raw` into `out`, without the messages that go.

    concerned  what `kind.search` gave of this slot, None where it was not asked yet

    With one way the slot is read twice, to search it and to write it anew, and the new one once, to compare it; items
    of the API in which the search found nothing are read once more, for what they hold of other messages. With w ways
    a dump is searched w times, and Discord up to 3 w times (what goes, what another way needs, what is to be left); the
    new one is read w times. Where an item must be left as it was, it all is written and compared again. Items in
    which nothing goes are copied as they are.
    """
    items = list(read_items(raw))
    with PackReader(raw) as reader:
        if not ways:  # nobody knows how the slot was read
            wanted = set()
        elif concerned is not None:
            wanted = set(concerned)
        else:
            wanted = kind.search(reader, items)
        left: set[str] = set()
        why: dict[str, str] = {}
        while True:
            kind.give_up(left)
            failed = _write(reader, items, out, kind, wanted, left)
            why |= failed
            left |= failed.keys()
            kind.give_up(left)
            differing, remaining = _compare(reader, items, out, kind, ways)
            if differing <= left or left >= wanted:
                break
            left |= (differing & wanted) - left or wanted
    if not ways:
        remaining = {item.native_id for item in items}
    done = {item.native_id for item in items} & (wanted - left)
    return Sifted(tuple(sorted(done)), tuple(sorted((left & wanted) | remaining)), why)


def _write(
    reader: PackReader, items: Sequence[PackedItem], out: Path, kind: Kind, wanted: set[str], left: Collection[str]
) -> dict[str, str]:
    """Write the slot with the wanted items sifted but for those that are left; returns those of them that cannot be,
    with what is in the way: they stay as they are, too. Items that hold nothing of what goes are wanted no more."""
    failed: dict[str, str] = {}
    while True:
        with PackWriter(out) as pack:
            for item in items:
                if item.native_id in wanted and item.native_id not in failed and item.native_id not in left:
                    try:
                        changed, chunks = kind.sifted(reader, item)
                        pack.add(changed, chunks, check=False, sifted=True)
                    except CannotSiftError as error:
                        failed[item.native_id] = str(error)
                        break
                    except NothingGoesError:
                        wanted.discard(item.native_id)
                        break
                else:
                    pack.add(item, reader.chunks(item), check=False, sifted=item.sifted is not None)
            else:
                return failed
        kind.give_up(failed.keys())


def _compare(
    reader: PackReader, items: Sequence[PackedItem], out: Path, kind: Kind, ways: Sequence[Way]
) -> tuple[set[str], set[str]]:
    """(Items that hold anything else than they should, items that still hold forgotten documents)."""
    differing: set[str] = set()
    remaining: set[str] = set()
    new = list(read_items(out))
    with PackReader(out) as sifted:
        for number, way in enumerate(ways):
            after = Sums(way.sieve).add_all(kind.read(sifted, new, way))
            differing |= kind.expected(reader, items, number).differing(after)
            differing |= kind.sums[number].differing_in_shape(after)
            remaining |= after.held.keys()
    return differing, remaining
