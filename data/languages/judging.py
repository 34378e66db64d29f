"""Which texts are in a wanted language: what is read of each, and what is decided.

A text is judged by a sample spread over it, because its beginning is often a title, a menu or a notice in another
language than the rest. Few texts are not clear by then; of those more is read.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.languages.config import LanguageConfig

LANGUAGE = "language"  # reasons of drops
UNSURE = "language_unsure"

_SAMPLES = ((4, 50), (12, 64))  # (pieces, characters of each): the first for all, the second for what is unclear
_CLEAR = 0.9  # probability from which the first sample is enough
_AT_ONCE = 1024  # texts judged together


class Judgement(NamedTuple):
    """The likeliest language of a text, and why it is dropped; None where it is kept."""

    language: str
    reason: str | None


def judge_languages(
    texts: Sequence[str], config: LanguageConfig, observed: list[float] | None = None
) -> list[Judgement]:
    """A judgement for each text. One with nothing to go by is as likely in any language, so it is dropped as unsure
    or as another language. `observed` gets the probability of the wanted languages together, of every text."""
    if not texts:
        return []
    from data.languages.identify import identifier

    model = identifier()
    wanted = np.isin(model.labels, config.wanted)
    judged: list[Judgement] = []
    for start in range(0, len(texts), _AT_ONCE):
        some = texts[start : start + _AT_ONCE]
        found = model.probabilities([sample(text, *_SAMPLES[0]) for text in some])
        unclear = [
            at
            for at in np.flatnonzero(found.max(axis=1) < _CLEAR).tolist()
            if len(some[at]) > _SAMPLES[0][0] * _SAMPLES[0][1]
        ]
        if unclear:
            found[unclear] = model.probabilities([sample(some[at], *_SAMPLES[1]) for at in unclear])
        best = found.argmax(axis=1)
        together = found[:, wanted].sum(axis=1)
        if observed is not None:
            observed += together.tolist()
        for likeliest, probability in zip(best.tolist(), together.tolist(), strict=True):
            reason = None if probability >= config.min_confidence else UNSURE
            judged.append(Judgement(model.labels[likeliest], reason if wanted[likeliest] else LANGUAGE))
    return judged


def sample(text: str, pieces: int, characters: int) -> str:
    """The text itself where it is short; else the middles of `pieces` equal parts, each on a line of its own."""
    if len(text) <= pieces * characters:
        return text
    middles = (len(text) * (2 * part + 1) // (2 * pieces) for part in range(pieces))
    return "\n".join([text[(at := middle - characters // 2) : at + characters] for middle in middles])
