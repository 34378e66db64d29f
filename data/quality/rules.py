"""The published rules of quality, switched on by groups: which documents of a batch break which rule first, and what is
left of the others.

The groups go in the order in which FineWeb was made: repetition, Gopher's rules of quality, C4's, FineWeb's own. C4's
rules edit; FineWeb's judge what these left. No group needs another.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import starmap
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.quality.c4 import C4Rules, edited_by_c4
from data.quality.columns import Ints, Spans, Texts, columns_of
from data.quality.edits import strings_of
from data.quality.fineweb import FineWebRules, broken_fineweb_rules
from data.quality.gopher import GopherRules, broken_gopher_rules
from data.quality.repetition import RepetitionRules, broken_repetition_rules
from data.quality.sentences import count_sentences
from data.quality.verdicts import Scores, Verdict
from data.quality.words import find_words, words_of

_CHARACTERS_AT_ONCE = 400_000  # so that columns nearly fit the caches; fewer and more were slower


class QualityConfig(BaseModel):
    """Published rules of quality; a group that is null judges nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repetition: RepetitionRules | None = Field(
        None, description="Gopher's rules of repetition: lines, paragraphs and runs of words that come back."
    )
    gopher: GopherRules | None = Field(None, description="Gopher's rules of quality: words, symbols, stop words.")
    c4: C4Rules | None = Field(None, description="C4's rules: lines that are no prose are taken out of documents.")
    fineweb: FineWebRules | None = Field(None, description="FineWeb's rules of quality: ends and lengths of lines.")

    @property
    def is_on(self) -> bool:
        """Whether any group judges."""
        return any((self.repetition, self.gopher, self.c4, self.fineweb))


class Judged(NamedTuple):
    """What became of a text.

    reason   the first rule that it breaks, by group and setting (`gopher_min_words`), or None
    text     as it is to be kept; where it is dropped, as it came
    removed  from a text that is kept, by setting of C4's rules: lines (not counting empty ones), and citation marks
    """

    reason: str | None
    text: str
    removed: Mapping[str, int] = MappingProxyType({})


Observed = Mapping[str, Scores]
"""Scores of a few texts, (texts,) each, by group and what was measured (`gopher_mean_word_length`)."""


def judged(
    texts: Sequence[str],
    config: QualityConfig,
    segment: Callable[[Texts], Spans] = find_words,
    sentences: Callable[[Texts, Spans, Spans], Ints] = count_sentences,
    observed: list[Observed] | None = None,
) -> list[Judged]:
    """Judge every text by the groups that are on, and edit it where C4's are.

    segment    finds the words; they lie in order, do not overlap, and are not empty
    sentences  counts sentences of lines, (lines,), given the texts, their lines and their words
    observed   gets the scores that the rules went by, of every text, in parts that follow each other
    """
    if not config.is_on:
        return [Judged(None, text) for text in texts]
    results: list[Judged] = []
    for batch in _batches(texts):
        judgement = _Judgement(batch, config, segment, sentences)
        results += judgement.results()
        if observed is not None:
            observed.append(judgement.scores)
    return results


class _Judgement:
    """The rules at work on one batch."""

    def __init__(
        self,
        batch: Sequence[str],
        config: QualityConfig,
        segment: Callable[[Texts], Spans],
        sentences: Callable[[Texts, Spans, Spans], Ints],
    ) -> None:
        self._batch, self._config, self._segment, self._sentences = batch, config, segment, sentences
        self._reasons: list[str | None] = [None] * len(batch)
        self._open = np.ones(len(batch), np.bool_)
        self.scores: dict[str, Scores] = {}

    def results(self) -> list[Judged]:
        """Go through the groups in order."""
        config, texts = self._config, columns_of(self._batch)
        words: Spans | None = None
        if config.repetition or config.gopher:
            words = self._segment(texts)
            about = words_of(texts, words)
            if config.repetition:
                self._settle("repetition", broken_repetition_rules(texts, about, config.repetition))
            if config.gopher:
                self._settle("gopher", broken_gopher_rules(texts, about, config.gopher))
        removed: dict[str, Ints] = {}
        edited = texts
        if config.c4:
            edit = edited_by_c4(texts, config.c4, self._open, self._segment, self._sentences)
            self._settle("c4", starmap(Verdict, edit.broken))
            edited, words, removed = edit.texts, edit.words, edit.removed
        if config.fineweb:
            words = self._segment(edited) if words is None else words
            self._settle("fineweb", broken_fineweb_rules(edited, words, config.fineweb))
        left = self._batch if edited is texts else strings_of(edited)
        taken = [
            {rule: int(counts[at]) for rule, counts in removed.items() if counts[at]} for at in range(len(self._batch))
        ]
        return [
            Judged(None, text, its) if reason is None else Judged(reason, before)
            for reason, before, text, its in zip(self._reasons, self._batch, left, taken, strict=True)
        ]

    def _settle(self, group: str, rules: Iterable[Verdict]) -> None:
        """Note the first rule that a document breaks; the rules are only asked one after the other."""
        for verdict in rules:
            for document in np.flatnonzero(verdict.broken & self._open).tolist():
                self._reasons[document] = f"{group}_{verdict.rule}"
            self._open &= ~verdict.broken
            if verdict.score is not None:
                self.scores[f"{group}_{verdict.score_name}"] = verdict.score


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
