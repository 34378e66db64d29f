"""Runs of n words of many texts as 64-bit hashes, and which of them are among a set of known ones.

Words are those of near duplicates (data/near/shingles.py): rows of letters, digits and combining marks in lower case;
all else only separates them, and where a script is written without spaces every character is a word.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from data.near.shingles import NEXT_WORD, Hashes, Ints, word_hashes

_WORDS_AT_ONCE = 1 << 17  # so that columns nearly fit the caches
_FILTER_PER_HASH = 16  # places of the filter for each hash of a set: one run in 16 is looked up for nothing
_FILTER_BITS = range(10, 28)
_SPREAD = np.uint64(0x9E37_79B9_7F4A_7C15)  # brings all bits of a hash to bear on its upper ones


class Runs(NamedTuple):
    """Runs of one size: hashes (runs,) uint64, and the number of the first word of each, ascending."""

    size: int
    hashes: Hashes
    at: Ints


class Words(NamedTuple):
    """Words of many texts: hashes (words,) uint64; text t has the words first[t] to first[t + 1]."""

    hashes: Hashes
    first: Ints

    def texts_of(self, at: Ints) -> Ints:
        """The numbers of the texts in which words lie."""
        return np.searchsorted(self.first, at, side="right") - 1


def words_in(texts: Sequence[str]) -> Words:
    """The words of texts."""
    hashes, counts = word_hashes(texts)
    return Words(hashes, np.insert(np.cumsum(counts), 0, 0))


def runs_in(words: Words, sizes: Sequence[int]) -> Iterator[Runs]:
    """All runs of each of the sizes (ascending) that lie within one text; texts that are shorter have none.

    They come in groups of bounded size, of each group one size after the other.
    """
    longest = sizes[-1] if sizes else 0
    left = np.repeat(words.first[1:], np.diff(words.first)) - np.arange(len(words.hashes))  # in the text
    for begin in range(0, len(words.hashes) if longest else 0, _WORDS_AT_ONCE):
        part = words.hashes[begin : begin + _WORDS_AT_ONCE + longest - 1]
        chained = part.copy()
        for size in range(1, longest + 1):
            whole = max(0, len(part) - size + 1)
            if size > 1:
                chained[:whole] *= NEXT_WORD
                chained[:whole] += part[size - 1 :]
            if size in sizes:
                inside = np.flatnonzero(left[begin : begin + _WORDS_AT_ONCE] >= size)
                yield Runs(size, chained[inside], inside + begin)


class KnownHashes:
    """A set of hashes that is quickly asked.

    hashes  ascending and free of repeats, (n,) uint64
    """

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = hashes
        bits = min(max(_FILTER_BITS[0], (len(hashes) * _FILTER_PER_HASH).bit_length()), _FILTER_BITS[-1])
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(1 << bits, np.bool_)
        self._filter[(hashes * _SPREAD) >> self._shift] = True

    def find(self, asked: Hashes) -> tuple[Ints, Ints]:
        """All pairs (i, j) with asked[i] == hashes[j], ascending in i."""
        likely = np.flatnonzero(self._filter.take((asked * _SPREAD) >> self._shift))
        if not len(likely):
            return likely, likely
        at = np.searchsorted(self.hashes, asked[likely])
        known = self.hashes.take(at, mode="clip") == asked[likely]
        return likely[known], at[known]
