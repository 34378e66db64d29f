"""Gopher's rules of quality: does a text consist of words, and of enough of them.

Source: Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", appendix A.1.1,
in the reading of datatrove 0.10 (GopherQualityFilter), whose order of rules this is. Words that are nothing but
punctuation and controls are no words to the first four rules, and are to the others.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.quality.columns import LETTER, SOUND, Ints, Texts
from data.quality.verdicts import Verdict, above, below
from data.quality.words import Words, key_of

Share = Annotated[float, Field(ge=0, le=1)]


class GopherRules(BaseModel):
    """Gopher's rules of quality (Rae et al. 2021). A rule that is null is off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_words: int | None = Field(50, ge=0, description="Fewest words, those of punctuation alone not counted.")
    max_words: int | None = Field(100_000, ge=0, description="Most words, those of punctuation alone not counted.")
    min_mean_word_length: float | None = Field(3, ge=0, description="Least mean length of those words, in characters.")
    max_mean_word_length: float | None = Field(
        10, ge=0, description="Greatest mean length of those words, in characters."
    )
    max_hashes_per_word: float | None = Field(0.1, ge=0, description="Most number signs (#) per word.")
    max_ellipses_per_word: float | None = Field(0.1, ge=0, description="Most ellipses (... or …) per word.")
    max_bullet_lines: Share | None = Field(0.9, description="Greatest share of lines that begin with • or -.")
    max_ellipsis_lines: Share | None = Field(0.3, description="Greatest share of lines that end in an ellipsis.")
    min_words_with_letter: Share | None = Field(0.8, description="Least share of words that have a letter.")
    min_stop_words: int | None = Field(
        2, ge=0, description="How many different ones of stop_words the text must have, written just like that."
    )
    stop_words: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)] = Field(
        ("the", "be", "to", "of", "and", "that", "have", "with"),
        description="Words that any text in its language has; these are English.",
    )


def broken_gopher_rules(texts: Texts, words: Words, rules: GopherRules) -> Iterator[Verdict]:
    """Each rule that is on, in order, with the documents that break it. A share of nothing is 0."""
    sound = (words.flags & SOUND) != 0
    counts = words.spans.total(sound)
    if rules.min_words is not None:
        yield Verdict("min_words", counts < rules.min_words)
    if rules.max_words is not None:
        yield Verdict("max_words", counts > rules.max_words)
    mean = share(words.spans.total(words.spans.lengths * sound), counts)
    if rules.min_mean_word_length is not None:
        yield below("min_mean_word_length", mean, rules.min_mean_word_length)
    if rules.max_mean_word_length is not None:
        yield above("max_mean_word_length", mean, rules.max_mean_word_length)
    counts = words.spans.counts
    if rules.max_hashes_per_word is not None:
        yield above("max_hashes_per_word", share(texts.count(texts.find("#")), counts), rules.max_hashes_per_word)
    if rules.max_ellipses_per_word is not None:
        yield above("max_ellipses_per_word", share(_ellipses(texts), counts), rules.max_ellipses_per_word)
    lines = texts.lines_of_any_kind
    if rules.max_bullet_lines is not None:
        begin = texts.codes[texts.first_visible(lines)]  # the line's end where all is white space
        bullets = lines.total((begin == ord("•")) | (begin == ord("-")))
        yield above("max_bullet_lines", share(bullets, lines.counts), rules.max_bullet_lines)
    if rules.max_ellipsis_lines is not None:
        at = texts.last_visible(lines)
        last, one, two = (texts.codes[np.maximum(at - back, 0)] for back in range(3))
        three = (at - 2 >= lines.starts) & (last == ord(".")) & (one == ord(".")) & (two == ord("."))
        ellipses = (at >= lines.starts) & (three | (last == ord("…")))
        yield above("max_ellipsis_lines", share(lines.total(ellipses), lines.counts), rules.max_ellipsis_lines)
    if rules.min_words_with_letter is not None:
        lettered = words.spans.total((words.flags & LETTER) != 0)
        yield below("min_words_with_letter", share(lettered, counts), rules.min_words_with_letter)
    if rules.min_stop_words is not None:
        yield Verdict("min_stop_words", _stop_words(words, rules.stop_words) < rules.min_stop_words)


def share(part: Ints, whole: Ints) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """part / whole, and 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _ellipses(texts: Texts) -> Ints:
    """Ellipses per document: every third dot of a row of dots, and the character of its own."""
    dots = texts.find(".")
    opens = np.ones(len(dots), np.bool_)
    opens[1:] = np.diff(dots) != 1
    starts = np.flatnonzero(opens)
    whole = np.diff(np.append(starts, len(dots))) // 3
    return texts.count(np.repeat(dots[starts], whole)) + texts.count(texts.find("…"))


def _stop_words(words: Words, stop_words: tuple[str, ...]) -> Ints:
    """How many different stop words each document has."""
    keys = words.keys
    different = dict.fromkeys(stop_words)
    found = np.zeros(len(words.spans.first) - 1, np.int64)
    for word in different:
        at = np.flatnonzero(keys == np.uint64(key_of(word)))
        found += np.searchsorted(at, words.spans.first[1:]) > np.searchsorted(at, words.spans.first[:-1])
    return found
