"""The gate: whether a challenger may take the champion's place. Arithmetic on scores; knows no artifact and no model.

Both models are scored on the same passages, so the bootstrap keeps the pairs: what makes a passage hard for both
cancels out (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). It draws documents, each with
all of its passages: those of one document resemble one another, so that drawn one by one they would make the interval
too narrow (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). On each source the
challenger must not be worse by more than a margin, at the upper end of the 95% interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.benchmark_gate import BenchmarkCheck
from tasks.retrain_config import RetrainConfig

ALL = "all sources"
NORMAL_95 = 1.959964  # standard deviations on either side of a normal mean that hold 95%
MIN_DOCUMENTS = 10  # below, a draw of documents says little: then passages are drawn
DRAWN_AT_ONCE = 2**22  # documents, or passages, held at once: 32 MB

Result = Literal["better", "holds", "worse", "not judged"]


@dataclass(frozen=True)
class Pairs:
    """Scores of both models on the same passages of one source, all (passages,) and, but for the last, float64.

    nats, nats_before  sum of -ln p of a passage, by the challenger and by the champion
    sizes              UTF-8 bytes
    documents          int64: passages of one document have the same number, which no other document has, of any source
    """

    nats: NDArray[np.float64]
    nats_before: NDArray[np.float64]
    sizes: NDArray[np.float64]
    documents: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sizes)

    def by_document(self) -> "Pairs":
        """The sums over the passages of each document."""
        numbers, place = np.unique(self.documents, return_inverse=True)
        nats, before, sizes = (
            np.bincount(place, one).astype(np.float64) for one in (self.nats, self.nats_before, self.sizes)
        )
        return Pairs(nats, before, sizes, numbers)


@dataclass(frozen=True)
class Check:
    """One comparison.

    source           as the recipe calls it, or `ALL`
    kind             `frozen`: text that was held out when the champion came, too; `new`: held out since
    passages         how many
    documents        of how many documents; below `MIN_DOCUMENTS` the interval is drawn from passages
    value, before    bits per byte of challenger and champion
    low, high        95% interval of their difference, challenger minus champion; None where it is not judged
    """

    source: str
    kind: str
    passages: int
    documents: int
    value: float
    before: float
    low: float | None
    high: float | None
    result: Result

    def __str__(self) -> str:
        text = f"{self.source}, {self.kind} text: {self.before:.4f} -> {self.value:.4f} bits per byte"
        if self.low is None or self.high is None:
            return f"{text} on {self.passages} passages, too few to judge"
        of = f"of {self.documents} document{'s' if self.documents > 1 else ''}"
        if self.documents < MIN_DOCUMENTS:
            of += ", so few that the interval is over passages"
        return f"{text} ({self.low:+.4f} to {self.high:+.4f} on {self.passages} passages {of}): {self.result}"


@dataclass(frozen=True)
class Verbatim:
    """At how many of the tested places in its training text a model goes on verbatim."""

    verbatim: int
    places: int

    @property
    def share(self) -> float:
        return self.verbatim / max(1, self.places)


@dataclass(frozen=True)
class Memorisation:
    """How often challenger and champion go on verbatim, each in text of its own; None where it was not tested."""

    value: Verbatim | None = None
    before: Verbatim | None = None

    def shares(self) -> dict[str, float | None]:
        """The two shares by their names, as a decision notes them."""
        return {name: one.share if one else None for name, one in vars(self).items()}


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger is promoted, and why: what decided, one sentence each.

    totals  bits per byte of challenger and champion over all sources, by kind of text and for `all` of it
    """

    promote: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    memorisation: Memorisation
    totals: Mapping[str, tuple[float, float]]
    benchmarks: tuple[BenchmarkCheck, ...] = ()


def judge(
    pairs: Mapping[tuple[str, str], Pairs],
    memorisation: Memorisation,
    config: RetrainConfig,
    benchmarks: tuple[BenchmarkCheck, ...] = (),
) -> Verdict:
    """Decide by the scores on every (source, kind of text).

    A source with fewer than `min_passages` passages of a kind is reported and not judged. Where that leaves no source
    to be judged on a kind, its passages of all sources are judged together, if they are enough. Nothing that can be
    judged means that the champion stays, whatever benchmarks say: these only keep a challenger out.
    """
    checks = []
    for kind in ("frozen", "new"):
        of_kind = {source: one for (source, its), one in sorted(pairs.items()) if its == kind and len(one)}
        single = [compare(source, kind, one, config) for source, one in of_kind.items()]
        checks += single
        if len(of_kind) > 1 and all(check.result == "not judged" for check in single):
            checks.append(compare(ALL, kind, _together(list(of_kind.values())), config))
    judged = [check for check in checks if check.result != "not judged"]
    failures = [str(check) for check in judged if check.result == "worse"]
    if not judged:
        count = sum(map(len, pairs.values()))
        failures.append(
            f"nothing could be judged: {count} held-out passages, and {config.min_passages} of one kind are needed "
            "(split.min_passages, split.validation_share, retrain.min_passages)"
        )
    failures += _memorises_more(memorisation, config)
    failures += [str(check) for check in benchmarks if check.result == "worse"]
    said = [str(check) for check in judged] + [str(one) for one in benchmarks if one.result != "not judged"]
    reasons = failures or said
    return Verdict(not failures, tuple(reasons), tuple(checks), memorisation, _totals(pairs), benchmarks)


def compare(source: str, kind: str, pairs: Pairs, config: RetrainConfig) -> Check:
    """Both models on the passages of one source. `better`: the whole interval lies below 0."""
    sizes = len(pairs), len(np.unique(pairs.documents))
    value, before = _rates(pairs)
    if len(pairs) < config.min_passages:
        return Check(source, kind, *sizes, value, before, None, None, "not judged")
    low, high = difference_interval(pairs, config.resamples, config.seed)
    result: Result = "better" if high < 0 else "holds" if high <= config.margin else "worse"
    return Check(source, kind, *sizes, value, before, low, high, result)


def difference_interval(pairs: Pairs, resamples: int, seed: int) -> tuple[float, float]:
    """The 2.5% and 97.5% quantiles of the difference in bits per byte over sets of documents drawn with replacement.

    Of fewer than `MIN_DOCUMENTS` documents passages are drawn, as if they were independent: a single book is judged,
    too, if by an interval that is somewhat narrow.
    """
    generator = np.random.default_rng(seed)
    whole = pairs.by_document()
    drawable = whole if len(whole) >= MIN_DOCUMENTS else pairs
    count, sizes = len(drawable), drawable.sizes
    difference = (drawable.nats - drawable.nats_before) / math.log(2)
    at_once = max(1, DRAWN_AT_ONCE // count)
    found = []
    for first in range(0, resamples, at_once):
        drawn = generator.integers(0, count, (min(at_once, resamples - first), count))
        found.append(difference[drawn].sum(1) / np.maximum(1.0, sizes[drawn].sum(1)))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975]).tolist()
    return low, high


def share_difference_interval(value: Verbatim, before: Verbatim) -> tuple[float, float]:
    """The 95% interval of the difference of two shares, each of places of its own; nothing is known without places.

    Newcombe's score interval, made of Wilson's normal approximation for each (Statistics in Medicine 17, 1998, pages
    873 to 890, method 10): unlike the plain one it does not shrink to a point where a share is 0 or 1.
    """
    if not value.places or not before.places:
        return -1.0, 1.0
    difference = value.share - before.share
    (low, high), (low_before, high_before) = _wilson(value), _wilson(before)
    below = math.hypot(value.share - low, high_before - before.share)
    above = math.hypot(high - value.share, before.share - low_before)
    return difference - below, difference + above


def _wilson(one: Verbatim) -> tuple[float, float]:
    squared = NORMAL_95**2
    middle = one.verbatim + squared / 2
    half = NORMAL_95 * math.sqrt(one.verbatim * (1 - one.share) + squared / 4)
    return (middle - half) / (one.places + squared), (middle + half) / (one.places + squared)


def _memorises_more(memorisation: Memorisation, config: RetrainConfig) -> list[str]:
    """What stands against the challenger, at most one sentence: its share is above the champion's by more than the
    margin, and not by the luck of the places alone."""
    value, before = memorisation.value, memorisation.before
    if value is None or before is None:
        return []
    low, high = share_difference_interval(value, before)
    if low <= config.memorisation_margin:
        return []
    return [
        f"memorisation: goes on verbatim at {value.share:.1%} of {value.places} places in its training text, the "
        f"champion at {before.share:.1%} of {before.places}: {low:+.1%} to {high:+.1%}, and "
        f"{config.memorisation_margin:.1%} more are allowed"
    ]


def _rates(pairs: Pairs) -> tuple[float, float]:
    size = max(1.0, float(pairs.sizes.sum()))
    return float(pairs.nats.sum()) / math.log(2) / size, float(pairs.nats_before.sum()) / math.log(2) / size


def _totals(pairs: Mapping[tuple[str, str], Pairs]) -> dict[str, tuple[float, float]]:
    found = {}
    for kind in ("frozen", "new", "all"):
        chosen = [one for (_, its), one in pairs.items() if len(one) and kind in (its, "all")]
        if chosen:
            found[kind] = _rates(_together(chosen))
    return found


def _together(parts: Sequence[Pairs]) -> Pairs:
    return Pairs(*(np.concatenate(columns) for columns in zip(*(vars(one).values() for one in parts), strict=True)))
