"""Benchmarks in the gate: answers made by hand, and the bootstrap against one that draws item by item."""

import math
import random
import statistics

import numpy as np
import pytest

from data.errors import TextmillError
from tasks.benchmark_gate import accuracy_difference_interval, compare_all, compare_answers
from tasks.gate import Memorisation, judge
from tasks.retrain_config import RetrainConfig
from tests.test_gate import pairs

CONFIG = RetrainConfig(benchmark_margin=0.01, min_items=100, resamples=2000)


def answers(both, won, lost, neither, plain=0):
    """(challenger's, champion's) answers to items that both, one or none answered right by bytes; `plain` of the
    challenger's are right by the plain sum, none of the champion's."""
    value = np.array([True] * both + [True] * won + [False] * (lost + neither))
    before = np.array([True] * both + [False] * won + [True] * lost + [False] * neither)
    first = np.arange(len(value)) < plain
    return np.stack([first, value], 1), np.stack([np.zeros(len(value), bool), before], 1)


@pytest.mark.parametrize(
    ("counts", "result"),
    [
        ((50, 0, 0, 150), "holds"),  # the same answers: the interval is a point at 0
        ((0, 60, 60, 80), "holds"),  # as many won as lost
        ((50, 0, 2, 148), "holds"),  # a point lost, and 0 to 2.5 by luck
        ((50, 10, 40, 100), "worse"),  # -15 points, standard error 3.4
        ((50, 40, 10, 100), "better"),
        ((10, 0, 0, 89), "not judged"),  # 99 items
        ((0, 0, 99, 0), "not judged"),  # however bad
    ],
)
def test_the_same_items_are_judged_by_what_was_won_and_lost(counts, result):
    check = compare_answers("toy", *answers(*counts), CONFIG)
    both, won, lost, neither = counts
    items = both + won + lost + neither
    assert (check.items, check.value, check.before) == (items, (both + won) / items, (both + lost) / items)
    assert check.result == result
    assert (check.low is None) == (result == "not judged")


def test_the_margin_lies_between_the_interval_and_zero():
    given = answers(100, 0, 20, 280)  # -5 points; the bootstrap's 95% are -7.2 to -3.0 or so
    assert compare_answers("toy", *given, CONFIG).result == "worse"
    assert compare_answers("toy", *given, CONFIG.model_copy(update={"benchmark_margin": 0.04})).result == "holds"


def test_the_interval_is_that_of_a_slow_bootstrap_over_items():
    value, before = (one[:, 1] for one in answers(40, 25, 45, 90))
    low, high = accuracy_difference_interval(value, before, 20_000, 0)
    assert accuracy_difference_interval(value, before, 20_000, 0) == (low, high), "the same seed, the same interval"
    draw = random.Random(2)
    differences = (value.astype(int) - before).tolist()
    slow = [statistics.fmean(draw.choices(differences, k=200)) for _ in range(4000)]
    cuts = statistics.quantiles(slow, n=40)
    assert (low, high) == pytest.approx((cuts[0], cuts[-1]), abs=0.006)
    error = math.sqrt((0.35 - 0.1**2) / 200)
    assert (low, high) == pytest.approx((-0.1 - 1.96 * error, -0.1 + 1.96 * error), abs=0.006)


def test_a_worse_benchmark_keeps_a_challenger_out_and_is_named_with_both_values():
    text = {("books", "frozen"): pairs(-0.1)}
    worse = compare_answers("quiz", *answers(50, 10, 40, 100, plain=20), CONFIG)
    good = compare_answers("other", *answers(50, 0, 0, 150), CONFIG)
    small = compare_answers("tiny", *answers(0, 0, 50, 0), CONFIG)
    assert (worse.accuracy, worse.accuracy_before) == (0.1, 0)
    kept = judge(text, Memorisation(), CONFIG, (worse, good, small))
    assert not kept.promote and len(kept.reasons) == 1
    assert kept.reasons[0].startswith("benchmark quiz: 45.0% -> 30.0% length-normalised accuracy (-2"), kept.reasons
    assert kept.reasons[0].endswith("on 200 items): worse")
    assert kept.benchmarks == (worse, good, small), "all are reported"

    promoted = judge(text, Memorisation(), CONFIG, (good, small))
    assert promoted.promote and [reason.split(":")[0] for reason in promoted.reasons] == [
        "books, frozen text", "benchmark other"]  # fmt: skip
    assert str(small) == "benchmark tiny: 100.0% -> 0.0% length-normalised accuracy on 50 items, too few to judge"
    assert not judge({}, Memorisation(), CONFIG, (good,)).promote, "a benchmark alone promotes nobody"


def test_only_benchmarks_that_both_have_answered_are_compared():
    value, before = answers(50, 0, 0, 150)
    checks = compare_all({"b": value, "a": value, "new": value}, {"a": before, "b": before, "old": before}, CONFIG)
    assert [check.benchmark for check in checks] == ["a", "b"]


def test_other_items_than_the_challengers_are_refused():
    with pytest.raises(TextmillError, match="'toy' had 200 items for the challenger and 199 for the champion"):
        compare_answers("toy", answers(50, 0, 0, 150)[0], answers(50, 0, 0, 149)[1], CONFIG)
