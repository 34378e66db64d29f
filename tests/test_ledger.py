"""The ledger against counting by hand, and, under any sequence of looks, against what it promises."""

import copy
import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.ledger import as_it_stands, assign, within
from data.ledger_json import DamagedLedgerError
from data.sources.base import Item, Look, SourceError


def look(items, complete=True):
    """A look from {native id: (fingerprint, size)}."""
    return Look(tuple(Item(name, mark, size) for name, (mark, size) in sorted(items.items())), (), complete)


def names(slots):
    return {slot.number: [item.native_id for item in slot.items] for slot in slots}


def test_items_fill_slots_by_name_and_a_large_one_is_alone():
    sizes = {"a": 40, "b": 60, "c": 1, "d": 250, "e": 99, "f": 2, "g": 0}
    _, slots, changes = assign(None, look({name: ("x", size) for name, size in sizes.items()}), 100, "2024")
    assert names(slots) == {0: ["a", "b"], 1: ["c"], 2: ["d"], 3: ["e"], 4: ["f", "g"]}
    assert changes.new == ("a", "b", "c", "d", "e", "f", "g")
    assert {item.look for slot in slots for item in slot.items} == {1}


def test_a_full_item_is_not_put_beside_empty_ones():
    _, slots, _ = assign(None, look({"a": ("x", 0), "b": ("x", 100), "c": ("x", 0)}), 100, "2024")
    assert names(slots) == {0: ["a"], 1: ["b"], 2: ["c"]}


def test_appending_touches_the_last_slot_and_new_ones_only():
    first = dict.fromkeys("bcde", ("x", 40))
    ledger, before, _ = assign(None, look(first), 100, "2024")
    ledger, after, changes = assign(ledger, look(first | {"a": ("x", 10), "f": ("x", 80)}), 100, "2025")
    assert names(after) == {0: ["b", "c"], 1: ["d", "e", "a"], 2: ["f"]}
    assert after[0] == before[0]
    assert after[1].items[:2] == before[1].items
    assert [slot.opened for slot in after] == ["2024", "2024", "2025"]
    assert [item.look for item in after[1].items] == [1, 1, 2]
    assert str(changes) == "2 new, 4 unchanged"


def test_an_edit_stays_in_its_place_and_is_reported():
    first = dict.fromkeys("abcd", ("x", 40))
    ledger, _, _ = assign(None, look(first), 100, "2024")
    ledger, slots, changes = assign(ledger, look(first | {"a": ("y", 500)}), 100, "2025")
    assert names(slots) == {0: ["a", "b"], 1: ["c", "d"]}
    assert slots[0].items[0] == type(slots[0].items[0])("a", "y", 500, look=1)
    assert (changes.changed, changes.unchanged) == (("a",), 3)
    assert ledger["looks"] == 1  # it found nothing new


def test_a_slot_never_takes_more_once_it_is_closed():
    first = dict.fromkeys("abc", ("x", 50))
    ledger, _, _ = assign(None, look(first), 100, "2024")
    ledger, _, _ = assign(ledger, look({"c": ("x", 50)}), 100, "2025")  # slot 0 is empty now, and slot 1 half full
    ledger, slots, _ = assign(ledger, look({"c": ("x", 50), "d": ("x", 10)}), 100, "2026")
    assert names(slots) == {1: ["c", "d"]}
    full = {"c": ("x", 50), "d": ("x", 10), "e": ("x", 40)}
    ledger, slots, _ = assign(ledger, look(full), 100, "2027")
    assert names(slots) == {1: ["c", "d", "e"]}
    ledger, slots, _ = assign(ledger, look({"c": ("x", 50), "f": ("x", 1)}), 100, "2028")
    assert names(slots) == {1: ["c"], 2: ["f"]}


def test_what_comes_back_is_new():
    ledger, _, _ = assign(None, look({"a": ("x", 1), "b": ("x", 1)}), 2, "2024")
    ledger, _, gone = assign(ledger, look({"b": ("x", 1)}), 2, "2025")
    ledger, slots, back = assign(ledger, look({"a": ("x", 1), "b": ("x", 1)}), 2, "2026")
    assert (gone.deleted, back.new) == (("a",), ("a",))
    assert names(slots) == {0: ["b"], 1: ["a"]}
    assert slots[1].items[0].look == 2


def test_a_rename_is_a_deletion_and_an_addition():
    ledger, _, _ = assign(None, look({"a": ("x", 1), "b": ("y", 1)}), 9, "2024")
    _, slots, changes = assign(ledger, look({"c": ("x", 1), "b": ("y", 1)}), 9, "2025")
    assert (changes.deleted, changes.new, changes.unchanged) == (("a",), ("c",), 1)
    assert names(slots) == {0: ["b", "c"]}


@pytest.mark.parametrize(("complete", "mirror"), [(False, True), (True, False)])
def test_what_is_not_listed_any_more_is_kept_without_mirroring(complete, mirror):
    ledger, before, _ = assign(None, look({"a": ("x", 1), "b": ("y", 1)}), 9, "2024")
    after, slots, changes = assign(ledger, look({"b": ("y", 1)}, complete), 9, "2025", mirror)
    assert (slots, after, changes.absent, changes.deleted) == (before, ledger, ("a",), ())


def test_a_look_with_nothing_new_leaves_the_ledger_as_it_is():
    found = Look((Item("a", "x", 1, "http://a/", "2020-01-01", {"k": [1]}), Item("b", "x", 2)))
    ledger, slots, _ = assign(None, found, 2, "2024")
    kept = copy.deepcopy(ledger)
    again, same, changes = assign(json.loads(json.dumps(ledger)), found, 2, "2025")
    assert (again, same) == (ledger, slots) == (kept, slots)
    assert str(changes) == "nothing new, 2 unchanged"


def test_changed_provenance_is_a_change():
    ledger, _, _ = assign(None, Look((Item("a", "x", 1, meta={"python_version": "3.11.7"}),)), 2, "2024")
    _, slots, changes = assign(ledger, Look((Item("a", "x", 1, meta={"python_version": "3.11.8"}),)), 2, "2025")
    assert changes.changed == ("a",)
    assert slots[0].items[0].meta == {"python_version": "3.11.8"}


def test_an_id_listed_twice_is_refused():
    with pytest.raises(SourceError, match="'a' twice"):
        assign(None, Look((Item("a", "x", 1), Item("a", "y", 1))), 9, "2024")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda good: "text", "TypeError"),
        (lambda good: [], "TypeError"),
        (lambda good: {}, "KeyError"),
        (lambda good: good | {"format": 2}, "format 2, this version reads 1"),
        (lambda good: good | {"slots": [{}]}, "KeyError"),
        (lambda good: good | {"slots": [{"opened": 1, "items": []}]}, "should be a text"),
        (lambda good: good | {"looks": 0}, "after the last, 0"),
        (lambda good: good | {"slots": good["slots"] * 2}, "two places"),
        (
            lambda good: good | {"slots": [{"opened": "", "items": [good["slots"][0]["items"][0] | {"bytes": -1}]}]},
            "-1",
        ),
        (
            lambda good: good | {"slots": [{"opened": "", "items": [good["slots"][0]["items"][0] | {"meta": 1}]}]},
            "meta|int",
        ),
    ],
)
def test_a_damaged_ledger_is_noticed(damage, said):
    good, _, _ = assign(None, look({"a": ("x", 1)}), 9, "2024")
    with pytest.raises(DamagedLedgerError, match=rf"/store/ledgers/1 .*({said})"):
        assign(damage(good), look({"a": ("x", 1)}), 9, "2025", where="/store/ledgers/1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["format", "looks", "open", "slots", "opened", "items", "native_id"]), inner)
    ),
    max_leaves=12,
)


@given(JSON.filter(lambda value: value is not None))
def test_any_json_is_a_ledger_or_is_refused_by_name(value):
    if isinstance(value, dict):
        value = value | {"format": 1}
    with suppress(DamagedLedgerError):
        assign(value, look({"a": ("x", 1)}), 9, "2024")


FOLDERS = st.dictionaries(
    st.sampled_from("abcdefghij"), st.tuples(st.sampled_from("xyz"), st.integers(0, 150)), max_size=10
)
HISTORIES = st.lists(st.tuples(FOLDERS, st.booleans(), st.booleans()), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(HISTORIES, st.randoms(use_true_random=False))
def test_promises_hold_under_any_sequence_of_looks(history, random):
    ledger = None
    places = {}  # native id -> (slot number, position rank, look) of everything held, as it was when it came
    highest = 0
    held = {}  # what a plain mirror of the folder holds
    for now, (folder, complete, mirror) in enumerate(history):
        items = list(look(folder).items)
        random.shuffle(items)
        before = json.dumps(ledger)
        updated, slots, changes = assign(ledger, Look(tuple(items), (), complete), 100, f"{now:04d}", mirror)
        assert json.dumps(ledger) == before, "the old ledger was altered"
        assert updated == assign(ledger, look(folder, complete), 100, f"{now:04d}", mirror)[0], "listing order matters"
        ledger = json.loads(json.dumps(updated))

        dropped = held.keys() - folder.keys() if complete and mirror else set()
        new = folder.keys() - held.keys()
        assert set(changes.new) == new
        assert set(changes.deleted) == dropped
        assert set(changes.changed) == {name for name in held.keys() & folder.keys() if held[name] != folder[name]}
        assert changes.unchanged + len(changes.changed) == len(held.keys() & folder.keys())
        held = {name: what for name, what in held.items() if name not in dropped} | folder

        here = [(slot, item) for slot in slots for item in slot.items]
        assert sorted(item.native_id for _, item in here) == sorted(held), "every item is in exactly one slot"
        assert {item.native_id: (item.fingerprint, item.size) for _, item in here} == held
        for slot, item in here:
            name = item.native_id
            if name in new:
                assert slot.number >= highest, "a closed slot was opened again"
                places[name] = (slot.number, slot.opened, item.look)
            assert places[name] == (slot.number, slot.opened, item.look), "an assignment moved"
            assert item.look <= ledger["looks"]
        for slot in slots:
            arrival = [(item.look, item.native_id) for item in slot.items]
            assert arrival == sorted(arrival), "slot order is first-seen order"
            if all(item.native_id in new for item in slot.items):
                assert len(slot.items) == 1 or sum(item.size for item in slot.items) <= 100
        assert [slot.number for slot in slots] == sorted({slot.number for slot in slots})
        assert [slot.opened for slot in slots] == sorted(slot.opened for slot in slots)
        highest = max([highest, *(slot.number for slot in slots)])


def test_a_ledger_tells_its_slots_without_a_look():
    ledger, slots, _ = assign(None, look(dict.fromkeys("abcde", ("x", 40))), 100, "2024")
    assert as_it_stands(json.loads(json.dumps(ledger))) == slots
    with pytest.raises(DamagedLedgerError, match="mine is damaged"):
        as_it_stands({"format": 1}, "mine")


@pytest.mark.parametrize(
    ("max_bytes", "expected"),
    [
        (None, {0: ["a", "b"], 1: ["c", "d"], 2: ["e"]}),
        (200, {0: ["a", "b"], 1: ["c", "d"], 2: ["e"]}),
        (199, {0: ["a", "b"], 1: ["c", "d"]}),
        (159, {0: ["a", "b"], 1: ["c"]}),
        (119, {0: ["a", "b"]}),
        (80, {0: ["a", "b"]}),
        (79, {0: ["a"]}),
        (1, {0: ["a"]}),  # at least one
    ],
)
def test_a_cap_takes_the_first_items(max_bytes, expected):
    _, slots, _ = assign(None, look(dict.fromkeys("abcde", ("x", 40))), 100, "2024")
    assert names(within(slots, max_bytes)) == expected
