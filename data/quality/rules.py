"""The published rules of quality, switched on by groups: which documents of a batch break which rule first.

The groups go in the order in which FineWeb was made: repetition, Gopher's rules of quality, FineWeb's own. Nothing is
edited here, and no group needs another.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.quality.columns import Bools, Spans, Texts, columns_of
from data.quality.fineweb import FineWebRules, broken_fineweb_rules
from data.quality.gopher import GopherRules, broken_gopher_rules
from data.quality.repetition import RepetitionRules, broken_repetition_rules
from data.quality.words import Words, find_words, words_of

_CHARACTERS_AT_ONCE = 400_000  # so that columns nearly fit the caches; fewer and more were slower


class QualityConfig(BaseModel):
    """Published rules by which whole documents are dropped; a group that is null judges nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repetition: RepetitionRules | None = Field(
        None, description="Gopher's rules of repetition: lines, paragraphs and runs of words that come back."
    )
    gopher: GopherRules | None = Field(None, description="Gopher's rules of quality: words, symbols, stop words.")
    fineweb: FineWebRules | None = Field(None, description="FineWeb's rules of quality: ends and lengths of lines.")

    @property
    def is_on(self) -> bool:
        """Whether any group judges."""
        return any((self.repetition, self.gopher, self.fineweb))


def first_broken_rules(
    texts: Sequence[str], config: QualityConfig, segment: Callable[[Texts], Spans] = find_words
) -> list[str | None]:
    """For each text the first rule that it breaks, by group and setting (`gopher_min_words`), or None.

    segment  finds the words; they lie in order, do not overlap, and are not empty
    """
    if not config.is_on:
        return [None] * len(texts)
    reasons: list[str | None] = []
    for batch in _batches(texts):
        columns = columns_of(batch)
        words = words_of(columns, segment(columns))
        first: list[str | None] = [None] * len(batch)
        open_ = np.ones(len(batch), np.bool_)
        for name, broken in _broken_rules(columns, words, config):
            for document in np.flatnonzero(broken & open_).tolist():
                first[document] = name
            open_ &= ~broken
        reasons += first
    return reasons


def _broken_rules(texts: Texts, words: Words, config: QualityConfig) -> Iterator[tuple[str, Bools]]:
    if config.repetition:
        for name, broken in broken_repetition_rules(texts, words, config.repetition):
            yield f"repetition_{name}", broken
    if config.gopher:
        for name, broken in broken_gopher_rules(texts, words, config.gopher):
            yield f"gopher_{name}", broken
    if config.fineweb:
        for name, broken in broken_fineweb_rules(texts, words, config.fineweb):
            yield f"fineweb_{name}", broken


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Texts in groups of bounded size; a long text is a group of its own."""
    start = size = 0
    for at, text in enumerate(texts):
        if size and size + len(text) > _CHARACTERS_AT_ONCE:
            yield texts[start:at]
            start, size = at, 0
        size += len(text) + 1
    if start < len(texts):
        yield texts[start:]
