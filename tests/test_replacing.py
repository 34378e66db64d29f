"""An artifact that is built again takes the place of the one before it, whole, wherever the replacing is killed."""

import os
import shutil
import threading
from functools import partial

import pytest

from data.replacing import ASIDE, folders_by_key, lying_aside
from data.store import Store
from tests.store_toys import fill_with_text, in_work, published, start, toy

OLD, NEW = partial(fill_with_text, text="old"), partial(fill_with_text, text="new")


def texts(store, found):
    return {(store.path(ref) / "a.txt").read_text() for ref in found.values()}


def must_not_build(_):
    raise AssertionError("it is there")


@pytest.mark.parametrize("is_damaged", [False, True])
def test_the_old_or_the_new_one_is_there_whole_wherever_replacing_is_killed(tmp_path, is_damaged):
    begun = Store(tmp_path / "begun")
    ref = begun.build(toy(), "name", OLD)
    other = begun.build(toy(1), "other", OLD)
    if is_damaged:
        (begun.path(ref) / "b.txt").unlink()
    start("replace_killed_everywhere", tmp_path, tmp_path / "log").communicate()
    writes = (tmp_path / "log").read_text().splitlines()
    aside, placed = (writes.index(f"os.rename toy/{name}-{ref.key}") for name in (f"{ASIDE}/name", "another-name"))
    assert 0 < aside < placed < len(writes) - 1  # what is deleted is written to, too
    for number, write in enumerate(writes):
        store = Store(tmp_path / str(number))
        there = texts(store, store.find("toy", [ref.key]))
        assert there == ({"new"} if number > placed else set() if is_damaged else {"old"}), write
        store.sweep()
        assert texts(store, store.find("toy", [ref.key])) == ({"new"} if number > aside else there), write
        assert len(published(store)) == 2 and in_work(store) == [], write
        assert bool(list(store.verify())) == (is_damaged and number <= aside), write
        if there or number > aside:
            store.build(toy(), "name", must_not_build)
        assert store.find("toy", [other.key]) == {other.key: other}


def killed_between(path, kept):
    """A store where replacing an artifact of two bytes was killed between its two renames."""
    store = Store(path)
    ref = store.build(toy(), "name", OLD)
    (path / "toy" / ASIDE).mkdir()
    os.rename(store.path(ref), path / "toy" / ASIDE / f"name-{ref.key}")
    if kept:
        shutil.copytree(Store(path.with_name("new")).path(Store(path.with_name("new")).build(toy(), "new", NEW)),
                        path / "work" / f"toy-{ref.key}" / "out")  # fmt: skip
    return store, ref


@pytest.mark.parametrize(("kept", "text"), [(False, "old"), (True, "new")])
def test_what_lies_aside_is_found_and_whoever_comes_next_settles_it(tmp_path, kept, text):
    ways = {
        "build": lambda store, _: store.build(toy(), "x", must_not_build),
        "sweep": lambda store, _: store.sweep(),
        "clear": lambda store, _: store.clear_attempts(["toy"]),
    }
    for name, way in ways.items():
        store, ref = killed_between(tmp_path / name, kept)
        assert store.find("toy", [ref.key]) == {ref.key: ref} and store.resolve(ref.key) == ref
        assert store.clear_attempts(["corpus"]) == [] and lying_aside(store.root / "toy")
        assert (store.path(ref) / "a.txt").read_text() == "old"
        way(store, ref)
        assert texts(store, store.find("toy", [ref.key])) == {text}
        assert len(published(store)) == 1 and list(store.verify()) == []


def test_what_is_removed_does_not_come_back_from_aside(tmp_path):
    store, ref = killed_between(tmp_path / "store", kept=True)
    assert store.remove(ref)
    assert published(store) == []
    store, ref = killed_between(tmp_path / "other", kept=False)
    shutil.copytree(store.path(ref), store.root / "toy" / f"name-{ref.key}")  # killed before it was deleted
    assert store.remove(ref)
    assert published(store) == []


def test_readers_find_one_of_both_while_artifacts_are_replaced_again_and_again(tmp_path):
    store = Store(tmp_path)
    refs = [store.build(toy(number), "x", OLD) for number in range(3)]

    def replace_often(number):
        for turn in range(30):
            make = partial(fill_with_text, text=f"{number} {turn}")
            Store(tmp_path).build(toy(number), "x", make, refresh=True)

    threads = [threading.Thread(target=replace_often, args=(number,)) for number in range(3)]
    failures = []
    for thread in threads:
        thread.start()
    looks = 0
    while any(thread.is_alive() for thread in threads):
        for ref in refs:
            looks += 1
            if ref.key not in folders_by_key(tmp_path / "toy"):
                failures.append(ref)
    assert looks > 100 and not failures
    assert len(published(store)) == 3 and list(store.verify()) == []
