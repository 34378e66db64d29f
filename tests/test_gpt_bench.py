"""The benchmark by characters: its split, its clock, what it reports and what it refuses."""

import json
import math
import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gpt.bench import shakespeare
from gpt.bench.__main__ import main
from gpt.bench.characters import read_characters
from gpt.errors import GPTError
from gpt.schedule import learning_rate

SMALL = ["--threads", "1", *(f"--set={key}" for key in ("model.layers=1", "model.width=32", "training.batch_size=8"))]


@pytest.fixture
def text(tmp_path):
    """Four letters drawn evenly: nobody can predict them better than with ln 4 nats."""
    path = tmp_path / "text.txt"
    path.write_text("".join(random.Random(1).choices("abcd", k=4321)))
    return path


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_split_is_nine_tenths_and_the_last_tenth(tmp_path):
    path = tmp_path / "text.txt"
    written = "zaé\r\n" * 5 + "zaéb☃𝄞"  # 31 characters, of which the line ends are two each
    path.write_bytes(written.encode())
    found = read_characters(path)
    letters = sorted(set(written))
    assert found.vocab_size == len(letters) == 8
    assert "".join(letters[i] for i in found.train.tokens) == written[:27]
    assert "".join(letters[i] for i in found.validation) == written[27:]
    assert found.train.starts.tolist() == [0, 27]


def test_random_letters_cost_their_entropy_and_every_one_but_the_first_is_scored(text, capsys):
    lines = []
    for _ in range(2):
        assert main(["shakespeare", "--text", str(text), "--steps", "40", "--json", *SMALL]) == 0
        lines.append(last_line(capsys))
    first, second = lines
    assert math.log(4) - 0.02 < first["val_loss"] < math.log(4) + 0.1
    assert first["val_loss"] == second["val_loss"]  # steps, not seconds: the same seed gives the same result
    assert first["val_characters"] == 4321 - 4321 * 9 // 10 - 1
    assert (first["steps"], first["seed"], first["preset"]) == (40, 1, "modern")
    assert first["tokens_per_s"] == pytest.approx(40 * 8 * 64 / first["seconds"], rel=0.01)


def test_settings_seed_and_preset_reach_the_training(text, capsys):
    command = ["shakespeare", "--text", str(text), "--steps", "3", "--json", *SMALL]
    losses = []
    for more in ([], ["--seed", "2"], ["--preset", "gpt2"], ["--set", "training.learning_rate=0.02"]):
        assert main([*command, *more]) == 0
        losses.append(last_line(capsys)["val_loss"])
    assert len(set(losses)) == 4


@pytest.mark.parametrize("slower", [1.0, 3.0, 0.4])
def test_the_steps_follow_the_clock(text, monkeypatch, slower):
    clock = SimpleNamespace(now=100.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(shakespeare, "time", clock)
    characters = read_characters(text)
    model, training = shakespeare.configure([], "modern", 1, 1000, characters)
    learner = shakespeare.make_learner(characters, model, training, torch.device("cpu"))
    rates = []

    def update() -> torch.Tensor:
        rates.append(learning_rate(learner.step, learner.training))
        clock.now += 0.01 * (slower if learner.step > 300 else 1.0)  # from there on something else runs as well
        learner.step += 1
        return torch.zeros(())

    monkeypatch.setattr(learner, "update", update)
    spent = shakespeare.train(learner, 10.0, lambda line: None)
    assert spent == pytest.approx(10.0, abs=0.031)
    assert learner.step == pytest.approx(300 + 700 / slower, abs=3)
    peak = learner.training.learning_rate
    assert max(rates) == peak and rates[-1] < 0.01 * peak
    assert np.abs(np.diff(rates[30:])).max() < 0.01 * peak * max(1, slower)  # no jumps


def test_seconds_bound_the_training(text, capsys):
    assert main(["shakespeare", "--text", str(text), "--seconds", "0.5", "--json", *SMALL]) == 0
    line = last_line(capsys)
    assert 0.4 < line["seconds"] < 1.5 and line["steps"] > 3


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--set", "learning_rate=1"], "--set learning_rate=1 is not of the form"),
        (["--set", "training.learning_rat=1"], "did you mean learning_rate?"),
        (["--set", "training.learning_rate=7"], "learning_rate is 7.0, but it must be above 0 and at most 1"),
        (["--set", "training.steps=7"], "give --steps 7"),
        (["--seconds", "0"], "--seconds is 0"),
        (["--steps", "0"], "steps is 0"),
        (["--threads", "0"], "threads is 0"),
    ],
)
def test_what_cannot_be_done_is_one_line(text, capsys, arguments, problem):
    assert main(["shakespeare", "--text", str(text), *SMALL, *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("gpt.bench: ") and problem in error


def test_a_loss_that_is_no_number_is_no_result(text, capsys, monkeypatch):
    monkeypatch.setattr(shakespeare, "score", lambda *_: np.array([[math.nan, 432.0, 432.0]]))
    assert main(["shakespeare", "--text", str(text), *SMALL, "--steps", "2"]) == 2
    assert "The validation loss is nan after 2 steps" in capsys.readouterr().err


def test_texts_that_are_none_are_refused(tmp_path):
    path = tmp_path / "text.txt"
    with pytest.raises(GPTError, match=r"Cannot read .*text\.txt"):
        read_characters(path)
    path.write_bytes(b"abc\xff")
    with pytest.raises(GPTError, match=r"not UTF-8 \(byte 3\)"):
        read_characters(path)
    path.write_text("abcdefghij")
    with pytest.raises(GPTError, match="has 10 characters"):
        read_characters(path)


def test_the_benchmarks_need_torch_alone():
    program = """
import sys
blocked = {"prefect", "pydantic", "httpx", "requests", "huggingface_hub", "data", "tasks", "flows", "tests"}
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError(name)
sys.meta_path.insert(0, Wall())
import gpt.bench.__main__, gpt.bench.shakespeare, gpt.bench.gpu
assert not blocked & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
