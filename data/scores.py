"""How scores of documents are spread: counts in bins of equal width, cheap to gather and keep, added up over slots.

A score is any number that a rule compares with a threshold. Its histogram says whether the threshold cuts through a
crowd or stands clear of one. Knows neither rules nor pictures.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SHARE = (0.0, 1.0, 20)
"""The scale of a score between 0 and 1: from, to, number of bins."""

LANGUAGE_SCORE, SIMILARITY_SCORE = "language_confidence", "similarity"
SCALES = {
    LANGUAGE_SCORE: (0.0, 1.0, 50),
    SIMILARITY_SCORE: (0.5, 1.0, 50),
    "gopher_mean_word_length": (0.0, 12.0, 24),
}
"""The scales of all other scores, by name."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Histogram:
    """Counts in bins of equal width between `low` and `high`; what lies beyond counts in the first or last bin."""

    low: float
    high: float
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """Where the bin begins that holds the value below which that share of all lies; 0 <= share <= 1."""
        reached = np.searchsorted(np.cumsum(self.counts), max(share * self.total, 1e-9))
        return self.low + (self.high - self.low) * int(reached) / len(self.counts)


class ScoreCounts:
    """Gathers the histograms of many scores. Memory: one count per bin."""

    def __init__(self) -> None:
        self._counts: dict[str, Counts] = {}

    def add(self, name: str, values: ArrayLike) -> None:
        """Count one score of some documents, (documents,)."""
        low, high, bins = SCALES.get(name, SHARE)
        places = np.floor(
            (np.asarray(values, np.float64) - low) * (bins / (high - low)) + 1e-9
        )  # 0.3 is 0.3 / 0.05 bins
        counts = np.bincount(np.clip(places, 0, bins - 1).astype(np.int64), minlength=bins)
        self._counts[name] = self._counts.get(name, 0) + counts

    def details(self) -> dict[str, Any]:
        """{name: {low, high, counts}}, JSON-able, of scores that anything has."""
        return {
            name: {"low": SCALES.get(name, SHARE)[0], "high": SCALES.get(name, SHARE)[1], "counts": counts.tolist()}
            for name, counts in sorted(self._counts.items())
            if counts.any()
        }


def added_up(details: Iterable[Mapping[str, Any]]) -> dict[str, Histogram]:
    """What several slots have in their details, together; of scores on different scales only those on the first."""
    found: dict[str, Histogram] = {}
    for one in details:
        for name, its in one.items():
            new = Histogram(its["low"], its["high"], tuple(its["counts"]))
            old = found.setdefault(name, Histogram(new.low, new.high, (0,) * len(new.counts)))
            if (old.low, old.high, len(old.counts)) == (new.low, new.high, len(new.counts)):
                sums = tuple(a + b for a, b in zip(old.counts, new.counts, strict=True))
                found[name] = Histogram(old.low, old.high, sums)
    return found


def drawn(counts: Sequence[int]) -> str:
    """Counts as a row of bars, one character each; whatever is not 0 can be seen."""
    most = max(counts, default=0)
    return "".join("▁▂▃▄▅▆▇█"[(8 * count - 1) // most] if count else " " for count in counts)
