"""What is said of a unit that was not `Cached`: which field differs from the nearest artifact that is there."""

from dataclasses import replace

import pytest

from data.facts import Facts
from data.manifest import Identity
from data.store import Store
from tasks.misses import EXPLAINED, explain_misses

CONFIG = {"rules": {"min": 1, "max": 9}, "list": [1, 2]}
FIRST = Identity("toy", 1, CONFIG, {"raw": "a" * 64}, {"lib": "1.0"})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def put(store, identity, name="unit"):
    def make(build):
        (build.out / "x").write_text(identity.key)
        return Facts()

    return store.build(identity, name, make)


def test_the_field_that_differs_is_named_with_both_values(store):
    ref = put(store, FIRST)
    changed = replace(FIRST, config=CONFIG | {"rules": {"min": 2, "max": 9}})
    assert explain_misses(store, [("unit", "unit 1/1", changed)]) == [
        f"built unit 1/1: unlike {ref}, config.rules.min was 1, is 2"
    ]


def test_of_several_the_nearest_is_compared_with(store):
    put(store, replace(FIRST, version=7, libraries={"lib": "3"}, config={}))
    near = put(store, replace(FIRST, libraries={"lib": "2.0"}))
    wanted = replace(FIRST, inputs={"raw": "b" * 64}, libraries={"lib": "2.0"})
    (line,) = explain_misses(store, [("unit", "u", wanted)])
    assert line == f"built u: unlike {near}, inputs.raw was aaaaaaaaaaaa..., is bbbbbbbbbbbb..."


def test_units_with_one_reason_share_a_line_and_new_ones_have_none(store):
    ref = put(store, FIRST)
    changed = replace(FIRST, version=2)
    assert explain_misses(store, [("another", "a", changed)]) == []
    many = [("unit", f"u {n}", changed) for n in range(EXPLAINED + 3)]
    (line,) = explain_misses(store, [*many])
    labels = ", ".join(f"u {n}" for n in range(EXPLAINED))
    assert line == f"built {labels}, and 3 more that were not compared: unlike {ref}, version was 1, is 2"


def test_what_was_to_be_built_again_says_so(store):
    ref = put(store, FIRST)
    assert explain_misses(store, [("unit", "u", FIRST)]) == [f"built u: {ref} was to be built again"]
