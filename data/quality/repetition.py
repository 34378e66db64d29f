"""Gopher's rules of repetition: how much of a text has stood in it before.

Source: Rae et al. 2021 (Gopher), appendix A.1.1, table A1, in the reading of datatrove 0.10 (GopherRepetitionFilter),
whose order of rules this is. Shares of characters are of all characters of the text.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.quality.columns import Bools, Ints, Texts, paragraphs, seen_before
from data.quality.gopher import share
from data.quality.grams import DuplicateGrams, top_grams
from data.quality.verdicts import Verdict, above
from data.quality.words import Words

Share = Annotated[float, Field(ge=0, le=1)]
TOP = range(2, 5)
DUPLICATE = range(5, 11)


def _top(n: int, limit: float) -> Share | None:
    about = f"Greatest share of characters in the commonest run of {n} words, all its occurrences together."
    return Field(limit, description=about)


def _duplicate(n: int, limit: float) -> Share | None:
    about = f"Greatest share of characters in runs of {n} words that came before."
    return Field(limit, description=about)


class RepetitionRules(BaseModel):
    """Gopher's rules of repetition (Rae et al. 2021, table A1). A rule that is null is off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_duplicate_paragraphs: Share | None = Field(
        0.3, description="Greatest share of paragraphs (between blank lines) that came before."
    )
    max_duplicate_paragraph_characters: Share | None = Field(
        0.2, description="Greatest share of characters in such paragraphs."
    )
    max_duplicate_lines: Share | None = Field(0.3, description="Greatest share of lines that came before.")
    max_duplicate_line_characters: Share | None = Field(0.2, description="Greatest share of characters in such lines.")
    max_top_2_grams: Share | None = _top(2, 0.2)
    max_top_3_grams: Share | None = _top(3, 0.18)
    max_top_4_grams: Share | None = _top(4, 0.16)
    max_duplicate_5_grams: Share | None = _duplicate(5, 0.15)
    max_duplicate_6_grams: Share | None = _duplicate(6, 0.14)
    max_duplicate_7_grams: Share | None = _duplicate(7, 0.13)
    max_duplicate_8_grams: Share | None = _duplicate(8, 0.12)
    max_duplicate_9_grams: Share | None = _duplicate(9, 0.11)
    max_duplicate_10_grams: Share | None = _duplicate(10, 0.10)


def broken_repetition_rules(texts: Texts, words: Words, rules: RepetitionRules) -> Iterator[Verdict]:
    """Each rule that is on, in order, with the documents that break it; of documents that break an earlier rule, the
    duplicate runs are not counted. A share of nothing is 0."""
    settled = np.zeros(len(texts.starts), np.bool_)
    for verdict in _verdicts(texts, words, rules, settled):
        settled |= verdict.broken
        yield verdict


def _verdicts(texts: Texts, words: Words, rules: RepetitionRules, settled: Bools) -> Iterator[Verdict]:
    length = texts.lengths
    for name, again in (("paragraph", _duplicate_paragraphs), ("line", _duplicate_lines)):
        of_all = getattr(rules, f"max_duplicate_{name}s")
        of_characters = getattr(rules, f"max_duplicate_{name}_characters")
        if of_all is None and of_characters is None:
            continue
        parts, duplicates, characters = again(texts)
        if of_all is not None:
            yield above(f"max_duplicate_{name}s", share(duplicates, parts), of_all)
        if of_characters is not None:
            yield above(f"max_duplicate_{name}_characters", share(characters, length), of_characters)
    limits = {n: getattr(rules, f"max_top_{n}_grams") for n in TOP}
    if any(limit is not None for limit in limits.values()):
        for n, characters in top_grams(words, TOP).items():
            if limits[n] is not None:
                yield above(f"max_top_{n}_grams", share(characters, length), limits[n])
    limits = {n: getattr(rules, f"max_duplicate_{n}_grams") for n in DUPLICATE}
    if any(limit is not None for limit in limits.values()):
        grams = DuplicateGrams(words)
        for n, limit in limits.items():
            if limit is not None:
                needed = np.floor(limit * length * (1 - 1e-9)).astype(np.int64)  # safely below what would break it
                characters = grams.measure(n, needed, ~settled)
                yield Verdict(f"max_duplicate_{n}_grams", share(characters, length) > limit)  # no more is measured


def _duplicate_paragraphs(texts: Texts) -> tuple[Ints, Ints, Ints]:
    """Paragraphs, those that came before, and the characters in these, per document."""
    spans = paragraphs(texts)
    again = seen_before(texts, spans)
    return spans.counts, spans.total(again), spans.total(spans.lengths * again)


def _duplicate_lines(texts: Texts) -> tuple[Ints, Ints, Ints]:
    """Lines, those that came before, and the characters in these, per document. Line feeds side by side end one line;
    those at the text's beginning and end leave an empty line outside of them, and the second of these came before."""
    some = texts.lengths > 0
    opens = some & (texts.codes[texts.starts] == ord("\n"))
    closes = some & (texts.codes[texts.ends - 1] == ord("\n"))
    some = texts.lines.lengths > 0
    lines, again = texts.lines.chosen(some), texts.repeated_lines[some]
    return lines.counts + opens + closes, lines.total(again) + (opens & closes), lines.total(lines.lengths * again)
