"""Lines of many texts as 64-bit hashes, and which of them may be boilerplate.

Lines are compared as CCNet does (Wenzek et al. 2020): in lower case, with every digit as 0, without punctuation; here
without white space and symbols, too, so that letters, combining marks and digits are all that counts. Code and tables
are no boilerplate whatever they say. The hashes are parts of artifacts' bytes: whatever changes them, or which lines
are counted, needs a new number of rules (data/boilerplate/config.py).
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.boilerplate.config import LinesConfig
from data.edits.lines import LONGEST_VERSE, VERSE_ENDS
from data.near.shingles import mixed, powers
from data.quality.columns import WORD, Bools, Ints, character_flags

Hashes = NDArray[np.uint64]
Codes = NDArray[np.uint32]

_CHARACTERS_AT_ONCE = 200_000  # so that columns nearly fit the caches
_BASE = 0x9E6C_63D0_876A_68DD  # of the polynomial over characters; odd, so that it has an inverse
_ZERO = mixed(np.array([ord("0") + 1], np.uint64))[0]  # stands for every digit
_CODE_ENDS = "{};([=\\"
_FENCE = re.compile(r"^ {0,3}(?:```[^`\n]*|~~~.*)$", re.MULTILINE)


class Lines(NamedTuple):
    """The lines of many texts, as `split("\\n")` finds them, and the units that are counted, each of adjacent lines.

    first      (texts + 1,) int64: text t has the lines first[t] to first[t + 1]
    blank      (lines,) bool
    units      (lines,) int64: number of each line's unit, ascending; a blank line is a unit of its own
    stanzas    (lines,) int64: lines of one number go together or not at all; ascending
    hashes     (units,) uint64: equal in units that say the same
    countable  (units,) bool: long enough, and neither code nor table
    documents  (units,) int64: the text of each unit
    """

    first: Ints
    blank: Bools
    units: Ints
    stanzas: Ints
    hashes: Hashes
    countable: Bools
    documents: Ints


class _Columns(NamedTuple):
    """What is known of lines, (lines,) each; `sums` is a polynomial over what counts of a line, `sizes` its length."""

    lengths: Ints  # characters
    sums: Hashes
    sizes: Ints  # letters, marks and digits
    letters: Ints
    fences: Bools
    guarded: Bools  # code or a row of a table by its own looks
    stops: Bools  # ends as lines of verse do


def lines_of(texts: Sequence[str], config: LinesConfig) -> Lines:
    """All lines of the texts; some 100 bytes per line, and 30 per character of 200,000, or of a longer line."""
    columns = _Columns._make(map(np.concatenate, zip(*map(_columns_of, _chunks(texts)), strict=True)))
    first = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([text.count("\n") + 1 for text in texts], out=first[1:])
    documents = np.repeat(np.arange(len(texts)), np.diff(first))
    opened = np.cumsum(columns.fences)
    before = np.insert(opened, 0, 0)[first[:-1]]
    guarded = columns.guarded | columns.fences | ((opened - before[documents]) % 2 == 1)
    blank = columns.lengths == 0
    begins = np.ones(len(blank), np.bool_)  # a block: lines side by side without a blank one between them
    begins[1:] = blank[1:] | blank[:-1] | (documents[1:] != documents[:-1])
    blocks = np.cumsum(begins) - 1
    if config.unit == "paragraph":
        units = stanzas = blocks
        heads = np.flatnonzero(begins)
        hashes, letters = _joined(columns, heads, blocks), _total(columns.letters, heads)
        countable = ~_any(guarded, heads)
    else:
        units, stanzas = np.arange(len(blank)), _stanzas(columns, begins, blocks)
        heads, hashes, letters, countable = units, columns.sums, columns.letters, ~guarded
    countable &= letters >= config.min_characters
    return Lines(first, blank, units, stanzas, mixed(hashes), countable, documents[heads])


def _joined(columns: _Columns, heads: Ints, blocks: Ints) -> Hashes:
    """The sums of blocks, as if each were one line."""
    before = np.cumsum(columns.sizes) - columns.sizes
    terms = columns.sums * _power(before - before[heads][blocks])
    return np.add.reduceat(terms, heads) if len(heads) else terms


def _power(exponents: Ints) -> Hashes:
    """The base to the power of each, modulo 2**64."""
    found = np.ones(len(exponents), np.uint64)
    square = _BASE
    for bit in range(int(exponents.max(initial=0)).bit_length()):
        found[(exponents >> bit) & 1 == 1] *= np.uint64(square)
        square = square * square % (1 << 64)
    return found


def _stanzas(columns: _Columns, begins: Bools, blocks: Ints) -> Ints:
    """Numbers that lines of a stanza share; a stanza is what data/edits/lines.py takes for one."""
    heads = np.flatnonzero(begins)
    sizes = np.diff(np.append(heads, len(begins)))
    verse = (sizes > 1) & (2 * _total(columns.stops, heads) >= sizes) & ~_any(columns.lengths > LONGEST_VERSE, heads)
    apart = begins | ~verse[blocks]
    return np.cumsum(apart) - 1


def _total(values: NDArray[np.int64] | Bools, heads: Ints) -> Ints:
    return np.add.reduceat(values, heads, dtype=np.int64) if len(heads) else np.empty(0, np.int64)


def _any(values: Bools, heads: Ints) -> Bools:
    return np.logical_or.reduceat(values, heads) if len(heads) else np.empty(0, np.bool_)


def _chunks(texts: Sequence[str]) -> Iterator[str]:
    """All lines of the texts in their order, each with its line feed, in parts of bounded size; at least one part."""
    waiting: list[str] = []
    size = 0
    for text in texts:
        for piece in [text] if len(text) <= _CHARACTERS_AT_ONCE else _pieces(text):
            if size and size + len(piece) > _CHARACTERS_AT_ONCE:
                yield "\n".join([*waiting, ""])
                waiting, size = [], 0
            waiting.append(piece)
            size += len(piece) + 1
    yield "\n".join([*waiting, ""]) if waiting else ""


def _pieces(text: str) -> Iterator[str]:
    """A long text cut at line feeds, which go."""
    start = 0
    while len(text) - start > _CHARACTERS_AT_ONCE:
        cut = text.rfind("\n", start, start + _CHARACTERS_AT_ONCE)
        if cut < 0:
            cut = text.find("\n", start + _CHARACTERS_AT_ONCE)
        if cut < 0:
            break
        yield text[start:cut]
        start = cut + 1
    yield text[start:]


def _columns_of(joined: str) -> _Columns:
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    ends = np.flatnonzero(codes == ord("\n"))
    starts = np.zeros(len(ends), np.int64)
    starts[1:] = ends[:-1] + 1
    values = _values().take(codes)
    counting = np.flatnonzero(values)
    values = values[counting]
    begin, end = np.searchsorted(counting, starts), np.searchsorted(counting, ends)
    zeros = np.flatnonzero(values == _ZERO)
    digits = np.searchsorted(zeros, end) - np.searchsorted(zeros, begin)
    forward, inverse = powers(_BASE, len(values).bit_length())
    values *= forward[: len(values)]
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values, out=sums[1:])
    lengths, sizes = ends - starts, end - begin
    last = np.where(lengths > 0, codes[ends - 1], np.uint32(0))
    guarded = (codes[starts] == ord("|")) | np.isin(last, _points(_CODE_ENDS))
    if "\t" in joined:
        guarded[np.searchsorted(ends, np.flatnonzero(codes == ord("\t")))] = True
    if "   " in joined:
        space = codes == ord(" ")
        guarded[np.searchsorted(ends, np.flatnonzero(space[:-2] & space[1:-1] & space[2:]))] = True
    fences = np.zeros(len(ends), np.bool_)
    if "```" in joined or "~~~" in joined:
        fences[np.searchsorted(ends, [match.start() for match in _FENCE.finditer(joined)])] = True
    stops = np.isin(last, _points("".join(VERSE_ENDS)))
    return _Columns(lengths, (sums[end] - sums[begin]) * inverse[begin], sizes, sizes - digits, fences, guarded, stops)


def _points(characters: str) -> Codes:
    return np.array([ord(character) for character in characters], np.uint32)


@cache
def _values() -> Hashes:
    """What each code point counts in a hash; 0 where it does not. Of a lower case of several the first counts."""
    characters = np.arange(0x110000, dtype=np.uint32).view("U1")
    values = mixed(np.strings.lower(characters).view(np.uint32).astype(np.uint64) + np.uint64(1))
    values[np.strings.isdecimal(characters)] = _ZERO
    values[(character_flags() & WORD) == 0] = 0
    return values
