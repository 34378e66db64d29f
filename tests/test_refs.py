import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import TextmillError
from data.refs import KEPT_SNAPSHOTS, RefMovedError, Refs
from tests.store_toys import files, start


def test_what_was_never_written_is_nothing(tmp_path):
    refs = Refs(tmp_path / "refs")
    assert refs.read("ledgers/x").value is None
    assert refs.read("ledgers/x").token is None
    assert not (tmp_path / "refs").exists()


def test_a_value_is_read_as_it_was_written(tmp_path):
    refs = Refs(tmp_path)
    value = {"ä": [1, None, 1.5, {"deep": True}], "": []}
    token = refs.swap("ledgers/x", None, value)
    assert Refs(tmp_path).read("ledgers/x").value == value
    assert refs.read("ledgers/x").token == token
    assert refs.swap("ledgers/x", token, value) == token  # the same again moves nothing


def test_only_who_saw_the_newest_value_may_replace_it(tmp_path):
    refs = Refs(tmp_path)
    first = refs.swap("x", None, 1)
    second = refs.swap("x", first, 2)
    for seen in (None, first, "f" * 32):
        with pytest.raises(RefMovedError, match=f"expected {seen}, found {second}.*run it again"):
            refs.swap("x", seen, 3)
    assert refs.read("x").value == 2


def test_of_several_processes_one_succeeds_for_each_token(tmp_path):
    log = tmp_path / "log"
    processes = [start("swap_ten_times", tmp_path / "refs", log) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    replaced = log.read_text().splitlines()
    assert len(replaced) == len(set(replaced)) == 30
    assert Refs(tmp_path / "refs").read("counter").value == 30


def test_updates_of_several_threads_all_count(tmp_path):
    refs = Refs(tmp_path)
    threads = [threading.Thread(target=refs.update, args=("x", lambda old: (old or 0) + 1)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refs.read("x").value == 8


def test_a_first_value_that_comes_while_one_looks_is_no_damage(tmp_path, monkeypatch):
    refs, read_text = Refs(tmp_path), Path.read_text

    def too_early(path, *_, **__):
        monkeypatch.setattr(Path, "read_text", read_text)
        refs.swap("x", None, 1)
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", too_early)
    assert refs.read("x").token is None
    assert refs.read("x").value == 1


def test_old_snapshots_are_forgotten(tmp_path):
    refs = Refs(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ".current-1234abcd").write_text("of a writer that was killed")
    token = None
    for number in range(KEPT_SNAPSHOTS + 15):
        token = refs.swap("x", token, number)
    assert refs.read("x").value == KEPT_SNAPSHOTS + 14
    assert len(files(tmp_path)) <= KEPT_SNAPSHOTS + 1
    assert not list(tmp_path.glob("x/.*"))


@pytest.mark.parametrize("damage", ["cut", "other", "gone", "empty", "binary"])
def test_damage_is_said_with_place_and_remedy(tmp_path, damage):
    refs = Refs(tmp_path)
    token = refs.swap("ledgers/x", None, {"items": [1, 2, 3]})
    snapshot, pointer = tmp_path / "ledgers" / "x" / f"{token}.json", tmp_path / "ledgers" / "x" / "current"
    match damage:
        case "cut":
            snapshot.write_text('{"items":[1,2')
        case "other":
            snapshot.write_text('{"items":[1,2,4]}')
        case "gone":
            snapshot.unlink()
        case "empty":
            pointer.write_text("")
        case "binary":
            snapshot.write_bytes(b"\xff\xfe\x00")
    for use in (lambda: refs.read("ledgers/x"), lambda: refs.swap("ledgers/x", token, 1)):
        with pytest.raises(TextmillError, match=rf"{tmp_path}/ledgers/x is damaged: .*Delete that folder"):
            use()


NAMES = (
    st.text(max_size=80) | st.text(alphabet="./\\\0 -_aB", max_size=8) | st.sampled_from(["..", "/etc", "a b", "a-b"])
)


@settings(deadline=None, max_examples=60)
@given(names=st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_every_name_has_a_place_of_its_own_below_the_root(tmp_path_factory, names):
    outside = tmp_path_factory.mktemp("jail")
    refs = Refs(outside / "deep" / "refs")
    for name in names:
        assert refs.read(name).value is None
        refs.swap(name, None, name)
    for name in names:
        assert refs.read(name).value == name
    assert all(path.startswith("deep/refs/") for path in files(outside))
