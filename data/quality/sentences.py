"""How many sentences lines have, told by their words, as spaCy's sentencizer tells it.

A sentence ends with a word that is nothing but one mark (. ? ! and their like in other scripts), and the next begins at
the first word behind it that is more than punctuation. So it is the words that know of abbreviations: `Mr.` is one
word, and no sentence ends there.
"""

from functools import cache

import numpy as np

from data.quality.columns import STOP, Bools, Ints, Spans, Texts, codes_in, codes_of

# Ends of sentences of Unicode that spaCy (3.8) does not have
_OTHER_STOPS = (
    "61D-61E 837 839 83D-83E 17D4-17D6 17D9-17DA 1B7D-1B7E 2E53-2E54 10F55-10F59 10F86-10F89 11944 11946 11EF7-11EF8 "
    "11F43-11F44 16E98"
)


def count_sentences(texts: Texts, lines: Spans, words: Spans) -> Ints:
    """Sentences of every line, (lines,); there is one even in an empty line.

    White space other than a single space counts for a word here, as spaCy has it.
    """
    counts = np.ones(len(lines.starts), np.int64)
    at = _stops(texts, words)
    line = np.searchsorted(lines.starts, words.starts[at], side="right") - 1
    ends = lines.ends[line]
    while len(at):
        behind, following = words.ends[at], np.minimum(at + 1, len(words.starts) - 1)
        follows = (at + 1 < len(words.starts)) & (words.starts[following] < ends)
        gap = np.where(follows, words.starts[following], ends) - behind
        wide = (gap > 1) | ((gap == 1) & (texts.codes[behind] != ord(" ")))
        punctuation = follows & ~wide
        punctuation[punctuation] = _is_punctuation(texts, words, following[punctuation])
        begins = wide | (follows & ~punctuation)
        np.add.at(counts, line[begins], 1)
        at, line, ends = following[punctuation], line[punctuation], ends[punctuation]
        unended = ~_is_stop(texts, words, at)  # another stop looks behind itself on its own
        at, line, ends = at[unended], line[unended], ends[unended]
    return counts


def _stops(texts: Texts, words: Spans) -> Ints:
    """The words that end sentences."""
    positions = np.flatnonzero((texts.flags & STOP) != 0)
    at = np.searchsorted(words.starts, positions)
    at = at[at < len(words.starts)]
    found: Ints = at[(words.starts[at] == positions[: len(at)]) & _is_stop(texts, words, at)]
    return found


def _is_stop(texts: Texts, words: Spans, at: Ints) -> Bools:
    first = words.starts[at]
    found: Bools = (words.ends[at] - first == 1) & ((texts.flags[first] & STOP) != 0)
    found &= ~np.isin(texts.codes[first], _other_stops())
    return found


def _is_punctuation(texts: Texts, words: Spans, at: Ints) -> Bools:
    """Which of the words consist of punctuation alone."""
    starts, ends = words.starts[at], words.ends[at]
    found: Bools = _punctuation().take(texts.codes[starts])
    longer = np.flatnonzero(found & (ends - starts > 1))
    for which, start, end in zip(longer.tolist(), starts[longer].tolist(), ends[longer].tolist(), strict=True):
        found[which] = _punctuation().take(texts.codes[start:end]).all()
    return found


@cache
def _punctuation() -> Bools:
    """Which code points are punctuation, (0x110000,)."""
    found = np.zeros(0x110000, np.bool_)
    found[codes_in("P")] = True
    return found


@cache
def _other_stops() -> Ints:
    return np.array(codes_of(_OTHER_STOPS), np.int64)
