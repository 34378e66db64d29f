"""What slots are read as, as sums of digests: two versions of one are compared while nothing of them is held."""

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable

from data.forgetting.tombstones import Sieve
from data.sources.base import Problem, RawDocument

ID_BYTES = 150  # of an id in sets
Found = tuple[str, RawDocument | Problem]
"""The native id of an item, and something that it is read as."""


class Sums:
    """What items are read as but for forgotten documents; the order of documents does not count.

    held  {item: native ids of its forgotten documents}

    Memory: 8 bytes for each other document.
    """

    def __init__(self, sieve: Sieve) -> None:
        self._sieve = sieve
        self._sums: dict[str, int] = defaultdict(int)
        self._shapes: dict[str, int] = defaultdict(int)
        self._others = array("q")
        self.held: dict[str, set[str]] = defaultdict(set)

    def add(self, item: str, one: RawDocument | Problem) -> bool:
        """Take in what an item is read as; returns whether it is a forgotten document."""
        if isinstance(one, Problem):
            if one.what != "repeated":  # of what goes, every copy does
                self._count(item, repr(one), "")
            return False
        if self._sieve.holds(one):
            self.held[item].add(one.native_id)
            return True
        self._others.append(hash(one.native_id))
        self._count(item, repr(_shape(one)), one.text)
        return False

    def add_all(self, found: Iterable[Found]) -> "Sums":
        for item, one in found:
            self.add(item, one)
        return self

    def _count(self, item: str, shape: str, text: str) -> None:
        digest = hashlib.blake2b(shape.encode("utf-8", "surrogatepass"), digest_size=16)
        self._shapes[item] += 1 + int.from_bytes(digest.digest(), "big")
        digest.update(text.encode("utf-8", "surrogatepass"))
        self._sums[item] += 1 + int.from_bytes(digest.digest(), "big")

    def may_hold(self, documents: Collection[str]) -> bool:
        """Whether any of the documents is among those that are not forgotten; hardly ever wrongly so."""
        return may_be_in(self._others, map(hash, documents))

    def bytes(self) -> int:
        """What it takes in memory, about."""
        return self._others.itemsize * len(self._others) + ID_BYTES * sum(map(len, self.held.values()))

    def differing(self, other: "Sums") -> set[str]:
        """The items of which the sums are not equal."""
        return _differing(self._sums, other._sums)

    def differing_in_shape(self, other: "Sums") -> set[str]:
        """The same, where texts do not count."""
        return _differing(self._shapes, other._shapes)


def may_be_in(known: "array[int]", wanted: Iterable[int]) -> bool:
    """Whether any wanted number is known. Memory: that of the wanted ones."""
    return not set(wanted).isdisjoint(known)


def _differing(one: dict[str, int], other: dict[str, int]) -> set[str]:
    return {item for item in {*one, *other} if one.get(item) != other.get(item)}


def _shape(document: RawDocument) -> tuple[object, ...]:
    """All of a document but its text."""
    meta = sorted(document.meta.items())
    return document.native_id, tuple(document.authors), document.url, document.created, document.licence, meta
