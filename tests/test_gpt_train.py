"""Whole training runs: killed, stopped, resumed, refused, poisoned; the files they leave are compared bytewise."""

import importlib.util
import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt.errors import GPTError
from gpt.jobfile import read_job
from gpt.jobs import RunJob
from gpt.metrics import read_lines
from gpt.scoring import all_passages, means, score
from gpt.stop import Stop
from gpt.train import lock, main
from gpt.trainer import StopRequested, Trainer
from gpt.weights import load_model
from tests.gpt_toys import change_job, documents, shard, write_job

TRAINING = {"steps": 90, "learning_rate": 1e-2, "evaluation_every": 15, "log_every": 7, "batch_size": 4}
MODEL = {"dropout": 0.1}


def start(job: Path, *arguments: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "gpt.train", str(job), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, error = process.communicate(timeout=240)
    return process.returncode, out, error


def wait_for_line(process: subprocess.Popen, beginning: str) -> bool:
    """Read what the run says up to a line that begins so; false when it ends without."""
    assert process.stdout is not None
    return any(line.startswith(beginning) for line in process.stdout)


def result(folder: Path) -> dict[str, bytes]:
    """Every file of the published model."""
    final = folder / "run" / "final"
    return {str(path.relative_to(final)): path.read_bytes() for path in sorted(final.rglob("*")) if path.is_file()}


def in_process(folder: Path, **changes) -> tuple[Trainer, list[str]]:
    said: list[str] = []
    job = write_job(folder, MODEL, **(TRAINING | changes))
    return Trainer(read_job(RunJob, job), Stop(), said.append), said


WALLED = """
import runpy, sys
blocked = {"prefect", "pydantic", "data", "tasks", "flows"}
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError(name)
sys.meta_path.insert(0, Wall())
try:
    runpy.run_module("gpt.train", run_name="__main__")
finally:
    import gpt.evaluate, gpt.plan, gpt.sample
    assert not blocked & set(sys.modules)
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """The folder of a run that nobody has disturbed, without Prefect, pydantic and our other floors."""
    folder = tmp_path_factory.mktemp("reference")
    command = [sys.executable, "-c", WALLED, str(write_job(folder, MODEL, **TRAINING))]
    subprocess.run(command, check=True, timeout=240)
    return folder


def test_a_run_leaves_what_the_contract_says(reference):
    assert sorted(result(reference)) == [
        "model.json",
        "model.safetensors",
        "state/best.safetensors",
        "state/optimizer.safetensors",
        "state/state.json",
        "state/weights.safetensors",
    ]
    assert not any(str(reference).encode() in content for content in result(reference).values())
    summary = json.loads((reference / "run" / "summary.json").read_text())
    lines = read_lines(reference / "run" / "metrics.jsonl")
    training = [line for line in lines if line["kind"] == "train"]
    evaluations = {line["step"]: line for line in lines if line["kind"] == "evaluation"}
    assert [line["step"] for line in training] == [1, *range(7, 91, 7), 90]
    assert list(evaluations) == [15, 30, 45, 60, 75, 90]
    assert all(line["tokens"] == line["step"] * 4 * 16 and line["steps"] == 90 for line in training)
    assert training[0]["loss"] == pytest.approx(math.log(64), abs=0.1)
    assert training[-1]["loss"] < 3.0
    best = min(evaluations.values(), key=lambda line: line["val_loss"])
    assert (summary["best_step"], summary["steps"], summary["skipped_steps"]) == (best["step"], 90, 0)
    assert 28 < best["step"] < 63  # so little text is soon known by heart, and then the best weights must be kept
    samples = read_lines(reference / "run" / "samples.jsonl")
    assert [(s["step"], s["prompt"]) for s in samples] == [(step, p) for step in (0, 1, 4, 16) for p in (0, 1)]
    assert all(0 < token < 50 for s in samples for token in s["ids"])
    if importlib.util.find_spec("tensorboard"):
        assert list((reference / "run" / "tensorboard").glob("events*"))


def test_the_published_model_has_the_best_weights(reference):
    model = load_model(reference / "run" / "final")
    passages = all_passages([shard(documents(12, 2))])
    token_bytes = np.array([0] + [1] * 49)
    loss, bpb = means(score(model, passages, token_bytes, torch.device("cpu")))
    summary = json.loads((reference / "run" / "summary.json").read_text())
    lines = read_lines(reference / "run" / "metrics.jsonl")
    assert summary["val_loss"] == pytest.approx(loss, rel=1e-6) and summary["val_bpb"] == pytest.approx(bpb, rel=1e-6)
    # the toy split is smaller than the sample along the way, which therefore is all of it
    assert min(line["val_loss"] for line in lines if line["kind"] == "evaluation") == pytest.approx(loss, rel=1e-5)


@pytest.mark.long  # a short one is in test_kill.py
def test_killed_runs_end_with_the_same_bytes(reference, tmp_path):
    job = change_job(write_job(tmp_path, MODEL, **TRAINING), runtime__checkpoint_seconds=0.0)  # a save after each step
    seed = time.time_ns()
    print(f"seed of the moments: {seed}")
    generator = random.Random(seed)
    early, late = generator.randrange(1, 5) * 7, generator.randrange(9, 12) * 7  # around the best step
    reached: dict[str, bool] = {}
    for line in ("", f"step {early}/", f"step {late}/", "Scoring"):  # "": anywhere in the start
        process = start(job)
        if line:
            reached[line] = wait_for_line(process, line)  # unless an earlier kill came after it
        time.sleep(generator.uniform(0, 0.1 if line else 2.0))  # a step and its save take about 15 ms
        process.kill()
        process.communicate()
    assert any(reached.values()), "no kill came while it trained"
    code, out, error = finish(start(job))
    assert (code, error) == (0, ""), out
    assert result(tmp_path) == result(reference)
    for name in ("metrics.jsonl", "samples.jsonl"):
        diaries = [read_lines(folder / "run" / name) for folder in (tmp_path, reference)]
        for found, expected in zip(*diaries, strict=True):
            assert all(found[key] == expected[key] for key in expected if key not in ("seconds", "tokens_per_s"))
    assert finish(start(job))[:2] == (0, f"Finished before: {tmp_path / 'run' / 'final'}\n")


def test_a_request_to_stop_saves_first(reference, tmp_path):
    job = change_job(write_job(tmp_path, MODEL, **TRAINING), runtime__checkpoint_seconds=0.0)
    process = start(job)
    assert wait_for_line(process, "step 7/")
    process.send_signal(signal.SIGTERM)
    code, out, error = finish(process)
    assert (code, error) == (75, "") and "SIGTERM" in out
    reading, writing = os.pipe()
    process = start(job, "--watch-fd", str(reading), pass_fds=[reading])
    os.close(reading)
    assert wait_for_line(process, "Going on from step")
    os.close(writing)  # as when the process that started the run is killed
    code, out, error = finish(process)
    assert (code, error) == (75, "") and "the starting process is gone" in out
    said: list[str] = []
    Trainer(read_job(RunJob, job), Stop(), said.append).run()
    assert any(line.startswith("Going on from step") for line in said)
    assert result(tmp_path) == result(reference)


@pytest.mark.long
def test_a_full_disk_is_one_clear_line_and_the_run_goes_on_later(reference, tmp_path):
    job = write_job(tmp_path, MODEL, **TRAINING)

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # bytes per file; the weights take 90,000

    code, _, error = finish(start(job, preexec_fn=little_room))
    assert code == 1 and error.count("\n") == 1 and "Cannot write" in error and "Free space" in error
    assert not (tmp_path / "run" / "final").exists()
    assert finish(start(job))[0] == 0
    assert result(tmp_path) == result(reference)


def test_unusable_jobs_end_with_code_2_and_one_line(tmp_path, capfd, monkeypatch):
    job = write_job(tmp_path, MODEL, **TRAINING)
    code, _, error = finish(start(tmp_path / "absent.json"))
    assert code == 2 and error.count("\n") == 1 and "absent.json" in error
    code, _, error = finish(start(job, "--watch-fd", "57"))
    assert code == 2 and error.count("\n") == 1 and "--watch-fd is 57" in error
    change_job(job, token_bytes=str(tmp_path / "no.npy"))
    monkeypatch.setattr(sys, "argv", ["gpt.train", str(job)])  # this process has torch already
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    error = capfd.readouterr().err
    assert code == 2 and error.count("\n") == 1 and "no.npy" in error


def test_another_data_digest_is_refused_before_and_after_the_end(tmp_path):
    trainer, _ = in_process(tmp_path, steps=3)
    trainer.stop.reason = "test"
    with pytest.raises(StopRequested):
        trainer.run()
    job = change_job(tmp_path / "RUN.json", data_digest="data-2")
    with pytest.raises(GPTError, match="data_digest is 'data-2' and was 'data-1'"):
        Trainer(read_job(RunJob, job), Stop(), print)
    change_job(job, data_digest="data-1")
    Trainer(read_job(RunJob, job), Stop(), print).run()
    change_job(job, tokenizer_digest="tokenizer-2")
    code, _, error = finish(start(job))
    assert code == 2 and "tokenizer_digest is 'tokenizer-2' and was 'tokenizer-1'" in error


def test_one_run_dir_has_one_trainer(tmp_path):
    with lock(tmp_path), pytest.raises(GPTError, match="Another process"):
        lock(tmp_path)
    lock(tmp_path).close()


def poison(trainer: Trainer, bad) -> None:
    """Make the loss of the steps for which `bad(step, rate_scale)` holds not a number."""
    learner = trainer.learner
    honest = learner.loss_sum
    learner.loss_sum = lambda i, t: honest(i, t) * (math.nan if bad(learner.step, learner.rate_scale) else 1)


def test_three_bad_steps_go_back_and_halve_the_rate(tmp_path):
    trainer, said = in_process(tmp_path, steps=30, decay_share=0.0, warmup_share=0.0)
    poison(trainer, lambda step, scale: step >= 12 and scale == 1)
    trainer.run()
    assert any("going back to step 12 with half the learning rate" in line for line in said)
    lines = [line for line in read_lines(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "train"]
    rates = {line["step"]: line["learning_rate"] for line in lines}
    assert rates == {1: 1e-2, 7: 1e-2, 14: 5e-3, 21: 5e-3, 28: 5e-3, 30: 5e-3}
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["skipped_steps"] == 3


def go_back(folder: Path, saved_at: int | None) -> bytes:
    """The weights of a run that had to go back, and was saved by the clock at a step."""
    trainer, said = in_process(folder, steps=40)  # a milestone every 4 steps
    poison(trainer, lambda step, scale: 10 <= step < 13 and scale == 1)
    trainer.clock.since_save = lambda: 100.0 if trainer.learner.step == saved_at else 0.0
    trainer.run()
    assert any("up to step 13: going back to step 8 with half" in line for line in said)
    steps = [line["step"] for line in read_lines(folder / "run" / "metrics.jsonl") if line["kind"] == "train"]
    assert steps == sorted(set(steps))
    return (folder / "run" / "final" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def gone_back(tmp_path_factory) -> bytes:
    return go_back(tmp_path_factory.mktemp("gone-back"), None)


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "saved_by_the_clock",
    [None, pytest.param(7, marks=LONG), 11, pytest.param(13, marks=LONG), pytest.param(14, marks=LONG)],
)
def test_bad_steps_go_back_to_a_milestone_whatever_the_clock_has_saved(tmp_path, gone_back, saved_by_the_clock):
    assert go_back(tmp_path, saved_by_the_clock) == gone_back


def test_a_stop_right_after_going_back_keeps_the_halved_rate(tmp_path):
    trainer, said = in_process(tmp_path, steps=40)
    poison(trainer, lambda step, scale: 10 <= step < 13 and scale == 1)
    go_back = trainer._go_back

    def go_back_and_stop():
        go_back()
        trainer.stop.reason = "a test"

    trainer._go_back = go_back_and_stop
    with pytest.raises(StopRequested, match="after step 8"):
        trainer.run()
    resumed = Trainer(trainer.job, Stop(), said.append)
    assert (resumed.learner.step, resumed.learner.rate_scale) == (8, 0.5)


def test_samples_of_other_prompts_do_not_survive_a_resume(tmp_path):
    trainer, said = in_process(tmp_path, steps=20)
    after = trainer._after_update

    def stop_after_it(norm):
        after(norm)
        trainer.stop.reason = "a test"

    trainer._after_update = stop_after_it
    with pytest.raises(StopRequested):
        trainer.run()
    lines = read_lines(tmp_path / "run" / "samples.jsonl")
    assert {line["step"] for line in lines} == {0, 1}
    other = replace(trainer.job, sampling=replace(trainer.job.sampling, prompts=((0, 5),), steps=(0, 1, 2)))
    Trainer(other, Stop(), said.append).run()
    lines = read_lines(tmp_path / "run" / "samples.jsonl")
    assert [(line["step"], line["prompt"], line["drawn"]["prompts"]) for line in lines] == [(2, 0, [[0, 5]])]


def test_bad_steps_at_half_the_rate_are_the_end(tmp_path):
    trainer, _ = in_process(tmp_path, steps=30)
    poison(trainer, lambda step, scale: step >= 12)
    with pytest.raises(GPTError, match=r"not finite in 3 steps in a row up to step 15, again .* 0\.005"):
        trainer.run()
    assert not (tmp_path / "run" / "final").exists()


def test_without_validation_text_the_last_weights_are_published(tmp_path):
    job = change_job(write_job(tmp_path, MODEL, **TRAINING | {"steps": 6}), **{"sources__made-up__validation": []})
    said: list[str] = []
    trainer = Trainer(read_job(RunJob, job), Stop(), said.append)
    trainer.run()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["val_loss"], summary["val_bpb"], summary["best_step"]) == (None, None, 6)
    assert any("no validation text" in line for line in said)
    last = trainer.learner.model.state_dict()
    published = load_model(tmp_path / "run" / "final").state_dict()
    assert all(torch.equal(published[name][:50], tensor[:50]) for name, tensor in last.items())


def test_a_missing_package_is_said_in_one_line(tmp_path):
    code = "import sys; sys.modules['safetensors'] = None; from gpt.train import main; sys.exit(main())"
    command = [sys.executable, "-c", code, str(write_job(tmp_path))]
    ended = subprocess.run(command, capture_output=True, text=True)
    said = "gpt.train: safetensors is not installed: pip install torch numpy safetensors.\n"
    assert (ended.returncode, ended.stderr) == (2, said)
