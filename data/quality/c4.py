"""C4's rules: which lines of a page are prose, and whether enough of it is.

Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", section
2.2, in the reading of datatrove 0.10 (C4QualityFilter), whose order of rules this is. Unlike the other groups these
rules edit: they take lines out, and marks out of lines. White space at both ends of a line goes first, and lines of any
kind (str.splitlines) are put together with line feeds.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.quality.columns import SPACE, Bools, Ints, Spans, Texts
from data.quality.edits import find_all, only_lines, stripped, without
from data.quality.sentences import count_sentences
from data.quality.words import find_words

CITATION_MARKS = "citation_marks"  # the setting, and what is counted under it
_CITATION_MARKS = re.compile(r"\[(?:\d*|edit|citation needed)\]")
TERMINAL_MARKS = ".?!\"'"
JAVASCRIPT = ("javascript",)
LOREM_IPSUM = ("lorem ipsum",)
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_COOKIE = "cookie"
_KELVIN = 0x212A  # the only character outside of ASCII that is a letter of ASCII in lower case
_NEVER = np.iinfo(np.int64).max


class C4Rules(BaseModel):
    """C4's rules (Raffel et al. 2020): lines and marks that are taken out, then whole documents. A rule that is null is
    off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_word_length: int | None = Field(
        1000, ge=0, description="Longest word of a line, in characters; a line with a longer one is taken out."
    )
    citation_marks: Literal["remove"] | None = Field(
        "remove", description="Whether marks such as [1], [edit] and [citation needed] are taken out of lines."
    )
    unended_lines: Literal["remove"] | None = Field(
        "remove", description="Whether lines are taken out that do not end in . ? ! or a quote, or end in an ellipsis."
    )
    min_words_per_line: int | None = Field(
        3, ge=0, description="Fewest words of a line, between white space; a line with fewer is taken out."
    )
    lorem_ipsum: Literal["drop"] | None = Field(
        "drop", description="Whether a document is dropped with `lorem ipsum` in a line left until here."
    )
    javascript: Literal["remove"] | None = Field(
        "remove", description="Whether lines are taken out that speak of JavaScript."
    )
    curly_bracket: Literal["drop"] | None = Field(
        "drop", description="Whether a document is dropped with a { in a line left until here."
    )
    policies: Literal["remove"] | None = Field(
        "remove", description="Whether lines are taken out that speak of terms of use, privacy or cookie policies."
    )
    min_sentences: int | None = Field(5, ge=0, description="Fewest sentences in the lines that are left.")


@dataclass(frozen=True)
class Edited:
    """What C4's rules made of texts.

    texts    what is left of them; of documents that were not asked for nothing
    words    of `texts`, where they had to be found
    broken   each rule by which documents fall that is on, in order, with the documents that break it
    removed  by rule, how much was taken out of each document, (documents,): lines with more than white space in them,
             and citation marks in lines that stayed
    """

    texts: Texts
    words: Spans | None
    broken: tuple[tuple[str, Bools], ...]
    removed: dict[str, Ints]


def edited_by_c4(
    texts: Texts,
    rules: C4Rules,
    wanted: Bools,
    segment: Callable[[Texts], Spans] = find_words,
    sentences: Callable[[Texts, Spans, Spans], Ints] = count_sentences,
) -> Edited:
    """Apply the rules to the documents that are wanted.

    segment    finds words; they are needed for sentences only
    sentences  counts those of every line, given the texts, the lines and the words
    """
    whole = texts.lines_of_any_kind
    whole = whole.chosen(wanted[whole.documents])
    begin = texts.first_visible(whole)
    lines = Spans(begin, np.maximum(texts.last_visible(whole) + 1, begin), whole.first)
    filled = lines.lengths > 0
    few, long = _by_words(texts, lines, rules)
    ends = whole.ends
    marks: Spans | None = None
    if rules.citation_marks:
        marks = find_all(_CITATION_MARKS, texts) if bool((texts.codes == ord("[")).any()) else None
        if marks is not None and len(marks.starts):
            of_line = np.searchsorted(marks.starts, lines.ends) - np.searchsorted(marks.starts, lines.starts)
            texts, moved = without(texts, marks)
            lines, ends = Spans(moved(lines.starts), moved(lines.ends), lines.first), moved(ends)
        else:
            marks = None
    left, fatal, removed = _sift_lines(texts, lines, rules, few, long)
    broken = _first_fatal(lines, fatal)
    for _, documents in broken:
        left &= ~documents[lines.documents]
    taken = {rule: lines.total(gone & filled) for rule, gone in removed.items()}
    if marks is not None:
        taken[CITATION_MARKS] = lines.total(of_line * left)
    edited = only_lines(texts, lines.chosen(left), ends[left])
    words = None
    if rules.min_sentences is not None:
        words = segment(edited)
        counts = edited.lines.total(sentences(edited, edited.lines, words)) * (lines.total(left) > 0)
        broken = (*broken, ("min_sentences", counts < rules.min_sentences))
    final = stripped(edited)
    return Edited(final, words if final is edited else None, broken, taken)


def _by_words(texts: Texts, lines: Spans, rules: C4Rules) -> tuple[Bools, Bools]:
    """Lines with too few words, and lines with too long a one; words are what stands between white space."""
    few = long = np.zeros(len(lines.starts), np.bool_)
    if rules.min_words_per_line is None and rules.max_word_length is None:
        return few, long
    visible = (texts.flags & SPACE) == 0
    borders = np.flatnonzero(visible[1:] != visible[:-1]) + 1
    if visible[:1].any():
        borders = np.insert(borders, 0, 0)
    starts, ends = borders[::2], borders[1::2]  # the last character is a line feed
    if rules.min_words_per_line is not None:
        counts = np.searchsorted(starts, lines.ends) - np.searchsorted(starts, lines.starts)
        few = counts < rules.min_words_per_line
    if rules.max_word_length is not None:
        long = _having(lines, starts[ends - starts > rules.max_word_length])
    return few, long


def _sift_lines(
    texts: Texts, lines: Spans, rules: C4Rules, few: Bools, long: Bools
) -> tuple[Bools, dict[str, Bools], dict[str, Bools]]:
    """Which lines stay; those by which their document falls, and those taken out, by rule. A line meets the rules in
    order, and only until one of them takes it out."""
    left = ~long
    removed = {"max_word_length": long}
    fatal: dict[str, Bools] = {}
    letters = _small_letters(texts)

    def take_out(rule: str, lines_of_rule: Bools) -> None:
        nonlocal left
        removed[rule] = left & lines_of_rule
        left = left & ~lines_of_rule

    if rules.unended_lines:
        take_out("unended_lines", ~_ended(texts, lines))
    take_out("min_words_per_line", few)
    if rules.lorem_ipsum:
        fatal["lorem_ipsum"] = left & _having(lines, _places(letters, LOREM_IPSUM))
    if rules.javascript:
        take_out("javascript", _having(lines, _places(letters, JAVASCRIPT)))
    if rules.curly_bracket:
        fatal["curly_bracket"] = left & _having(lines, texts.find("{"))
    if rules.policies:
        cookies = _COOKIE.encode() in letters
        phrases = POLICIES if cookies else [phrase for phrase in POLICIES if _COOKIE not in phrase]
        take_out("policies", _having(lines, _places(letters, phrases)))
    return left, fatal, removed


def _ended(texts: Texts, lines: Spans) -> Bools:
    """Lines that end as sentences do, and not in an ellipsis."""
    last, one, two = (texts.codes[np.maximum(lines.ends - back, 0)] for back in (1, 2, 3))
    dot = ord(".")
    ellipsis = (lines.lengths > 2) & (last == dot) & (one == dot) & (two == dot)
    marks = np.array([ord(mark) for mark in TERMINAL_MARKS], np.uint32)
    found: Bools = (lines.lengths > 0) & np.isin(last, marks) & ~ellipsis
    return found


def _small_letters(texts: Texts) -> bytes:
    """One byte per character: those of ASCII with letters made small, and 128 for all others."""
    letters = np.minimum(texts.codes, 128).astype(np.uint8)
    letters[texts.codes == _KELVIN] = ord("k")
    return letters.tobytes().lower()


def _places(letters: bytes, phrases: Sequence[str]) -> Ints:
    """Where any of the phrases begins, ascending."""
    places: list[int] = []
    for phrase in phrases:
        wanted = phrase.encode()
        at = letters.find(wanted)
        while at >= 0:
            places.append(at)
            at = letters.find(wanted, at + 1)
    return np.array(sorted(places), np.int64)


def _having(lines: Spans, places: Ints) -> Bools:
    """Lines in which any of the ascending places lies."""
    found: Bools = np.searchsorted(places, lines.ends) > np.searchsorted(places, lines.starts)
    return found if len(places) else np.zeros(len(lines.starts), np.bool_)


def _first_fatal(lines: Spans, fatal: dict[str, Bools]) -> tuple[tuple[str, Bools], ...]:
    """By rule, the documents that fall by it; of two rules, by the one whose line comes first."""
    first = {rule: _first_line(lines, which) for rule, which in fatal.items()}
    earliest = np.minimum.reduce([*first.values(), np.full(len(lines.first) - 1, _NEVER)])
    return tuple((rule, (at == earliest) & (at < _NEVER)) for rule, at in first.items())


def _first_line(lines: Spans, which: Bools) -> Ints:
    """The number of each document's first line that is one of these, and _NEVER where there is none."""
    found = np.append(np.flatnonzero(which), _NEVER)
    at = found[np.searchsorted(found, lines.first[:-1])]
    return np.where(at < lines.first[1:], at, _NEVER)
