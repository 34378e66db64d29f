"""The gate on scores made by hand, and its bootstrap against a slow one of plain Python."""

import itertools
import math
import random
import statistics

import numpy as np
import pytest

from tasks.gate import (
    ALL,
    Memorisation,
    Pairs,
    Verbatim,
    compare,
    difference_interval,
    judge,
    share_difference_interval,
)
from tasks.retrain_config import RetrainConfig

CONFIG = RetrainConfig(margin=0.01, min_passages=30, resamples=500)
UNTESTED = Memorisation()
BYTES = 100


FRESH = itertools.count()  # numbers of documents


def pairs(difference, count=40, before=2.0, sizes=BYTES, documents=None):
    """Passages of `sizes` bytes on which the challenger differs by so many bits per byte, one number or one of each;
    each is a document of its own unless `documents` numbers them."""
    sizes = np.full(count, sizes, float) if np.isscalar(sizes) else np.asarray(sizes, float)
    nats_before = before * sizes * math.log(2)
    numbers = np.array([next(FRESH) for _ in sizes] if documents is None else documents, np.int64)
    return Pairs(nats_before + np.asarray(difference) * sizes * math.log(2), nats_before, sizes, numbers)


@pytest.mark.parametrize(
    ("difference", "result"), [(-0.1, "better"), (0.0, "holds"), (0.009, "holds"), (0.011, "worse"), (0.5, "worse")]
)
def test_the_same_difference_on_every_passage_is_judged_by_the_margin(difference, result):
    check = compare("books", "frozen", pairs(difference), CONFIG)
    assert (check.before, check.value) == pytest.approx((2.0, 2.0 + difference))
    assert (check.low, check.high) == pytest.approx((difference, difference)), (
        "nothing varies, so the interval is a point"
    )
    assert check.result == result


def test_the_upper_end_decides_and_not_the_mean():
    """Half the passages 0.2 better, half 0.2 worse: 0 on the mean, with a standard error of 0.2 / sqrt(40)."""
    check = compare("books", "frozen", pairs([0.2, -0.2] * 20), CONFIG)
    assert check.value == pytest.approx(2.0)
    assert check.high == pytest.approx(1.96 * 0.2 / math.sqrt(40), rel=0.25)
    assert check.result == "worse"


def test_what_makes_a_passage_hard_for_both_cancels_out():
    draw = random.Random(1)
    before = np.array([draw.uniform(0.5, 6) for _ in range(40)])
    check = compare("books", "frozen", pairs(-0.05, before=before), CONFIG)
    assert (check.low, check.high) == pytest.approx((-0.05, -0.05))


def test_long_passages_weigh_by_their_bytes():
    check = compare("books", "new", pairs([0.1] + [0.0] * 39, sizes=[3900] + [100] * 39), CONFIG)
    assert check.value == pytest.approx(2.05)


def test_the_interval_is_that_of_a_slow_bootstrap():
    draw = random.Random(5)
    sizes = [draw.randint(50, 400) for _ in range(60)]
    bits = [draw.gauss(0.02, 0.1) * size for size in sizes]
    one = Pairs(np.array(bits) * math.log(2) + 100, np.full(60, 100.0), np.array(sizes, float), np.arange(60))
    slow = []
    for _ in range(4000):
        places = [draw.randrange(60) for _ in sizes]
        slow.append(sum(bits[place] for place in places) / sum(sizes[place] for place in places))
    cuts = statistics.quantiles(slow, n=40)
    low, high = difference_interval(one, 4000, 0)
    width = cuts[-1] - cuts[0]
    assert (low, high) == pytest.approx((cuts[0], cuts[-1]), abs=0.06 * width)
    assert difference_interval(one, 4000, 0) == (low, high), "the same seed, the same interval"


def test_documents_are_drawn_with_all_their_passages():
    """Against a slow bootstrap over documents of 1 to 9 passages, which differ by document more than within."""
    draw = random.Random(9)
    means = [draw.gauss(0, 0.2) for _ in range(25)]
    rows = [
        (number, (mean + draw.gauss(0, 0.05)) * BYTES, BYTES)
        for number, mean in enumerate(means)
        for _ in range(draw.randint(1, 9))
    ]
    draw.shuffle(rows)
    books = [[row for row in rows if row[0] == number] for number in range(25)]
    slow = []
    for _ in range(4000):
        chosen = [row for _ in books for row in draw.choice(books)]
        slow.append(sum(row[1] for row in chosen) / sum(row[2] for row in chosen))
    cuts = statistics.quantiles(slow, n=40)
    width = cuts[-1] - cuts[0]
    numbers, bits, _ = zip(*rows, strict=True)
    one = pairs(np.array(bits) / 100, len(rows), documents=numbers)
    low, high = difference_interval(one, 4000, 0)
    assert (low, high) == pytest.approx((cuts[0], cuts[-1]), abs=0.06 * width)
    apart = difference_interval(pairs(np.array(bits) / 100, len(rows)), 4000, 0)
    assert apart[1] - apart[0] < 0.75 * width, "as if passages were independent"


def test_of_few_documents_passages_are_drawn_and_it_is_said():
    differences = [0.2, -0.2] * 20
    book = compare("book", "frozen", pairs(differences, documents=[1] * 40), CONFIG)
    apart = compare("book", "frozen", pairs(differences), CONFIG)
    assert (book.low, book.high, book.result) == (apart.low, apart.high, apart.result)
    assert "on 40 passages of 1 document, so few that the interval is over passages): worse" in str(book)
    assert "on 40 passages of 40 documents): worse" in str(apart)
    nine = pairs([-0.5] * 10 + [0.5] * 30, documents=[*range(9), *[8] * 31])
    assert compare("notes", "new", nine, CONFIG).documents == 9
    assert "over passages" in str(compare("notes", "new", nine, CONFIG))


def test_every_source_must_hold_and_the_one_that_fails_is_named():
    verdict = judge({("books", "frozen"): pairs(-0.3), ("chat", "frozen"): pairs(0.1)}, UNTESTED, CONFIG)
    assert not verdict.promote
    [reason] = verdict.reasons
    assert "chat, frozen text: 2.0000 -> 2.1000" in reason and "worse" in reason
    assert verdict.totals["all"] == pytest.approx((1.9, 2.0))
    held = judge({("books", "frozen"): pairs(-0.3), ("chat", "frozen"): pairs(0.005)}, UNTESTED, CONFIG)
    assert held.promote and len(held.reasons) == 2


def test_new_text_is_judged_as_well():
    verdict = judge({("books", "frozen"): pairs(-0.3), ("books", "new"): pairs(0.2)}, UNTESTED, CONFIG)
    assert not verdict.promote and "books, new text" in verdict.reasons[0]


def test_a_source_of_few_passages_is_reported_and_not_judged():
    scores = {("books", "frozen"): pairs(-0.1), ("notes", "frozen"): pairs(3.0, count=29)}
    verdict = judge(scores, UNTESTED, CONFIG)
    assert verdict.promote
    notes = next(check for check in verdict.checks if check.source == "notes")
    assert (notes.result, notes.passages, notes.low) == ("not judged", 29, None)
    assert notes.value == pytest.approx(5.0)
    assert not judge({**scores, ("notes", "frozen"): pairs(3.0, count=30)}, UNTESTED, CONFIG).promote


def test_sources_that_are_all_too_small_are_judged_together():
    verdict = judge({("a", "frozen"): pairs(0.1, 20), ("b", "frozen"): pairs(0.1, 20)}, UNTESTED, CONFIG)
    assert not verdict.promote and verdict.checks[-1].source == ALL and verdict.checks[-1].passages == 40


def test_where_nothing_can_be_judged_the_champion_stays():
    for scores in ({}, {("a", "frozen"): pairs(-1, 10)}, {("a", "frozen"): pairs(0, 0), ("a", "new"): pairs(-1, 29)}):
        verdict = judge(scores, UNTESTED, CONFIG)
        assert not verdict.promote and "nothing could be judged" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("value", "before", "low", "high"),
    [
        (Verbatim(56, 70), Verbatim(48, 80), 0.0524, 0.3339),  # Newcombe 1998, table II, method 10
        (Verbatim(9, 10), Verbatim(3, 10), 0.1705, 0.8090),
        (Verbatim(10, 10), Verbatim(0, 10), 0.6075, 1.0),
        # 13 and 6 of 200 by hand: Wilson's intervals are 0.03838 to 0.10802 and 0.01382 to 0.06389, so the lower end is
        # 0.065 - 0.03 - sqrt((0.065 - 0.03838)^2 + (0.06389 - 0.03)^2)
        (Verbatim(13, 200), Verbatim(6, 200), -0.0081, 0.0810),
    ],
)
def test_the_interval_of_two_shares_is_the_published_one(value, before, low, high):
    assert share_difference_interval(value, before) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(
    ("value", "before", "promote"),
    [
        (Verbatim(13, 200), Verbatim(6, 200), True),  # 3.5% more, which is as well luck
        (Verbatim(19, 200), Verbatim(6, 200), True),
        (Verbatim(20, 200), Verbatim(6, 200), False),
        (Verbatim(130, 2000), Verbatim(60, 2000), False),  # the same 3.5% of more places
        (Verbatim(1, 1), Verbatim(0, 1), True),
        (Verbatim(0, 0), Verbatim(0, 200), True),
        (Verbatim(180, 200), None, True),
        (None, Verbatim(0, 200), True),
    ],
)
def test_memorisation_may_grow_by_its_margin_and_by_luck(value, before, promote):
    verdict = judge({("a", "frozen"): pairs(-0.1)}, Memorisation(value, before), CONFIG)
    assert verdict.promote == promote
    assert promote or ("memorisation: goes on" in verdict.reasons[0] and "at 3.0% of" in verdict.reasons[0])


def test_an_equal_challenger_is_seldom_kept_out_for_memorisation():
    """Both go on verbatim at 3% of all places; of two draws of 200 one exceeds the other by over 2% one time in ten."""
    draws = np.random.default_rng(0).binomial(200, 0.03, (2000, 2)).tolist()
    assert 0.05 < sum(ours - theirs > 4 for ours, theirs in draws) / len(draws) < 0.15, "by sheer luck"
    kept_out = [share_difference_interval(Verbatim(a, 200), Verbatim(b, 200))[0] > 0.02 for a, b in draws]
    assert sum(kept_out) <= 2
