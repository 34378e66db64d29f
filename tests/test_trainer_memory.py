"""A trainer that the kernel kills for want of memory goes on with half as many sequences per pass; one that somebody
else kills does not."""

import json
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import tasks.process
import tasks.trainer
from data.errors import TextmillError
from tasks.launch import Launch
from tasks.process import OutOfMemoryKillError, memory_kills
from tasks.progress import watch_with
from tasks.trainer import run_trainer
from tests.gpt_toys import change_job, write_job
from tests.memory_limits import LimitedLaunch, memory_limit
from tests.test_process import Listener


class Toy(Launch):
    """Starts a shell script in the place of a trainer."""

    def __init__(self, script):
        super().__init__()
        object.__setattr__(self, "script", script)

    def argv(self, module, node=0):
        return [sys.executable, "-c", self.script]


# Reads how many sequences per pass it may take; above 3 it does what the kernel does: counts a kill and kills.
HUNGRY = """
import json, os, sys
job = json.load(open(sys.argv[1]))
taken = min(job["training"]["micro_batch"], job["runtime"]["micro_batch"] or 10**9)
print("taken", taken, flush=True)
if taken > {room}:
    count = open({counts!r}, "r+")
    number = int(count.read().split()[-1])
    count.seek(0)
    count.write(f"pgfault 5\\noom_kill {{number + 1}}\\n")
    count.flush()
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def hungry(tmp_path, monkeypatch):
    """Runs a stand-in for a trainer with `room` for so many sequences; returns notes, what was heard, what it took."""
    counts = tmp_path / "vmstat"
    counts.write_text("pgfault 5\noom_kill 7\n")
    monkeypatch.setattr(tasks.process, "KERNEL_COUNTS", counts)

    def run(room, batch_size=20, micro_batch=20):
        listener = Listener()
        job = {"training": {"batch_size": batch_size, "micro_batch": micro_batch}, "runtime": {"device": "cpu"}}
        (tmp_path / "run").mkdir(exist_ok=True)
        script = HUNGRY.format(room=room, counts=str(counts))
        try:
            with watch_with(listener):
                notes = run_trainer(job, tmp_path / "run", lambda record: None, Toy(script))
        finally:
            run.heard = [note for note in listener.notes if "taken" not in note]
            said = (tmp_path / "run" / "train.log").read_text().splitlines()
            run.taken = [int(line.split()[1]) for line in said]
        return notes

    return run


def test_it_is_tried_with_half_as_many_sequences_until_they_fit(hungry):
    notes = hungry(room=3)
    assert hungry.taken == [20, 10, 5, 3]
    assert notes == ["Memory ran out (3 kills by the kernel): 3 of 20 sequences per pass."]
    assert "10 sequences per pass in place of 20; the batch stays at 20" in hungry.heard[0] and len(hungry.heard) == 3


def test_with_room_enough_nothing_is_noted(hungry):
    assert hungry(room=20) == [] and hungry.heard == []


def test_when_one_sequence_is_too_much_it_says_what_to_do(hungry):
    with pytest.raises(OutOfMemoryKillError, match=r"killed by the kernel.* 1 sequence per pass: lower model\.context"):
        hungry(room=0, batch_size=4, micro_batch=2)
    assert hungry.taken == [2, 1]


def test_it_is_not_tried_for_ever(hungry, monkeypatch):
    monkeypatch.setattr(tasks.trainer, "HALVINGS", 2)
    with pytest.raises(OutOfMemoryKillError, match=r"5 sequences per pass: lower training\.micro_batch"):
        hungry(room=1)
    assert hungry.taken == [20, 10, 5]


KILLS_ITSELF = "import os; os.kill(os.getpid(), 9)"


def kill_by_somebody_else(folder):
    """What is said of a trainer that nobody has counted as killed for want of memory."""
    (folder / "run").mkdir()
    job = {"training": {"batch_size": 4, "micro_batch": 4}, "runtime": {}}
    with pytest.raises(TextmillError) as caught, watch_with(Listener()):
        run_trainer(job, folder / "run", lambda record: None, Toy(KILLS_ITSELF))
    assert not isinstance(caught.value, OutOfMemoryKillError)
    return str(caught.value)


def test_who_is_killed_by_somebody_else_is_not_started_again(hungry, tmp_path):
    assert "was killed, not by the kernel: run the same command to go on" in kill_by_somebody_else(tmp_path)


def test_where_the_kernel_counts_nothing_a_kill_is_put_down_to_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks.process, "KERNEL_COUNTS", tmp_path / "absent")
    assert memory_kills() is None
    said = kill_by_somebody_else(tmp_path)
    assert "as the kernel does when memory runs out: lower training.micro_batch" in said


@pytest.mark.long
@pytest.mark.parametrize(("processes", "megabytes"), [(1, 260), (2, 700)])
def test_the_kernel_itself_kills_a_trainer_and_it_ends_well(tmp_path, processes, megabytes):
    job = write_job(tmp_path, {"context": 256, "width": 64, "heads": 2}, steps=3, batch_size=64)
    change_job(job, sampling__prompts=[], runtime__checkpoint_seconds=0.0)
    (tmp_path / "run").mkdir()
    before, listener = memory_kills(), Listener()
    assert before is not None
    with memory_limit(megabytes) as group, watch_with(listener):
        launch = LimitedLaunch(processes, threads=1, group=str(group))
        notes = run_trainer(json.loads(job.read_text()), tmp_path / "run", lambda record: None, launch)
    after = memory_kills()
    kills = sum("has killed the trainer" in note for note in listener.notes)
    assert kills and after >= before + kills and f"{kills} kills" in notes[0]
    with_room = tmp_path / "room"  # the same plan where memory suffices: the same weights, but for the last bits
    with_room.mkdir()
    run_trainer(json.loads(job.read_text()), with_room, lambda record: None, Launch())
    ours, theirs = (load_file(folder / "final" / "model.safetensors") for folder in (tmp_path / "run", with_room))
    assert ours.keys() == theirs.keys()
    assert all(np.allclose(ours[name], theirs[name], atol=1e-3) for name in ours)
    states = [json.loads((f / "final" / "state" / "state.json").read_text()) for f in (tmp_path / "run", with_room)]
    assert states[0]["identity"] == states[1]["identity"]
