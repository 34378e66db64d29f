"""Words of many texts at once: where they lie, what they are made of, and 64-bit hashes that name them.

Where words begin and end is a matter of opinion, so rules take the borders as given; `find_words` holds ours. Equal
words have equal hashes; two different ones share a hash about once in 2**64 pairs.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data.quality.columns import JOINER, SPACE, WORD, Bools, Ints, Spans, Texts

Hashes = NDArray[np.uint64]
_BASE = 0x9E6C_63D0_876A_68DD  # of the polynomial, odd; its powers do not come back for 2**62 characters
_DOCUMENT = np.uint64(0xD6E8_FEB8_6659_FD93)


@dataclass(frozen=True)
class Words:
    """The words of many texts, and all their characters joined without what lies between them.

    spans    where the words lie
    offsets  (words + 1,): word i is characters offsets[i] to offsets[i + 1] of the joined ones
    flags    (words,) uint8: the flags that any character of the word has
    sums     (joined characters + 1,) uint64: running sums, from which any stretch's hash follows
    """

    spans: Spans
    offsets: Ints
    flags: NDArray[np.uint8]
    sums: Hashes

    def hashes(self, begin: Ints, end: Ints) -> Hashes:
        """Hashes of stretches of the joined characters: equal where they are spelt alike, wherever words end."""
        _, inverse = _powers(len(self.sums))
        return (self.sums[end] - self.sums[begin]) * inverse[begin]

    def keys(self) -> Hashes:
        """One hash per word."""
        return self.hashes(self.offsets[:-1], self.offsets[1:])

    def document_keys(self) -> Hashes:
        """A number per word that tells its document from others; added to hashes, it keeps documents apart."""
        return self.spans.documents.astype(np.uint64) * _DOCUMENT

    def left(self) -> Ints:
        """How many words of its document begin at each word, with the word itself."""
        counts = self.spans.counts
        return np.repeat(self.spans.first[1:], counts) - np.arange(len(self.flags))


def find_words(texts: Texts) -> Spans:
    """Our words: letters, digits and marks with single apostrophes or hyphens between them; other characters that are
    no white space are words of their own, with those of the same kind beside them ("..." is one word, ")." two)."""
    is_word = (texts.flags & WORD) != 0
    joins = (texts.flags & JOINER) != 0
    joins[:1] = False
    joins[1:] &= is_word[:-1]
    joins[:-1] &= is_word[1:]
    is_word |= joins
    is_space = (texts.flags & SPACE) != 0
    edge = np.empty(len(is_word), np.bool_)
    edge[:1] = True
    np.not_equal(texts.codes[1:], texts.codes[:-1], out=edge[1:])
    edge[1:] &= ~(is_word[1:] & is_word[:-1])
    at = np.flatnonzero(edge)  # every border, also those inside white space
    if not len(at):
        return texts.spans(at, at)
    ends = np.append(at[1:], len(is_word))
    kept = ~is_space[at]
    return texts.spans(at[kept], ends[kept])


def words_of(texts: Texts, spans: Spans) -> Words:
    """What there is to know of the words that lie at `spans`, none of which is empty."""
    borders = np.zeros(len(texts.codes) + 1, np.int8)
    borders[spans.starts] += 1
    borders[spans.ends] -= 1
    inside: Bools = np.cumsum(borders[:-1], dtype=np.int8).view(np.bool_)
    offsets = np.zeros(len(spans.starts) + 1, np.int64)
    np.cumsum(spans.lengths, out=offsets[1:])
    codes = texts.codes[inside]
    sums = np.zeros(len(codes) + 1, np.uint64)
    powers, _ = _powers(len(sums))
    terms = np.add(codes, 1, dtype=np.uint64)
    terms *= powers[: len(codes)]
    np.cumsum(terms, out=sums[1:])
    flags = texts.flags[inside]
    some = len(spans.starts) > 0
    return Words(spans, offsets, np.bitwise_or.reduceat(flags, offsets[:-1]) if some else flags, sums)


def key_of(word: str) -> int:
    """The hash that `Words.keys` gives for a word."""
    return sum((ord(character) + 1) * pow(_BASE, at, 1 << 64) for at, character in enumerate(word)) % (1 << 64)


def _powers(size: int) -> tuple[Hashes, Hashes]:
    """The first powers of the base and of its inverse modulo 2**64, at least `size` of each."""
    return _powers_up_to(max(16, (size - 1).bit_length()))


@lru_cache(maxsize=4)
def _powers_up_to(bits: int) -> tuple[Hashes, Hashes]:
    return _series(_BASE, bits), _series(pow(_BASE, -1, 1 << 64), bits)


def _series(base: int, bits: int) -> Hashes:
    series = np.full(1 << bits, base, np.uint64)
    series[0] = 1
    return np.cumprod(series, dtype=np.uint64)
