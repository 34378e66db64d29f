"""Checkpoints: crashes between any two writes, damage, other identities, pruning; and the files of a run's diary."""

import json
import os
import sys

import pytest
import torch

import gpt.checkpoint
import gpt.files
from gpt.checkpoint import KEEP, Checkpoint, CheckpointStore
from gpt.errors import GPTError
from gpt.metrics import Events, JsonLines, read_lines

IDENTITY = {"model": {"layers": 2, "width": 32}, "data_digest": "d1", "tokenizer_digest": "t1"}


def checkpoint(step: int) -> Checkpoint:
    tensors = {"weights": {"w": torch.full((3, 2), float(step))}, "optimizer": {"m": torch.arange(4.0) + step}}
    return Checkpoint(step, tensors, {"rate_scale": 0.1 + step}, {"seconds": 1.5 * step})


def assert_is(found: Checkpoint | None, step: int) -> None:
    assert found is not None and found.step == step
    wanted = checkpoint(step)
    assert (found.state, found.observed) == (wanted.state, wanted.observed)
    for group, tensors in wanted.tensors.items():
        assert all(torch.equal(found.tensors[group][name], tensor) for name, tensor in tensors.items())


def fail(note: str) -> None:
    raise AssertionError(note)


class Crash(BaseException):
    """Stands for the process being gone: nothing may handle it."""


def crash_at(monkeypatch, call: int) -> None:
    """Let the `call`-th of all operations on files end the process, half of a written file included."""
    count = 0

    def wrapped(operation):
        def inner(*arguments, **named):
            nonlocal count
            count += 1
            if count == call:
                if operation is gpt.checkpoint.save_file:
                    arguments[1].write_bytes(b"half a file")
                raise Crash
            return operation(*arguments, **named)

        return inner

    for module, name in (
        (gpt.checkpoint, "save_file"),
        (gpt.checkpoint, "write_json"),
        (gpt.files, "sync"),
        (gpt.files.os, "rename"),
        (gpt.files.os, "replace"),
        (gpt.checkpoint.shutil, "rmtree"),
    ):
        monkeypatch.setattr(module, name, wrapped(getattr(module, name)))


def test_a_crash_between_any_two_writes_leaves_a_whole_checkpoint(tmp_path):
    finished = 0
    for call in range(1, 100):
        store = CheckpointStore(tmp_path / str(call), IDENTITY)
        for step in range(10, 10 * (KEEP + 1), 10):
            store.save(checkpoint(step))
        with pytest.MonkeyPatch.context() as monkeypatch:
            crash_at(monkeypatch, call)
            try:
                store.save(checkpoint(100))
                finished += 1
            except Crash:
                pass
        found = CheckpointStore(store.root, IDENTITY).load(fail)  # no checkpoint is found damaged, either
        assert_is(found, found.step)
        assert found.step in (100, 10 * KEEP)
        if finished:
            break
        CheckpointStore(store.root, IDENTITY).save(checkpoint(110))  # and saving goes on
        assert_is(store.load(fail), 110)
        assert not list(store.root.glob(".*partial*"))
    assert finished == 1 and call > 12  # all of the calls were tried


def test_the_last_few_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, IDENTITY)
    assert store.load(fail) is None
    for step in range(8):
        store.save(checkpoint(step))
    assert [int(p.name[5:]) for p in sorted(tmp_path.glob("step-*"))] == list(range(8 - KEEP, 8))
    assert_is(store.load(fail), 7)


def test_the_newest_milestone_is_kept_and_gone_back_to(tmp_path):
    store = CheckpointStore(tmp_path, IDENTITY, milestone_every=4, milestone_age=3)
    left = {}
    for step in range(3, 16):
        store.save(checkpoint(step))
        left[step] = [int(p.name[5:]) for p in sorted(tmp_path.glob("step-*"))]
    assert left[7] == [4, 5, 6, 7] and left[10] == [4, 8, 9, 10] and left[11] == [8, 9, 10, 11]
    assert left[15] == [12, 13, 14, 15]
    store.save(checkpoint(16))
    assert_is(store.back_to_milestone(16, fail), 12)
    assert_is(CheckpointStore(tmp_path, IDENTITY).load(fail), 12)
    (tmp_path / "step-000000012" / "weights.safetensors").write_bytes(b"x")
    notes = []
    assert store.back_to_milestone(16, notes.append) is None and len(notes) == 1
    assert not list(tmp_path.glob("step-*"))


def test_a_pinned_step_is_kept_and_what_a_run_may_want_after_it(tmp_path):
    store = CheckpointStore(tmp_path, IDENTITY, milestone_every=4, milestone_age=3)
    for step in range(1, 21):
        store.pinned = [one for one in (2, 6, 9) if one < step]
        store.save(checkpoint(step))
    # back to 9; from there, if need be, to milestone 4; and from that to 2, its best
    assert [int(p.name[5:]) for p in sorted(tmp_path.glob("step-*"))] == [2, 4, 6, 8, 9, 12, 16, 18, 19, 20]
    assert_is(store.back_to(9, fail), 9)
    assert_is(store.load(fail), 9)
    assert store.back_to(7, lambda note: None) is None
    assert_is(store.back_to_milestone(10, fail), 4)


def test_saving_a_step_again_replaces_a_damaged_one(tmp_path):
    store = CheckpointStore(tmp_path, IDENTITY)
    folder = store.save(checkpoint(5))
    (folder / "weights.safetensors").write_bytes(b"x")
    store.save(checkpoint(5))
    assert_is(store.load(fail), 5)


@pytest.mark.parametrize("name", ["weights.safetensors", "state.json", "observed.json"])
def test_a_damaged_checkpoint_is_named_and_an_older_one_used(tmp_path, name):
    store = CheckpointStore(tmp_path, IDENTITY)
    store.save(checkpoint(1))
    folder = store.save(checkpoint(2))
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-3])
    notes: list[str] = []
    assert_is(store.load(notes.append), 1)
    assert len(notes) == 1 and str(folder) in notes[0]
    (tmp_path / "latest").unlink()  # a lost pointer is found anew
    assert_is(store.load(notes.append), 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokenizer_digest": "t2"}, ["tokenizer_digest", "'t1'", "'t2'"]),
        ({"data_digest": "d2"}, ["data_digest", "'d1'", "'d2'"]),
        ({"model": {"layers": 3, "width": 32}}, ["model.layers", "2", "3"]),
        ({"model": {"layers": 2}}, ["model.width", "32", "absent"]),
    ],
)
def test_another_identity_is_refused_with_both_values(tmp_path, change, words):
    CheckpointStore(tmp_path, IDENTITY).save(checkpoint(1))
    with pytest.raises(GPTError) as refusal:
        CheckpointStore(tmp_path, IDENTITY | change).load(fail)
    message = str(refusal.value)
    assert all(word in message for word in [*words, "new run_dir"]) and "\n" not in message


def test_no_pickle_is_written(tmp_path):
    folder = CheckpointStore(tmp_path, IDENTITY).save(checkpoint(1))
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}


def test_the_diary_is_cut_back_to_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    diary = JsonLines(path, -1)
    for step in (1, 2, 2, 3):
        diary.write({"step": step, "loss": 0.1 * step})
    with path.open("a") as file:
        file.write('{"step": 4, "lo')  # torn by a crash
    assert [line["step"] for line in read_lines(path)] == [1, 2, 2, 3]
    again = JsonLines(path, 2)
    again.write({"step": 3, "loss": 7})
    assert [(line["step"], line["loss"]) for line in read_lines(path)] == [(1, 0.1), (2, 0.2), (2, 0.2), (3, 7)]
    assert read_lines(tmp_path / "absent.jsonl") == []
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_events_are_readable_by_tensorboard(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    lost = Events(tmp_path, -1, fail)
    lost.write(1, {"train/loss": 9.0})
    lost.close()
    events = Events(tmp_path, -1, fail)  # killed before its first checkpoint, and started anew
    for step in (1, 2, 3):
        events.write(step, {"train/loss": step / 4, "validation/loss": None})
    events.close()
    resumed = Events(tmp_path, 2, fail)  # step 3 was lost
    resumed.write(3, {"train/loss": 9.0})
    resumed.close()
    reader = accumulator.EventAccumulator(str(tmp_path))
    reader.Reload()
    assert reader.Tags()["scalars"] == ["train/loss"]
    assert [(e.step, e.value) for e in reader.Scalars("train/loss")] == [(1, 0.25), (2, 0.5), (3, 9.0)]


def test_a_missing_tensorboard_is_only_noted(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    notes: list[str] = []
    events = Events(tmp_path / "events", 0, notes.append)
    events.write(1, {"loss": 1.0})
    events.close()
    assert len(notes) == 1 and "not installed" in notes[0] and not os.listdir(tmp_path)
