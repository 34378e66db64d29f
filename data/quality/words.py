"""Words of many texts at once: where they lie, what they are made of, and 64-bit hashes that name them.

Where words begin and end is a matter of opinion, so rules take the borders as given; `find_words` holds ours. Equal
words have equal hashes; two different ones share a hash about once in 2**64 pairs.
"""

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.quality.columns import LETTER, MARK, SOUND, SPACE, UPPER, WORD, Bools, Ints, Spans, Texts

SEGMENTATION = 2  # raised by hand when `find_words` cuts another way; enters keys where rules of quality are on

Hashes = NDArray[np.uint64]
_BASE = 0x9E6C_63D0_876A_68DD  # of the polynomial, odd; its powers do not come back for 2**62 characters
_DOCUMENT = np.uint64(0xD6E8_FEB8_6659_FD93)


@dataclass(frozen=True)
class Words:
    """The words of many texts, and all their characters joined without what lies between them.

    spans    where the words lie
    offsets  (words + 1,): word i is characters offsets[i] to offsets[i + 1] of the joined ones
    flags    (words,) uint8: has any character of the word LETTER, or SOUND; other flags tell nothing
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

    @cached_property
    def _at_words(self) -> tuple[Hashes, Hashes]:
        """The sums and the inverse powers where words begin, and where the last ends."""
        _, inverse = _powers(len(self.sums))
        return self.sums[self.offsets], inverse[self.offsets]

    def runs(self, at: Ints, n: int) -> Hashes:
        """Hashes of the runs of n words that begin at words `at`, joined without a space."""
        sums, inverse = self._at_words
        return (sums[at + n] - sums[at]) * inverse[at]

    @cached_property
    def keys(self) -> Hashes:
        """One hash per word."""
        sums, inverse = self._at_words
        return (sums[1:] - sums[:-1]) * inverse[:-1]

    @cached_property
    def document_keys(self) -> Hashes:
        """A number per word that tells its document from others; added to hashes, it keeps documents apart."""
        return self.spans.documents.astype(np.uint64) * _DOCUMENT

    @cached_property
    def left(self) -> Ints:
        """How many words of its document begin at each word, with the word itself."""
        return np.repeat(self.spans.first[1:], self.spans.counts) - np.arange(len(self.flags))


def find_words(texts: Texts) -> Spans:
    """Our words, near those of spaCy's rules for English, and usable for all that is written with spaces.

    Text is cut at white space. Marks (of punctuation, quotes, currency) before, behind and between the words of a row
    without white space are words of their own, one by one; only dots side by side are one. Inside of a word they belong
    to it ("3.5", "U.S.", "a](b"), with exceptions: hyphens and dashes between letters and between digits are words
    ("well - known"), and so are : < > = / before a letter, a comma between letters, and a full stop between lower and
    upper case, unless the row looks like an address ("a-b.org/c", not "a-b/c.org"). A stop before a word belongs to it
    (".gov"). English short forms begin a word ("it 's", "do n't"), and the commonest abbreviations keep their stop
    ("Mr.").
    """
    codes, flags = texts.codes, texts.flags
    space = (flags & SPACE) != 0
    edge = np.empty(len(codes) + 1, np.bool_)  # whether a word may begin or end before a character
    edge[:1] = edge[-1:] = True
    np.not_equal(space[1:], space[:-1], out=edge[1:-1])
    at = np.flatnonzero((flags & (WORD | SPACE)) == 0)
    if len(at):
        alone = _stands_alone(texts, at)
        edge[at[alone]] = edge[at[alone] + 1] = True
        second = at[1:][(codes[at[1:]] == codes[at[:-1]]) & (np.diff(at) == 1)]
        edge[second[(_roles()[codes[second]] & _IN_ROWS) != 0]] = False  # "...", "--"
        edge[_short_forms(codes, flags, at)] = True
    borders = np.flatnonzero(edge)
    kept = ~space[borders[:-1]]
    return texts.spans(borders[:-1][kept], borders[1:][kept])


def _points(characters: str) -> NDArray[np.uint32]:
    return np.array([ord(character) for character in characters], np.uint32)


_IN_ROWS, _BETWEEN_LETTERS, _BEFORE_A_LETTER, _IN_ADDRESSES = (np.uint8(1 << bit) for bit in range(4))


@cache
def _roles() -> NDArray[np.uint8]:
    """What a character that is of no word may do inside of a row, for every code point."""
    roles = np.zeros(0x110000, np.uint8)
    for role, characters in (
        (_IN_ROWS, ".-"),
        (_BETWEEN_LETTERS, "-–—~,"),
        (_BEFORE_A_LETTER, "-:<>=/"),
        (_IN_ADDRESSES, "-./:_"),
    ):
        roles[_points(characters)] |= role
    return roles


_NAME = 65  # characters of a name of a host, at most, with what stands before it
_ABBREVIATIONS = ("Mr", "Dr", "St", "Co", "Jr", "vs", "Mrs", "Inc", "Ltd", "Gen", "Gov", "Rev", "Prof", "Corp")


def _stands_alone(texts: Texts, at: Ints) -> Bools:
    """Which of the characters at `at`, all that are neither white space nor of words, are words of their own."""
    codes, flags = texts.codes, texts.flags
    roles = _roles().take(codes[at])
    code, before, behind = codes[at], _back(flags, at, 1, SPACE), flags[at + 1]  # a line feed is always behind
    opens = np.ones(len(at), np.bool_)
    opens[1:] = np.diff(at) != 1
    starts = np.flatnonzero(opens)
    lengths = np.diff(np.append(starts, len(at)))
    first, last = np.repeat(before[starts], lengths), np.repeat(behind[starts + lengths - 1], lengths)
    inside = ((first | last) & SPACE) == 0
    dot, many = code == ord("."), np.repeat(lengths, lengths) > 1
    # Inside of a row
    letter_before, letter_behind = (before & LETTER) != 0, (behind & LETTER) != 0
    digits = ((before & behind & WORD) != 0) & ~letter_before & ~letter_behind
    splits = letter_before & letter_behind & ((roles & _BETWEEN_LETTERS) != 0)
    splits |= ((before & WORD) != 0) & letter_behind & ((roles & _BEFORE_A_LETTER) != 0)
    splits |= digits & (code == ord("-"))
    splits |= letter_before & letter_behind & dot & ((before & UPPER) == 0) & ((behind & UPPER) != 0)
    spaces = np.cumsum((flags & SPACE) != 0, dtype=np.int32)
    rows = spaces[at]  # white space before tells rows apart
    address = np.zeros(rows[-1] + 1, np.bool_)
    dots = np.flatnonzero(inside & dot & letter_behind & ((behind & UPPER) == 0))
    dots = dots[np.append(True, rows[dots[1:]] != rows[dots[:-1]])[: len(dots)]]  # the first of each row
    begins = np.searchsorted(spaces, rows[dots]) - (rows[dots] == 0)  # white space before the row
    address[rows[dots[_ends_a_host(codes, at, at[dots], begins)]]] = True
    address[rows[inside & ((roles & _IN_ADDRESSES) == 0)]] = False
    splits &= ~address[rows]
    splits |= (code == ord("-")) & many & ((first & last & LETTER) != 0)
    # At its borders
    outer = ~inside & ((flags[at] & MARK) != 0)
    outer[dot] &= ~_keeps_its_stop(codes, flags, at[dot])
    outer &= ~dot | ((before & SPACE) == 0)  # not ".gov"
    beside = many & ((codes[at + 1] == code) | (_back(codes, at, 1, 0) == code))
    found: Bools = outer | splits | (dot & beside) | (((flags[at] & SOUND) != 0) & (code > 0xFF))  # the last: pictures
    return found


def _ends_a_host(codes: NDArray[np.uint32], at: Ints, dots: Ints, rows: Ints) -> Bools:
    """Which dots may stand behind the first name of a host: it is no longer than names may be, and before any path.

    at    all characters that are neither white space nor of words
    rows  the white space before each dot's row
    """
    slashes = at[(codes[at] == ord("/")) & ~np.isin(_back(codes, at, 1, 0), _points(":/"))]
    marks = at[(codes[at] != ord("-")) & (codes[at] != ord("_"))]
    before = [np.append(-1, places)[np.searchsorted(places, dots)] for places in (slashes, marks)]
    found: Bools = (before[0] <= rows) & (dots - np.maximum(before[1], rows) <= _NAME)
    return found


def _keeps_its_stop(codes: NDArray[np.uint32], flags: NDArray[np.uint8], at: Ints) -> Bools:
    """Which stops belong to the word before them: those of initials (U.S., i.e.) and of abbreviations."""
    one, two = _back(flags, at, 1, SPACE), _back(flags, at, 2, SPACE)
    found: Bools = ((one & LETTER) != 0) & ((two & LETTER) == 0)
    found &= ((one & UPPER) != 0) | (_back(codes, at, 2, 0) == ord("."))
    for length in range(2, 5):
        names = [
            sum(ord(letter) << 8 * place for place, letter in enumerate(name))
            for name in _ABBREVIATIONS
            if len(name) == length
        ]
        spelt = np.zeros(len(at), np.int64)
        for back in range(length):
            spelt |= _back(codes, at, back + 1, 0).astype(np.int64) << 8 * (length - 1 - back)
        found |= np.isin(spelt, names) & ((_back(flags, at, length + 1, SPACE) & WORD) == 0)
    return found


def _back(values: NDArray[Any], at: Ints, steps: int, none: Any) -> NDArray[Any]:
    """The values so many steps before `at`, and `none` where there is nothing before."""
    found = values[np.maximum(at - steps, 0)]
    found[at < steps] = none
    return found


def _short_forms(codes: NDArray[np.uint32], flags: NDArray[np.uint8], at: Ints) -> Ints:
    """Where 's, 'm, 'd, 're, 've, 'll or n't begin, at the end of a word."""
    at = at[(codes[at] == ord("'")) | (codes[at] == ord("’"))]
    at = at[(_back(flags, at, 1, SPACE) & LETTER) != 0]
    second, third = (np.minimum(at + steps, len(codes) - 1) for steps in (2, 3))  # a line feed is the last
    one, two, end, longer = codes[at + 1] | 32, codes[second] | 32, flags[second] & WORD, flags[third] & WORD
    short = (end == 0) & np.isin(one, _points("smd"))
    pairs = np.array([ord(pair[0]) << 8 | ord(pair[1]) for pair in ("re", "ve", "ll")], np.uint32)
    short |= (end != 0) & (longer == 0) & np.isin((one << 8) | two, pairs)
    negated = (end == 0) & (one == ord("t")) & ((codes[at - 1] | 32) == ord("n"))
    return np.concatenate([at[short], at[negated] - 1])


def words_of(texts: Texts, spans: Spans) -> Words:
    """What there is to know of the words that lie at `spans`, none of which is empty."""
    borders = np.zeros(len(texts.codes) + 1, np.int8)
    borders[spans.starts] += 1
    borders[spans.ends] -= 1
    inside: Bools = np.cumsum(borders[:-1], dtype=np.int8).view(np.bool_)
    offsets = np.zeros(len(spans.starts) + 1, np.int64)
    np.cumsum(spans.lengths, out=offsets[1:])
    codes = texts.codes.take(np.flatnonzero(inside))  # sooner done than choosing by truth
    sums = np.zeros(len(codes) + 1, np.uint64)
    powers, _ = _powers(len(sums))
    terms = np.add(codes, 1, dtype=np.uint64)
    terms *= powers[: len(codes)]
    np.cumsum(terms, out=sums[1:])
    return Words(spans, offsets, _flags_of_words(texts, spans), sums)


def _flags_of_words(texts: Texts, spans: Spans) -> NDArray[np.uint8]:
    """What any character of each word is; a word that begins with a letter is looked at no further."""
    flags = texts.flags[spans.starts]
    others = np.flatnonzero((flags & LETTER) == 0)
    if len(others):
        borders = np.stack([spans.starts[others], spans.ends[others]], 1).ravel()  # a line feed is behind the last
        flags[others] = np.bitwise_or.reduceat(texts.flags, borders)[::2]
    return flags


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
