"""Cleaning up goes by what it can read: what it cannot stops it, and what a setting may mean stays."""

import sys

import pytest

from data.errors import TextmillError
from data.files import StorageError
from data.housekeeping.machine import MARK
from data.housekeeping.usage import Usage, ended_runs, runs_in_progress
from data.store import Store
from flows import cli_gc, cli_models
from flows.cli import app, run_app
from tasks.champions import write_champions
from tests.test_bucket_store import machine  # noqa: F401 - a fixture
from tests.test_gc import chain, collect, ended_run, keys, publish


@pytest.mark.parametrize("damage", ['{"format": 99}', "half a mani", None])
def test_what_cannot_be_read_keeps_everything(tmp_path, monkeypatch, capsys, damage):
    store = Store(tmp_path)
    refs = chain(store, 1)
    ended_run(store, refs)
    for number in range(2):
        ended_run(store, [publish(store, "plan", number)])
    path = store.path(refs[2]) / "manifest.json"
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    monkeypatch.setenv("TEXTMILL_STORE", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["textmill", "gc", "--yes", "--keep-runs=2"])
    assert run_app(app) == 1
    out, err = capsys.readouterr()
    assert str(path) in err and "nothing of it may go" in err and "elete that folder" in err and err.count("\n") == 1
    assert len(keys(store)) == 7 and not out


def test_what_cannot_be_read_in_a_bucket_keeps_everything(machine):  # noqa: F811
    store = machine("one")
    ref = publish(store, "raw", 1)
    place = f"manifests/raw/{ref.key}.json"
    for body in (b"{", b'{"attempt": "a", "manifest": {"format": 99}}'):
        store.bucket.put(place, body)
        with pytest.raises(TextmillError, match=f"nothing of it may go: {store.where}/{place}"):
            collect(machine("two"))
    assert list(machine("two").manifests()) == []


def settings(monkeypatch, **values):
    monkeypatch.setattr(cli_gc, "recipe_values", lambda: {"wiki": ("", values)})


def test_what_a_setting_may_mean_stays_and_no_trouble_counts_as_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path)
    refs = [publish(store, "tokenizer", number) for number in range(17)]  # two of them begin with the same digit
    starts = [ref.key[0] for ref in refs]
    twice = next(one for one in starts if starts.count(one) > 1)
    settings(monkeypatch, tokenizer={"artifact": f"tokenizer/{twice}"}, init_from="some/folder")
    (places,) = cli_gc._named_by_recipes(store).values()
    assert sorted(places) == sorted(("tokenizer", ref.key) for ref in refs if ref.key[0] == twice)
    monkeypatch.setattr(Store, "stages", refuse)
    with pytest.raises(StorageError):
        cli_gc._named_by_recipes(store)


def refuse(store):
    raise StorageError("the disk reports an input/output error")


def test_machines_of_one_name_and_path_are_told_apart(tmp_path, monkeypatch):
    store = Store(tmp_path)
    ref = publish(store, "raw", 0)
    used = Usage(store)
    used.use("toy", "raw", [ref.key])
    mark, lock = tmp_path / MARK, next((tmp_path / "work").glob("run-*.lock"))
    here, hidden = mark.read_text(), lock.rename(tmp_path / "hidden")
    assert runs_in_progress(store) == [], "its lock is not held here"
    mark.write_text("another")
    assert [run.recipe for run in runs_in_progress(store)] == ["toy"], "its lock may be held elsewhere"
    mark.unlink()
    assert len(runs_in_progress(store)) == 1 and not mark.exists()
    mark.write_text(here)
    hidden.rename(lock)
    used.end("toy", "done", trained=False)
    assert ended_runs(store)[-1].place.endswith(here)


def test_a_model_that_is_promoted_is_in_use_until_it_is_champion(tmp_path, monkeypatch):
    store = Store(tmp_path)
    first, second = (publish(store, "model", number) for number in range(2))
    seen = []

    def write(refs, champions):
        seen.append([tuple(run.keys["model"]) for run in runs_in_progress(store)])
        write_champions(refs, champions)

    monkeypatch.setenv("TEXTMILL_STORE", str(tmp_path))
    monkeypatch.setattr(cli_models, "write_champions", write)
    for arguments in (["promote", str(first)], ["promote", str(second)], ["rollback", "toy"]):
        monkeypatch.setattr(sys, "argv", ["textmill", *arguments])
        assert run_app(app) == 0
    assert seen == [[(first.key,)], [(second.key,)], [(first.key,)]]
    assert runs_in_progress(store) == ended_runs(store) == []
