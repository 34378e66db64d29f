"""The part of the gate that looks at benchmarks: both models' answers to the same items. Knows no artifact.

The items are paired: one that both answer right, or both wrong, says nothing about which is better. The bootstrap draws
items with replacement (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13); as an item's
difference is -1, 0 or 1, a draw is one of how many of each there are. As with memorisation, the challenger is kept out
when it is shown to be worse, not when it is not shown to be as good: with the few hundred items that a small model is
asked, the interval is several points wide, and near chance the answers to many items change with every training.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import TextmillError
from tasks.retrain_config import RetrainConfig

Answers = NDArray[np.bool_]
"""(items, 2): whether an item was answered right, by the plain sum of log probabilities and by that per byte."""

Result = Literal["better", "holds", "worse", "not judged"]


@dataclass(frozen=True)
class BenchmarkCheck:
    """One benchmark.

    accuracy, accuracy_before  shares of items answered right by challenger and champion, by plain sums
    value, before              the same per byte, which is what is judged
    low, high                  95% interval of `value` - `before`; None where it is not judged
    """

    benchmark: str
    items: int
    accuracy: float
    accuracy_before: float
    value: float
    before: float
    low: float | None
    high: float | None
    result: Result

    def __str__(self) -> str:
        text = f"benchmark {self.benchmark}: {self.before:.1%} -> {self.value:.1%} length-normalised accuracy"
        if self.low is None or self.high is None:
            return f"{text} on {self.items} items, too few to judge"
        points = f"{100 * self.low:+.1f} to {100 * self.high:+.1f} points"
        return f"{text} ({points} on {self.items} items): {self.result}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_answers(name: str, value: Answers, before: Answers, config: RetrainConfig) -> BenchmarkCheck:
    """Both models on the items of one benchmark. `worse`: the whole interval lies below minus the margin.

    Raises TextmillError where they were asked different numbers of items.
    """
    if len(value) != len(before):
        raise TextmillError(
            f"The benchmark {name!r} had {len(value):,} items for the challenger and {len(before):,} for the champion: "
            "its file was changed meanwhile. Run the same again; the trained challenger is reused."
        )
    plain, normalised = value.mean(0).tolist()
    plain_before, normalised_before = before.mean(0).tolist()
    shares = plain, plain_before, normalised, normalised_before
    if len(value) < config.min_items:
        return BenchmarkCheck(name, len(value), *shares, None, None, "not judged")
    low, high = accuracy_difference_interval(value[:, 1], before[:, 1], config.resamples, config.seed)
    result: Result = "worse" if high < -config.benchmark_margin else "better" if low > 0 else "holds"
    return BenchmarkCheck(name, len(value), *shares, low, high, result)


def compare_all(
    value: Mapping[str, Answers], before: Mapping[str, Answers], config: RetrainConfig
) -> tuple[BenchmarkCheck, ...]:
    """The benchmarks that both models have answered, by name."""
    return tuple(compare_answers(name, value[name], before[name], config) for name in sorted(value.keys() & before))


def accuracy_difference_interval(
    right: NDArray[np.bool_], right_before: NDArray[np.bool_], resamples: int, seed: int
) -> tuple[float, float]:
    """The 2.5% and 97.5% quantiles of the difference of two shares over items drawn with replacement."""
    items = len(right)
    won, lost = int((right & ~right_before).sum()), int((~right & right_before).sum())
    drawn = np.random.default_rng(seed).multinomial(
        items, [won / items, lost / items, 1 - (won + lost) / items], resamples
    )
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / items, [0.025, 0.975]).tolist()
    return low, high
