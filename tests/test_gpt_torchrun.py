"""Runs of several processes as they are really started: by torchrun, stopped, killed, and gone on with."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from data.errors import TextmillError
from gpt.metrics import read_lines
from gpt.train import STOPPED_FILE
from tasks.launch import Launch
from tasks.process import run_gpt
from tasks.progress import watch_with
from tests.gpt_toys import change_job, write_job
from tests.test_process import Listener

TRAINING = {"steps": 400, "learning_rate": 5e-3, "evaluation_every": 100, "log_every": 5, "batch_size": 6}
PATIENCE = 120.0  # seconds, on a busy machine
TWO = Launch(processes=2, threads=1)


def make_job(folder: Path, **training) -> Path:
    job = write_job(folder, {"dropout": 0.0}, **(TRAINING | training))
    return change_job(job, runtime__checkpoint_seconds=2.0)


def until(true) -> None:
    """Wait until `true()` is."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def run(folder: Path, launch: Launch = TWO, act=None) -> tuple[Listener, str]:
    """Train as the task does; `act` gets torchrun's process in a thread. Returns notes and the failure, "" for none."""
    listener, run_dir = Listener(), folder / "run"
    run_dir.mkdir(exist_ok=True)
    if act is not None:
        threading.Thread(target=lambda: act(torchrun(folder)), daemon=True).start()
    with watch_with(listener):
        try:
            run_gpt(
                "gpt.train", folder / "RUN.json", run_dir / "train.log", run_dir / "metrics.jsonl", lambda record: None,
                launch, run_dir / STOPPED_FILE,
            )  # fmt: skip
        except TextmillError as error:
            return listener, str(error)
    return listener, ""


def trainers(folder: Path) -> list[psutil.Process]:
    """All processes that have this job, torchrun among them."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if str(folder / "RUN.json") in command and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def torchrun(folder: Path) -> psutil.Process:
    """It, once its processes train."""
    until(lambda: any(line["step"] >= 10 for line in read_lines(folder / "run" / "metrics.jsonl")))
    return next(p for p in trainers(folder) if "torch.distributed.run" in p.cmdline())


def last_step(folder: Path) -> int:
    return max(line["step"] for line in read_lines(folder / "run" / "metrics.jsonl"))


@pytest.mark.long
def test_a_stopped_run_has_saved_says_so_and_goes_on_alone(tmp_path):
    make_job(tmp_path)
    listener, failure = run(tmp_path, act=lambda process: process.send_signal(signal.SIGTERM))
    assert "stopped from outside and has saved" in failure and "after step" in failure
    until(lambda: not trainers(tmp_path))
    reached = last_step(tmp_path)
    assert any(note.startswith("modern: ") and "2 processes" in note for note in listener.notes)
    assert not any("torch" in note for note in listener.notes)
    listener, failure = run(tmp_path, Launch())
    assert failure == "" and (tmp_path / "run" / "final").exists()
    going_on = next(note for note in listener.notes if note.startswith("Going on from step"))
    assert int(going_on.split()[4]) >= reached, "what had been done is not done again"
    assert run(tmp_path)[1] == "", "a finished run is none for several processes either"


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1, "torchrun"])
def test_one_killed_process_ends_all(tmp_path, victim):
    make_job(tmp_path, steps=100_000)

    def kill(process: psutil.Process) -> None:
        ranks = {child.environ()["RANK"]: child for child in process.children()}
        (process if victim == "torchrun" else ranks[str(victim)]).kill()

    _, failure = run(tmp_path, act=kill)
    until(lambda: not trainers(tmp_path))
    if victim == "torchrun":
        assert "was killed" in failure
        assert (tmp_path / "run" / STOPPED_FILE).exists(), "the others save what they have"
    else:
        assert "lost another one" in failure


@pytest.mark.long
def test_the_end_of_the_starter_is_seen_through_torchrun(tmp_path):
    job = make_job(tmp_path, steps=100_000)
    reading, writing = os.pipe()
    command = [*TWO.argv("gpt.train"), str(job), "--watch-fd", str(reading)]
    starter = subprocess.Popen(command, pass_fds=[reading], start_new_session=True, stdout=subprocess.DEVNULL)
    os.close(reading)
    torchrun(tmp_path)
    os.close(writing)
    assert starter.wait(PATIENCE) == 1  # torchrun's
    assert "starting process is gone" in (tmp_path / "run" / STOPPED_FILE).read_text()
    assert not trainers(tmp_path)


@pytest.mark.long
def test_an_unusable_job_is_one_line_for_all(tmp_path):
    change_job(make_job(tmp_path), token_bytes=str(tmp_path / "absent.npy"))
    _, failure = run(tmp_path)
    assert failure.startswith("gpt.train: ") and "absent.npy" in failure
    assert (tmp_path / "run" / "train.log").read_text().count("gpt.train: ") == 1
    assert sys.executable == TWO.argv("gpt.train")[0]
