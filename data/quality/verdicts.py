"""What a rule says of many documents: which break it, and by what score it judged them, where it has one."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.quality.columns import Bools

Scores = NDArray[np.float64]


class Verdict(NamedTuple):
    """A rule by its setting, the documents that break it, (documents,), and what it measured of each, (documents,)."""

    rule: str
    broken: Bools
    score: Scores | None = None

    @property
    def score_name(self) -> str:
        """What was measured: the setting without `min` and `max`, so that two rules of one score share it."""
        return self.rule.removeprefix("min_").removeprefix("max_")


def below(rule: str, score: Scores, least: float) -> Verdict:
    """A rule that wants at least so much."""
    return Verdict(rule, score < least, score)


def above(rule: str, score: Scores, most: float) -> Verdict:
    """A rule that wants at most so much."""
    return Verdict(rule, score > most, score)
