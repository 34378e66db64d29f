"""Runs of words as 64-bit hashes: what near duplicates have in common.

A word is a row of letters, digits and combining marks, whatever its case; all else only separates words. Where a
script is written without spaces every character is a word. The hashes are parts of artifacts' bytes: nothing here may
change without a new version of the stage that writes them.
"""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.quality.columns import WORD, character_flags

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

_CHARACTERS_AT_ONCE = 200_000  # so that columns nearly fit the caches
_BASE = 0x9E6C_63D0_876A_68DD  # of the polynomial over a word's characters; odd, so that it has an inverse
NEXT_WORD = np.uint64(0xA076_1D64_78BD_642F)  # of the polynomial over a run's words
_SEPARATES, _JOINS, _ALONE = range(3)
_WITHOUT_SPACES = (
    range(0x0E00, 0x0F00),  # Thai, Lao
    range(0x1000, 0x10A0),  # Burmese
    range(0x1780, 0x1800),  # Khmer
    range(0x3040, 0x3100),  # Hiragana, Katakana
    range(0x31F0, 0x3200),
    range(0x3400, 0x4DC0),  # Chinese characters
    range(0x4E00, 0xA000),
    range(0xF900, 0xFB00),
    range(0x20000, 0x32000),
)


class Shingles(NamedTuple):
    """The runs of words of many texts.

    hashes  (runs,) uint64, text after text; a run that comes back in a text comes back here, too
    bounds  (texts + 1,) int64: text t has the runs bounds[t] to bounds[t + 1]; none if it has no word
    """

    hashes: Hashes
    bounds: Ints


def shingles_of(texts: Sequence[str], size: int) -> Shingles:
    """All runs of `size` words of every text; a text of fewer words has one run, of all its words."""
    return _runs(*word_hashes(texts), size)


def word_hashes(texts: Sequence[str]) -> tuple[Hashes, Ints]:
    """A hash for every word of the texts, text after text, and how many words each text has."""
    counts = np.zeros(len(texts), np.int64)
    parts = [np.empty(0, np.uint64)]
    for numbers, pieces in _batches(texts):
        words, per_piece = _words(pieces)
        parts.append(words)
        np.add.at(counts, numbers, per_piece)
    return np.concatenate(parts), counts


def word_borders(text: str) -> tuple[Ints, Ints]:
    """Where the words of one text begin and end, in characters; they are those of `word_hashes`."""
    kinds_of, _ = _tables()
    starts, ends = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    offset = 0
    for _, pieces in _batches([text]):
        for piece in pieces:
            codes = np.frombuffer(f"{piece}\n".encode("utf-32-le", "surrogatepass"), np.uint32)
            kinds = kinds_of.take(codes)
            starts.append(_word_starts(kinds) + offset)
            ends.append(len(kinds) - _word_starts(kinds[::-1])[::-1] + offset)
            offset += len(piece)
    return np.concatenate(starts), np.concatenate(ends)


def _runs(words: Hashes, counts: Ints, size: int) -> Shingles:
    first = np.insert(np.cumsum(counts), 0, 0)
    chained = words.copy()
    whole = np.maximum(len(words) - size + 1, 0)
    for step in range(1, size):
        chained[:whole] *= NEXT_WORD
        chained[:whole] += words[step : step + whole]
    runs = np.where(counts >= size, counts - size + 1, np.minimum(counts, 1))
    for text in np.flatnonzero((counts > 0) & (counts < size)).tolist():
        head = first[text]
        key = words[head : head + 1].copy()
        for word in words[head + 1 : first[text + 1]]:
            key = key * NEXT_WORD + word
        chained[head] = key[0]
    kept = np.zeros(len(words) + 1, np.int8)
    some = runs > 0
    np.add.at(kept, first[:-1][some], 1)
    np.add.at(kept, (first[:-1] + runs)[some], -1)
    chosen = np.cumsum(kept[:-1], dtype=np.int8).view(np.bool_)
    return Shingles(mixed(chained[chosen]), np.insert(np.cumsum(runs), 0, 0))


def mixed(keys: Hashes) -> Hashes:
    """Every bit of a key spread over all bits: the finaliser of MurmurHash3 (Appleby, public domain)."""
    keys = keys ^ (keys >> np.uint64(33))
    keys *= np.uint64(0xFF51_AFD7_ED55_8CCD)
    keys ^= keys >> np.uint64(33)
    keys *= np.uint64(0xC4CE_B9FE_1A85_EC53)
    keys ^= keys >> np.uint64(33)
    return keys


def _batches(texts: Sequence[str]) -> Iterator[tuple[list[int], list[str]]]:
    """Texts in groups of bounded size, each piece with its text's number; a long text comes in pieces."""
    numbers: list[int] = []
    pieces: list[str] = []
    size = 0
    for number, text in enumerate(texts):
        for piece in [text] if len(text) <= _CHARACTERS_AT_ONCE else _pieces(text):
            if size and size + len(piece) > _CHARACTERS_AT_ONCE:
                yield numbers, pieces
                numbers, pieces, size = [], [], 0
            numbers.append(number)
            pieces.append(piece)
            size += len(piece) + 1
    if pieces:
        yield numbers, pieces


def _pieces(text: str) -> Iterator[str]:
    """A long text cut at white space, or anywhere where there is none."""
    start = 0
    while len(text) - start > _CHARACTERS_AT_ONCE:
        stop = start + _CHARACTERS_AT_ONCE
        found = max(text.rfind(" ", start, stop), text.rfind("\n", start, stop))
        stop = found + 1 if found > start else stop
        yield text[start:stop]
        start = stop
    yield text[start:]


def _words(texts: Sequence[str]) -> tuple[Hashes, Ints]:
    """A hash for every word of the texts, and how many words each text has."""
    joined = "\n".join([*texts, ""])
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds_of, values_of = _tables()
    kinds = kinds_of.take(codes)
    starts = _word_starts(kinds)
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    counts = np.diff(np.searchsorted(starts, ends), prepend=0)
    if not len(starts):
        return np.empty(0, np.uint64), counts
    forward, inverse = powers(_BASE, (len(codes) - 1).bit_length())
    terms = values_of.take(codes)
    terms *= forward[: len(codes)]
    return np.add.reduceat(terms, starts) * inverse[starts], counts


def _word_starts(kinds: NDArray[np.uint8]) -> Ints:
    """Where words begin in a row of characters, of which the kinds are given."""
    begins = kinds != _SEPARATES
    begins[1:] &= (kinds[1:] != _JOINS) | (kinds[:-1] != _JOINS)
    return np.flatnonzero(begins)


@cache
def _tables() -> tuple[NDArray[np.uint8], Hashes]:
    """What each code point does, and its value: 0 where it separates, otherwise that of its lower case."""
    kinds = ((character_flags() & WORD) != 0).astype(np.uint8)
    for alone in _WITHOUT_SPACES:
        kinds[alone] *= np.uint8(_ALONE)
    values = np.arange(1, 0x110001, dtype=np.uint64)
    for character in map(chr, np.flatnonzero(kinds != _SEPARATES).tolist()):
        if (lower := character.lower()) != character:
            spelt = sum(pow(_BASE, at, 1 << 64) * (ord(one) + 1) for at, one in enumerate(lower))
            values[ord(character)] = spelt % (1 << 64)
    return kinds, np.where(kinds != _SEPARATES, values, np.uint64(0))


@lru_cache(maxsize=4)
def powers(base: int, bits: int) -> tuple[Hashes, Hashes]:
    """The first 2**bits powers of an odd base and of its inverse modulo 2**64."""
    series = []
    for one in (base, pow(base, -1, 1 << 64)):
        factors = np.full(1 << bits, one, np.uint64)
        factors[0] = 1
        series.append(np.cumprod(factors, dtype=np.uint64))
    return series[0], series[1]
