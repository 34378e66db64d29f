"""Scoring against a loop over single tokens; bits per byte, its interval, and the command's files."""

import json
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gpt.scoring
from gpt.config import EvaluationConfig, ModelConfig
from gpt.errors import GPTError
from gpt.evaluate import bits_per_byte_interval, evaluate, main
from gpt.jobfile import read_job
from gpt.jobs import EvaluationJob, SampleJob
from gpt.model import GPT
from gpt.sample import sample
from gpt.scoring import all_passages, cut_windows, means, sample_passages, score
from gpt.weights import save_model
from tests.gpt_toys import EOT, VOCAB, documents, shard, tiny_model, write_arrays

CPU = torch.device("cpu")
TOKEN_BYTES = np.array([0, *(1 + i % 3 for i in range(VOCAB - 1))], np.int32)


def random_model(preset: str = "modern") -> GPT:
    config: ModelConfig = tiny_model(preset, dropout=0.5)
    model = GPT(config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + (parameter.ndim == 1))
    return model


@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(2, 20))
def test_windows_predict_every_token_once_with_much_context(lengths, context):
    predicted = Counter()
    for window in cut_windows(lengths, context):
        assert 0 <= window.begin <= window.scored < window.end <= lengths[window.passage] - 1
        assert window.end - window.begin <= context
        for place in range(window.scored, window.end):
            predicted[window.passage, place + 1] += 1
            seen = place - window.begin + 1
            assert seen == place + 1 or seen > context // 2  # all of the passage so far, or at least half a context
    expected = {(p, place): 1 for p, length in enumerate(lengths) for place in range(1, length)}
    assert predicted == expected


@pytest.mark.parametrize("preset", ["modern", "gpt2"])
def test_scores_agree_with_a_loop_over_tokens(preset, monkeypatch):
    model = random_model(preset).train()  # dropout must not touch a score
    texts = [[EOT], *documents(9, seed=4, shortest=1, longest=70)]
    monkeypatch.setattr(gpt.scoring, "TOKENS_AT_ONCE", 80)  # several batches
    found = score(model, all_passages([shard(texts[:4]), shard(texts[4:])]), TOKEN_BYTES, CPU)
    assert model.training
    model.eval()
    for text, (nats, tokens, size) in zip(texts, found.tolist(), strict=True):
        expected = 0.0
        for place in range(1, len(text)):
            if place <= 16:
                past = text[:place]
            else:  # windows of 16 move on by 8
                end = min(16 + 8 * -(-(place - 16) // 8), len(text) - 1)
                past = text[max(0, end - 16) : place]
            with torch.no_grad():
                logits = model(torch.tensor([past]))[0, -1, :VOCAB].double()
            expected -= float(torch.log_softmax(logits, 0)[text[place]])
        assert nats == pytest.approx(expected, rel=1e-5)
        assert tokens == len(text) - 1
        assert size == sum(int(TOKEN_BYTES[t]) for t in text)  # the end-of-text id has none


def test_means_are_per_token_and_per_byte():
    loss, bpb = means(np.array([[6.0, 2, 4], [2.0, 2, 12]]))
    assert (loss, bpb) == (2.0, pytest.approx(8 / 16 / math.log(2)))


def test_the_fixed_sample_is_a_stable_choice_of_whole_passages():
    passages = all_passages([shard(documents(50, seed=6))])
    chosen = sample_passages(passages, 400, seed=3)
    size = sum(map(len, chosen))
    assert 300 < size <= 400
    keys = [p.tobytes() for p in passages]
    places = [keys.index(p.tobytes()) for p in chosen]
    assert places == sorted(places) and places[-1] - places[0] > 20
    again = sample_passages(passages, 400, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(again, chosen, strict=True))
    assert len(sample_passages(passages, 10**9, seed=3)) == 50
    assert len(sample_passages(passages, 1, seed=3)) == 1


def test_the_interval_agrees_with_a_plain_bootstrap():
    generator = np.random.default_rng(1)
    scores = np.stack(
        [generator.gamma(4, 100, 60), generator.integers(50, 90, 60), generator.integers(100, 300, 60)], 1
    )
    low, high = bits_per_byte_interval(scores, EvaluationConfig(resamples=4000, seed=1))
    rates = []
    for _ in range(4000):
        drawn = [scores[generator.integers(60)] for _ in range(60)]
        rates.append(sum(d[0] for d in drawn) / sum(d[2] for d in drawn) / math.log(2))
    rates.sort()
    assert low == pytest.approx(rates[100], rel=0.02) and high == pytest.approx(rates[3900], rel=0.02)
    few = bits_per_byte_interval(scores, EvaluationConfig(resamples=7, seed=1))
    assert few[0] < few[1]


def prepare(folder: Path) -> dict:
    """A saved model with the validation arrays of two sources; returns the job as JSON."""
    model = random_model()
    (folder / "model").mkdir()
    save_model(folder / "model", model.config, model.state_dict())
    np.save(folder / "token_bytes.npy", TOKEN_BYTES)
    first = [write_arrays(folder, "a0", documents(8, 1)), write_arrays(folder, "a1", documents(5, 2), np.uint32)]
    sources = {
        "first": {"validation": first},
        "second": {"validation": [write_arrays(folder, "b", documents(6, 3))], "weight": 2.0},
        "empty": {"validation": [write_arrays(folder, "c", [])]},
    }
    return {
        "model_dir": str(folder / "model"),
        "sources": sources,
        "token_bytes": str(folder / "token_bytes.npy"),
        "eot_id": EOT,
        "out": str(folder / "out"),
        "runtime": {"device": "cpu", "threads": 1},
        "bootstrap": {"resamples": 200, "seed": 0},
    }


def test_the_command_writes_consistent_files(tmp_path):
    (tmp_path / "EVAL.json").write_text(json.dumps(prepare(tmp_path)))
    result = evaluate(read_job(EvaluationJob, tmp_path / "EVAL.json"), print)
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == result
    scores = np.load(tmp_path / "out" / "passages.npy")
    assert scores.shape == (19, 3)
    assert set(result["sources"]) == {"first", "second"}
    assert (result["passages"], result["sources"]["first"]["passages"]) == (19, 13)
    assert result["tokens"] == scores[:, 1].sum() == sum(s["tokens"] for s in result["sources"].values())
    assert result["bits_per_byte"] == pytest.approx(scores[:, 0].sum() / scores[:, 2].sum() / math.log(2))
    assert result["loss"] == pytest.approx(scores[:, 0].sum() / scores[:, 1].sum())
    assert result["perplexity"] == pytest.approx(math.exp(result["loss"]))
    low, high = result["bits_per_byte_interval"]
    assert low < result["bits_per_byte"] < high


def test_the_command_scores_and_names_what_is_wrong(tmp_path, monkeypatch, capsys):
    job = prepare(tmp_path)
    path = tmp_path / "EVAL.json"
    monkeypatch.setattr(sys, "argv", ["gpt.evaluate", str(path)])
    path.write_text(json.dumps(job | {"token_bytez": "x"}))
    code, error = main(), capsys.readouterr().err
    assert code == 2 and not (tmp_path / "out").exists()
    assert error.count("\n") == 1 and "did you mean token_bytes" in error
    path.write_text(json.dumps(job))
    assert (main(), capsys.readouterr().err) == (0, "") and (tmp_path / "out" / "evaluation.json").exists()


def test_what_cannot_be_scored_is_refused(tmp_path):
    job = prepare(tmp_path)
    path = tmp_path / "EVAL.json"

    def refusal(**changes):
        path.write_text(json.dumps(job | changes))
        with pytest.raises(GPTError) as error:
            evaluate(read_job(EvaluationJob, path), print)
        assert not (tmp_path / "out").exists()
        return str(error.value)

    assert "no validation passage" in refusal(sources={"empty": job["sources"]["empty"]})
    foreign = write_arrays(tmp_path, "foreign", [[EOT, 3, 50, 4]])
    assert "id 50, but the model knows only 50" in refusal(sources={"foreign": {"validation": [foreign]}})
    np.save(tmp_path / "short.npy", TOKEN_BYTES[:-1])
    assert "(49,), but the model knows 50 ids" in refusal(token_bytes=str(tmp_path / "short.npy"))
    assert "model.json" in refusal(model_dir=str(tmp_path))
    text = (tmp_path / "model" / "model.json").read_text()
    (tmp_path / "model" / "model.json").write_text(text.replace('"layers": 2', '"layers": 3'))
    assert "does not fit model.json" in refusal()
    (tmp_path / "model" / "model.json").write_text(text)
    whole = (tmp_path / "model" / "model.safetensors").read_bytes()
    (tmp_path / "model" / "model.safetensors").write_bytes(whole[:-100])
    assert "model.safetensors" in refusal()


def test_samples_are_seeded_one_by_one(tmp_path):
    job = {k: v for k, v in prepare(tmp_path).items() if k in ("model_dir", "eot_id", "out", "runtime")}
    job |= {"prompts": [[], [4, 5]], "count": 3, "tokens": 12, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 7}
    path = tmp_path / "SAMPLE.json"
    path.write_text(json.dumps(job))
    written = sample(read_job(SampleJob, path), print)
    assert json.loads((tmp_path / "out" / "completions.json").read_text()) == written
    found = written["completions"]
    assert [(c["prompt"], c["seed"]) for c in found] == [(p, s) for p in (0, 1) for s in (7, 8, 9)]
    path.write_text(json.dumps(job | {"count": 1, "seed": 8}))
    alone = sample(read_job(SampleJob, path), print)["completions"]
    assert [c["ids"] for c in alone] == [found[1]["ids"], found[4]["ids"]]
