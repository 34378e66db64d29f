"""Numbers sent to a tracking service, by a stand-in for its package; and how progress reads."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import gpt.diary
from gpt.diary import seconds_left
from gpt.errors import GPTError
from gpt.jobfile import read_job
from gpt.jobs import RunJob
from gpt.metrics import read_lines
from gpt.progress import describe_seconds, describe_step
from gpt.stop import Stop
from gpt.tracking import Tracker
from gpt.trainer import Trainer
from tests.gpt_toys import change_job, write_job

STAND_IN = """
import json
from pathlib import Path

def note(*what):
    with Path({log!r}).open("a") as file:
        file.write(json.dumps(what) + "\\n")

def init(project, name, config, resume, id=None):
    if project == {refused!r}:
        raise RuntimeError("api_key not configured.\\nmore")
    note("init", project, name, resume, id, config["training.steps"])

def log(scalars, step):
    if step == {breaks_at}:
        raise ConnectionError("the line is dead")
    note("log", step, scalars)

def finish():
    note("finish")
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Makes a package `wandb` or `trackio`; returns a reader of the calls that it got."""

    def make(name: str, breaks_at: int = -1, refused: str = ""):
        folder, log = tmp_path / "packages", tmp_path / "calls.jsonl"
        folder.mkdir()
        (folder / f"{name}.py").write_text(STAND_IN.format(log=str(log), breaks_at=breaks_at, refused=refused))
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return lambda: [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    yield make
    for name in ("wandb", "trackio"):
        sys.modules.pop(name, None)


def run(folder: Path, track: str) -> tuple[Trainer, list[str]]:
    job = change_job(write_job(folder, steps=6, log_every=2, evaluation_every=3), runtime__track=track)
    said: list[str] = []
    trainer = Trainer(read_job(RunJob, job), Stop(), said.append)
    trainer.run()
    return trainer, said


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_what_is_sent_is_what_the_diary_holds(tmp_path, stand_in, name):
    calls = stand_in(name)
    trainer, _ = run(tmp_path / "a", name)
    began, *logged, ended = calls()
    assert began[:2] == ["init", "textmill"] and began[3] == "allow"
    assert (began[4] is None) == (name == "trackio") and began[5] == 6
    assert ended == ["finish"]
    sent = {(step, key): value for _, step, scalars in logged for key, value in scalars.items()}
    lines = read_lines(tmp_path / "a" / "run" / "metrics.jsonl")
    losses = {(line["step"], "train/loss"): line["loss"] for line in lines if line["kind"] == "train"}
    losses |= {(ln["step"], "validation/loss"): ln["val_loss"] for ln in lines if ln["kind"] == "evaluation"}
    assert {place: value for place, value in sent.items() if place[1].endswith("/loss")} == losses
    assert None not in sent.values()
    again = Tracker(trainer.job, print)  # as a resumed run does
    other = Tracker(replace(trainer.job, run_dir=tmp_path / "b" / "run"), print)
    names = [call[2:5:2] for call in calls() if call[0] == "init"]
    assert names[0] == names[1] != names[2]
    assert again.module is other.module


def test_without_the_package_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)  # as if it were not installed, whatever is
    with pytest.raises(GPTError, match=r"runtime\.track is trackio, .* pip install trackio, or leave"):
        run(tmp_path, "trackio")
    job = change_job(tmp_path / "RUN.json", runtime__track="mlflow")
    with pytest.raises(GPTError, match=r'runtime\.track is "mlflow", but it must be one of "wandb", "trackio"'):
        read_job(RunJob, job)


def test_a_service_that_does_not_start_stops_the_run_before_it_begins(tmp_path, stand_in):
    stand_in("wandb", refused="textmill")
    with pytest.raises(GPTError, match=r"did not start: api_key not configured\. Mend its settings"):
        run(tmp_path / "a", "wandb")
    assert not (tmp_path / "a" / "run" / "metrics.jsonl").exists()


def test_a_service_that_breaks_does_not_stop_the_run(tmp_path, stand_in):
    calls = stand_in("wandb", breaks_at=3)
    _, said = run(tmp_path / "a", "wandb")
    assert sum("wandb failed and gets no more numbers: the line is dead; metrics" in line for line in said) == 1
    assert [call[0] for call in calls()] == ["init", "log", "log"]  # steps 1 and 2
    assert (tmp_path / "a" / "run" / "final").exists()


def test_progress_says_how_long_and_how_well():
    line = describe_step(10, 100, 3.25, 1e-3, 48210.0, 725.0, 0.4237)
    assert line == "step 10/100  loss 3.2500  rate 1.00e-03  48,210 tokens/s  MFU 42.4%  12:05 min left"
    assert (
        describe_step(100, 100, None, 0.0, 1.0, 0.0, None) == "step 100/100  loss not finite  rate 0.00e+00  1 tokens/s"
    )
    assert [describe_seconds(s) for s in (-1, 44.6, 60, 11230)] == ["0 s", "45 s", "1:00 min", "3:07 h"]


def test_the_time_left_counts_what_else_a_run_does(tmp_path):
    job = write_job(tmp_path, steps=10)
    one = Trainer(read_job(RunJob, job), Stop(), lambda line: None)
    one.learner.step = 4
    one.clock.seconds, one.clock.training_seconds = 30.0, 20.0  # a third of the time was no training
    assert seconds_left(one.learner, 64.0, one.clock) == pytest.approx(6 * one.learner.tokens_per_step / 64.0 * 1.5)


def test_mfu_reaches_the_diary_on_cards_of_known_speed(tmp_path, monkeypatch):
    monkeypatch.setattr(gpt.diary, "utilisation", lambda speed, model, card: 0.25)
    job = write_job(tmp_path, steps=2, log_every=1)
    said: list[str] = []
    one = Trainer(read_job(RunJob, job), Stop(), said.append)

    class Card:
        type = "cuda"

    one.diary.open(one.state)
    one.learner.update()
    norm = one.learner.update()
    monkeypatch.setattr(gpt.diary, "describe", lambda device: "NVIDIA H100")
    one.learner.device = Card()
    one.diary.write_updates(one.learner, norm, one.clock)
    assert read_lines(tmp_path / "run" / "metrics.jsonl")[-1]["mfu"] == 0.25
    assert "MFU 25.0%" in said[-1]
