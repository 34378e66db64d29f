"""Shares of training text against hand-worked cases and, under any weights and caps, against what they promise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import TextmillError
from tasks.mixing import capped_weights


def test_weights_stay_as_they_are_when_no_cap_binds():
    weights = {"a": 3.0, "b": 1.0}
    assert capped_weights(weights, {"a": 2.0, "b": None}, {"a": 400, "b": 10}, 1000) == weights
    assert capped_weights(weights, {}, {"a": 1, "b": 1}, 10**9) == weights


def test_a_source_that_is_bound_leaves_the_rest_to_the_others_by_weight():
    # of 1,000 tokens, a may give 2 x 100; b and c share 800 as 1 to 3
    weights = capped_weights(
        {"a": 5, "b": 1, "c": 3}, {"a": 2, "b": None, "c": None}, {"a": 100, "b": 50, "c": 50}, 1000
    )
    assert weights == pytest.approx({"a": 0.2, "b": 0.2, "c": 0.6})


def test_what_one_source_leaves_can_bind_another():
    # a gets 0.1 instead of a third; of the 0.9, b would get 0.45 but may give 0.4
    weights = capped_weights({"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1}, {"a": 100, "b": 400, "c": 9}, 1000)
    assert weights == pytest.approx({"a": 0.1, "b": 0.4, "c": 0.5})


def test_sources_that_together_give_just_enough_are_used_up():
    weights = capped_weights({"a": 1, "b": 9}, {"a": 1, "b": 1}, {"a": 500, "b": 500}, 1000)
    assert weights == pytest.approx({"a": 0.5, "b": 0.5})


def test_a_source_without_training_text_takes_no_part():
    assert capped_weights({"a": 1, "b": 1}, {"b": 2.0}, {"a": 400, "b": 0}, 1000) == {"a": 1, "b": 0}
    with pytest.raises(TextmillError, match="draws 5,000"):  # all 5,000 would come from a, which may give 3,000
        capped_weights({"a": 1, "b": 1}, {"a": 3.0}, {"a": 1000, "b": 0}, 5000)


def test_too_little_text_for_all_caps_is_refused_with_both_numbers():
    with pytest.raises(TextmillError, match=r"draws 1,000 training tokens, but .* 700 only .*a 100 x 2, b 500 x 1"):
        capped_weights({"a": 1, "b": 1}, {"a": 2.0, "b": 1.0}, {"a": 100, "b": 500}, 1000)


SOURCES = st.lists(
    st.tuples(st.floats(0.01, 100), st.none() | st.floats(0.1, 50), st.integers(1, 10**6)), min_size=1, max_size=6
)


@given(SOURCES, st.integers(1, 10**7))
def test_no_cap_is_broken_and_the_unbound_keep_their_ratios(sources, drawn):
    weights = {str(at): weight for at, (weight, _, _) in enumerate(sources)}
    caps = {str(at): cap for at, (_, cap, _) in enumerate(sources)}
    tokens = {str(at): count for at, (_, _, count) in enumerate(sources)}
    try:
        found = capped_weights(weights, caps, tokens, drawn)
    except TextmillError:
        assert all(cap is not None for cap in caps.values())
        assert sum(caps[name] * tokens[name] for name in caps) < drawn
        return
    share = {name: weight / sum(found.values()) for name, weight in found.items()}
    bound = {name for name, cap in caps.items() if cap and share[name] * drawn >= cap * tokens[name] * (1 - 1e-6)}
    for name, cap in caps.items():
        assert share[name] > 0
        assert cap is None or share[name] * drawn <= cap * tokens[name] * (1 + 1e-6)
    ratios = {share[name] / weights[name] for name in weights.keys() - bound}
    assert not ratios or max(ratios) == pytest.approx(min(ratios))
    asked = sum(weights.values())
    for name in bound:  # only who asked for more than the cap is held by it, or who got what others left
        assert weights[name] / asked <= share[name] * (1 + 1e-6) or share[name] == pytest.approx(
            caps[name] * tokens[name] / drawn
        )
