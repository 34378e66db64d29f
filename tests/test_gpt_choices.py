"""Scores of endings against whole softmaxes, id by id; against transformers they are in test_gpt_huggingface.py."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt import choices
from gpt.choices import Questions, choose, cut_windows, main, score_endings, which_are_right, wilson_interval
from gpt.errors import GPTError
from gpt.jobfile import read_job
from gpt.jobs import ChoicesJob
from gpt.weights import save_model
from tests.choice_toys import made_up, questions
from tests.gpt_toys import EOT, VOCAB, random_model, tiny_model

CPU = torch.device("cpu")


def write_items(folder, items):
    """The arrays of a job; returns its entry `items`."""
    parts = [part for context, endings, *_ in items for part in (context, *endings)]
    arrays = {
        "tokens": np.array([number for part in parts for number in part], np.uint16),
        "parts": np.cumsum([0, *map(len, parts)]),
        "items": np.array([(len(endings), label) for _, endings, label, _ in items]),
        "sizes": np.array([size for *_, sizes in items for size in sizes]),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {name: str(folder / f"{name}.npy") for name in arrays}


def slow_nats(logits_of, passage, begin, context):
    """One ending, one id after the other, each by a whole softmax over the longest text before it that fits and is
    cut where the ending's windows are: from the beginning, or by half a context at a time."""
    total, moved_at = 0.0, begin - 1  # input from which on the window in use scores
    first, end = 0, 0
    for place in range(begin, len(passage)):
        if place > end:  # a new window
            end = min(len(passage) - 1, max(context, moved_at + max(1, context // 2)))
            first, moved_at = max(0, end - context), end
        logits = logits_of(torch.tensor([[int(one) for one in passage[first:place]]]))[0, -1, :VOCAB].double()
        exponentials = [math.exp(one - float(logits.max())) for one in logits.tolist()]
        total -= math.log(exponentials[int(passage[place])] / sum(exponentials))
    return total


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([2, 5, 16]), st.sampled_from(["modern", "gpt2"]))
@example(1, 2, "modern")
def test_ragged_items_longer_than_the_context_are_scored_as_one_by_one(seed, context, preset):
    model = random_model(tiny_model(preset, context=context))
    asked = questions(made_up(3, longest=14, seed=seed, endings=(2, 3)))
    with torch.no_grad():
        expected = [
            slow_nats(model, passage, int(begin), context)
            for passage, begin in zip(asked.passages, asked.begins, strict=True)
        ]
    assert score_endings(model, asked, CPU) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(st.integers(1, 40), st.integers(1, 60), st.integers(2, 20))
def test_every_id_of_an_ending_is_scored_once_and_from_enough_text(begin, ending, context):
    length = begin + ending
    windows = cut_windows(length, begin, context)
    scored = [place for one in windows for place in range(one.scored, one.end)]
    assert scored == list(range(begin - 1, length - 1)), "inputs whose next id counts"
    for one in windows:
        assert 0 <= one.begin <= one.scored < one.end and one.end - one.begin <= context
        assert one.begin == 0 or one.scored - one.begin >= context - context // 2 - 1
    if length - 1 <= context:
        assert len(windows) == 1 and windows[0].begin == 0, "what fits is read whole"
    elif ending <= max(1, context // 2):
        assert len(windows) == 1 and windows[0].end - windows[0].begin == context, "else its beginning is cut off"


def test_a_batch_of_any_size_gives_the_same(monkeypatch):
    model = random_model(tiny_model())
    asked = questions(made_up(20))
    together = score_endings(model, asked, CPU)
    monkeypatch.setattr(choices, "TOKENS_AT_ONCE", 1)
    assert score_endings(model, asked, CPU) == pytest.approx(together, rel=1e-5)


def test_right_is_the_likeliest_ending_in_whole_and_by_its_bytes():
    """By hand. First item: 4 nats on 2 bytes against 5 on 10: the sum is for the first, bytes for the second."""
    asked = Questions([], *(np.array(one) for one in ([], [2, 10, 1, 1, 1, 3, 3, 3, 3], [2, 3, 2, 2], [1, 2, 0, 0])))
    nats = np.array([4, 5, 1, 1, 0.5, 6, 6, math.nan, 1])
    right = which_are_right(nats, asked)
    assert right.tolist() == [[False, True], [True, True], [True, True], [False, False]], (
        "of equal ones the first is chosen, and what is no number is not right"
    )
    result = choices.summarise(right, asked)
    assert (result["items"], result["accuracy"], result["accuracy_norm"]) == (4, 0.5, 0.75)
    assert result["chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4)


def test_the_interval_is_that_of_wilson():
    """10 of 50: 0.1124 to 0.3304 (e.g. Newcombe, Statistics in Medicine 17, 1998); 0 of 10 ends at z^2 / (n + z^2)."""
    assert wilson_interval(10, 50) == pytest.approx((0.1124, 0.3304), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0, 3.8415 / 13.8415), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((1 - 3.8415 / 13.8415, 1), abs=1e-4)


def prepare(tmp_path, model=None, items=None):
    model = model or random_model(tiny_model())
    (tmp_path / "model").mkdir(exist_ok=True)
    save_model(tmp_path / "model", model.config, model.state_dict())
    entry = write_items(tmp_path, items or made_up())
    return {"model_dir": str(tmp_path / "model"), "items": entry, "out": str(tmp_path / "out"),
            "runtime": {"device": "cpu"}}  # fmt: skip


def test_the_command_reads_arrays_and_writes_answers(tmp_path, monkeypatch, capsys):
    items = made_up()
    path = tmp_path / "CHOICES.json"
    path.write_text(json.dumps(prepare(tmp_path, items=items)))
    monkeypatch.setattr(sys, "argv", ["gpt.choices", str(path)])
    assert (main(), capsys.readouterr().err) == (0, "")
    result = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    right = np.load(tmp_path / "out" / "items.npy")
    assert right.shape == (12, 2) and result["accuracy_norm"] == right[:, 1].mean()
    low, high = result["accuracy_interval"]
    assert low < result["accuracy"] < high
    expected = score_endings(random_model(tiny_model()), questions(items), CPU)
    assert np.load(tmp_path / "out" / "endings.npy") == pytest.approx(expected, rel=1e-6)


def test_what_cannot_be_scored_is_refused(tmp_path):
    job = prepare(tmp_path)
    path = tmp_path / "CHOICES.json"

    def refusal(**changes):
        path.write_text(json.dumps(job | changes))
        with pytest.raises(GPTError) as error:
            choose(read_job(ChoicesJob, path), print)
        assert not (tmp_path / "out").exists()
        return str(error.value)

    (tmp_path / "foreign").mkdir()
    foreign = write_items(tmp_path / "foreign", [([EOT], [[3], [VOCAB]], 0, [1, 1])])
    assert "id 50, but the model knows only 50" in refusal(items=foreign)
    np.save(tmp_path / "foreign" / "sizes.npy", np.array([1]))
    assert "2 endings" in refusal(items=foreign) and "1 sizes" in refusal(items=foreign)
    empty = write_items(tmp_path / "foreign", [([EOT], [[3], []], 0, [1, 1])])
    assert "empty part or a label out of range" in refusal(items=empty)
    wrong = write_items(tmp_path / "foreign", [([EOT], [[3], [4]], 2, [1, 1])])
    assert "empty part or a label out of range" in refusal(items=wrong)
    masked = prepare(tmp_path, random_model(tiny_model(objective="masked")))
    assert "masked model gives no probability" in refusal(**masked)
