"""Job files and token arrays: what is wrong is said in one line with the key, the value and what was expected."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import gpt.device
from gpt.arrays import open_shard
from gpt.device import choose_device
from gpt.errors import GPTError
from gpt.jobfile import read_job
from gpt.jobs import RunJob, Runtime, SampleJob, ShardPaths
from tests.gpt_toys import EOT, change_job, documents, tiny_model, write_arrays, write_job


def test_a_job_is_read_back_as_it_was_meant(tmp_path):
    job = read_job(RunJob, write_job(tmp_path))
    assert job.model == tiny_model()
    assert job.sampling.prompts == ((), (5, 6)) and job.sampling.steps == (0, 1, 4, 16)
    assert len(job.sources["made-up"].train) == 2 and job.sources["made-up"].weight == 1.0
    json.dumps(job.identity())
    assert str(tmp_path) not in json.dumps(job.identity())  # no path belongs to a run's identity
    changed = dataclasses.replace(job, runtime=Runtime(device="cpu", threads=7), run_dir=tmp_path / "elsewhere")
    assert changed.identity() == job.identity()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"eot": 0}, ["unknown key eot", "did you mean eot_id?"]),
        ({"training__stepz": 5}, ["training.stepz", "did you mean steps?"]),
        ({"training__steps": "5"}, ['training.steps is "5"', "whole number"]),
        ({"training__steps": True}, ["training.steps is true", "whole number"]),
        ({"training__steps": None}, ["training", "steps left open"]),
        ({"training__learning_rate": -1.0}, ["learning_rate is -1.0"]),
        ({"model__heads": 5}, ["heads is 5 and width is 32"]),
        ({"model__preset": "gpt5"}, ['model.preset is "gpt5"', '"modern", "gpt2"']),
        ({"runtime__device": "tpu"}, ["runtime.device", '"auto", "cpu", "cuda"']),
        ({"sources": {}}, ["no training array"]),
        ({"sources__made-up__weight": -1}, ["sources.made-up: weight is -1"]),
        ({"sampling__prompts": [[50]]}, ["outside of [0, 50)"]),
        ({"sampling__prompts": 3}, ["sampling.prompts is 3", "a list"]),
    ],
)
def test_a_wrong_job_is_refused_by_key(tmp_path, changes, words):
    path = change_job(write_job(tmp_path), **changes)
    with pytest.raises(GPTError) as refusal:
        read_job(RunJob, path)
    message = str(refusal.value)
    assert all(word in message for word in [*words, "RUN.json"]) and "\n" not in message


def test_an_unreadable_job_is_refused(tmp_path):
    with pytest.raises(GPTError, match=r"absent\.json"):
        read_job(RunJob, tmp_path / "absent.json")
    (tmp_path / "torn.json").write_text('{"run_dir": ')
    with pytest.raises(GPTError, match="not valid JSON"):
        read_job(RunJob, tmp_path / "torn.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(GPTError, match=r"the file is .*an object"):
        read_job(RunJob, tmp_path / "list.json")
    (tmp_path / "short.json").write_text('{"model_dir": "m", "prompts": [[]], "eot_id": 0}')
    with pytest.raises(GPTError, match="key out is missing"):
        read_job(SampleJob, tmp_path / "short.json")


def shard_paths(entry) -> ShardPaths:
    return ShardPaths(**{name: Path(path) for name, path in entry.items()})


def test_arrays_are_mapped_and_checked(tmp_path):
    texts = documents(20)
    entry = write_arrays(tmp_path, "good", texts)
    found = open_shard(shard_paths(entry), EOT)
    assert found.documents == 20
    assert [found.tokens[a:b].tolist() for a, b in zip(found.starts, found.starts[1:], strict=False)] == texts
    assert open_shard(shard_paths(write_arrays(tmp_path, "empty", [])), EOT).documents == 0

    def refusal(name, tokens=None, starts=None):
        broken = write_arrays(tmp_path, name, texts)
        if tokens is not None:
            np.save(broken["tokens"], tokens)
        if starts is not None:
            np.save(broken["documents"], starts)
        with pytest.raises(GPTError) as error:
            open_shard(shard_paths(broken), EOT)
        return str(error.value)

    tokens, starts = np.load(entry["tokens"]), np.load(entry["documents"])
    assert "int64" in refusal("dtype", tokens=tokens.astype(np.int64))
    assert "float64" in refusal("offsets", starts=starts.astype(float))
    assert f"0 to {starts[-1]}, but" in refusal("longer", tokens=np.append(tokens, tokens[:1]))
    assert "document 0 begins with id 3" in refusal("marks", tokens=np.full_like(tokens, 3))
    assert "not a readable .npy" in refusal("pickle", tokens=np.array([{}], dtype=object))
    with pytest.raises(GPTError, match=r"gone\.npy"):
        open_shard(ShardPaths(tmp_path / "gone.npy", tmp_path / "gone.npy"), EOT)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_an_absent_card_is_an_error_only_when_asked_for():
    notes: list[str] = []
    assert choose_device(Runtime(device="auto"), notes.append).type == "cpu"
    assert len(notes) == 1 and "CPU" in notes[0]
    with pytest.raises(GPTError, match=r"cuda was asked for, but .* Set runtime.device to auto or cpu"):
        choose_device(Runtime(device="cuda"), notes.append)


def test_a_card_that_cannot_compute_falls_back_with_the_reason(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old Card")

    def no_kernel(*arguments, **named):
        raise RuntimeError("no kernel image is available\nmore lines")

    monkeypatch.setattr(gpt.device.torch, "arange", no_kernel)
    notes: list[str] = []
    assert choose_device(Runtime(), notes.append).type == "cpu"
    assert notes == ["Computing on the CPU: a first kernel failed on Old Card: no kernel image is available."]
