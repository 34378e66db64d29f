"""The objective `masked`: what is hidden, seen, learnt, scored and filled in, against counting and slow loops."""

import dataclasses
import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import gpt.masked_scoring
import gpt.scoring
from gpt.batches import Batches
from gpt.config import ModelConfig
from gpt.errors import GPTError
from gpt.evaluate import evaluate
from gpt.filling import fill
from gpt.generate import continuations, stream
from gpt.huggingface import write_pretrained
from gpt.jobfile import read_job
from gpt.jobs import EvaluationJob, RunJob
from gpt.layers import SHORT, attend
from gpt.learner import Learner
from gpt.masked_scoring import PASSES, cut_masked_windows
from gpt.masking import hide, inputs_and_targets, targets_per_row
from gpt.metrics import read_lines
from gpt.model import GPT
from gpt.scoring import all_passages, masked_accuracy, means, score
from gpt.start import weights_digest
from gpt.stop import Stop
from gpt.trainer import StopRequested, Trainer
from gpt.weights import load_model, save_model
from tests.gpt_toys import EOT, VOCAB, change_job, documents, random_model, shard, tiny_model, tiny_training, write_job

CPU = torch.device("cpu")
ONES = np.array([0] + [1] * (VOCAB - 1))
PRESETS = ["modern", "gpt2"]
SENTENCE = [3, 14, 15, 9, 26, 5, 35, 8, 9, 7, 9, 32, 38, 46, 2]


def masked(preset: str = "modern", **changes) -> ModelConfig:
    return tiny_model(preset, objective="masked", **changes)


def learner(texts, preset="modern", model=None, **training) -> Learner:
    plan = tiny_training(preset, **training)
    shape = masked(preset, **(model or {}))
    batches = Batches({"a": [shard(texts)]}, {"a": 1.0}, shape.context, plan.batch_size, VOCAB, plan.seed)
    return Learner(shape, plan, batches, CPU)


@pytest.fixture(scope="module")
def memorised() -> GPT:
    """A model that has read one sentence, again and again."""
    one = learner([[EOT, *SENTENCE]] * 40, steps=220, batch_size=16, learning_rate=1e-2, weight_decay=0.0)
    for _ in range(220):
        one.update()
    return one.model.eval()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("context", [16, SHORT + 20])
def test_only_a_masked_model_sees_what_comes_later(preset, context):
    ids = torch.randint(1, VOCAB, (1, context), generator=torch.Generator().manual_seed(1))
    changed = ids.clone()
    changed[0, -1] = ids[0, -1] % (VOCAB - 1) + 1
    for objective in ("causal", "masked"):
        model = random_model(tiny_model(preset, objective=objective, context=context))
        with torch.no_grad():
            moved = (model(ids) - model(changed))[0].abs().amax(-1)
        assert bool((moved[:-1] > 1e-6).all()) == (objective == "masked")
        assert bool((moved[:-1] == 0).all()) == (objective == "causal")


@pytest.mark.parametrize("length", [1, 7, SHORT, SHORT + 1])
def test_attention_to_all_is_the_formula(length):
    query, key, value = (torch.randn(2, 3, length, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    weights = torch.einsum("rhid,rhjd->rhij", query.double(), key.double()).div(math.sqrt(8)).softmax(-1)
    expected = torch.einsum("rhij,rhjd->rhid", weights, value.double())
    assert (attend(query, key, value, causal=False) - expected).abs().max() < 1e-5


def test_hidden_tokens_are_counted_exactly_and_of_three_kinds():
    ids = np.random.default_rng(0).integers(0, VOCAB, (200, 100))
    kept = ids.copy()
    both = hide(ids, VOCAB, seed=5)
    assert both.shape == (200, 2, 100) and np.array_equal(ids, kept)
    read, targets = both[:, 0], both[:, 1]
    chosen = targets != -100
    assert (chosen.sum(1) == 15).all() and np.array_equal(targets[chosen], ids[chosen])
    assert np.array_equal(read[~chosen], ids[~chosen])
    places = chosen.sum(0)  # each is drawn in about 15% of 200 rows
    assert places.min() > 10 and places.max() < 55
    shares = [(read[chosen] == VOCAB).mean(), (read[chosen] == ids[chosen]).mean()]
    # of 3,000 targets; a random id is the true one in 1 of 50
    assert shares == pytest.approx([0.8, 0.1 + 0.1 / VOCAB], abs=0.03)
    replaced = read[chosen & (read != VOCAB) & (read != ids)]
    assert len(set(replaced.tolist())) > VOCAB * 0.9 and replaced.max() < VOCAB
    assert not np.array_equal(hide(ids, VOCAB, 6), both) and np.array_equal(hide(ids, VOCAB, 5), both)
    assert [targets_per_row(n) for n in (2, 16, 20, 128, 1024)] == [1, 2, 3, 19, 154]


@pytest.mark.parametrize("name", [("modern", True), ("modern", False), ("gpt2", True)])
def test_the_loss_is_that_of_the_hidden_tokens_alone(name):
    preset, tied = name
    model = random_model(masked(preset, tied=tied))
    both = torch.from_numpy(hide(np.random.default_rng(0).integers(0, VOCAB, (3, 16)), VOCAB, seed=5))
    ids, targets = inputs_and_targets(both)
    with torch.no_grad():
        chances = F.log_softmax(model(ids).double(), -1)
    expected = -sum(float(chances[r, i, targets[r, i]]) for r in range(3) for i in range(16) if targets[r, i] >= 0)
    assert model.loss_sum(ids, targets).item() == pytest.approx(expected, rel=1e-5)
    plan = tiny_training(preset, batch_size=3)
    batches = Batches({"a": [shard(documents(9))]}, {"a": 1.0}, 16, 3, VOCAB, 1)
    in_pieces = Learner(model.config, plan, batches, CPU, logits_bytes=64 * 4 * 2)  # two rows of logits at a time
    in_pieces.model.load_state_dict(model.state_dict())
    assert in_pieces.loss_sum(ids, targets).item() == pytest.approx(expected, rel=1e-5)


def test_the_batch_is_the_same_however_it_is_split():
    texts = documents(60)
    whole, parts = (learner(texts, batch_size=12, micro_batch=size) for size in (12, 5))
    assert whole.tokens_per_step == 12 * 16
    for _ in range(5):
        norms = whole.update(), parts.update()
        assert float(norms[0]) == pytest.approx(float(norms[1]), rel=1e-4)
    loss = whole.take_loss()
    assert loss == pytest.approx(parts.take_loss(), rel=1e-6)
    assert 2 < loss < math.log(64) + 0.2  # the mean over hidden tokens


def test_every_step_hides_other_tokens():
    one = learner(documents(60))
    batch, seen = one.batches.batch(0), []
    one.batches.batch = lambda step: batch
    one.loss_sum = lambda ids, targets: seen.append(targets.clone()) or one.model.loss_sum(ids, targets)
    for _ in range(3):
        one.update()
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])


def test_a_text_is_learnt(memorised):
    scores = score(memorised, all_passages([shard([[EOT, *SENTENCE]])]), ONES, CPU)
    assert scores.shape == (1, 4) and scores[0, 1] == len(SENTENCE)
    assert masked_accuracy(scores)["masked_accuracy"] > 0.99 and means(scores)[0] < 0.3


def test_gaps_of_a_learnt_sentence_are_filled(memorised):
    gap = VOCAB
    broken = list(SENTENCE)
    for place in (2, 3, 9, 12):
        broken[place] = gap
    for prompt in (broken, [EOT, *broken]):
        assert fill(memorised, prompt, 1, 0.0, 0, 1.0, 1, EOT) == SENTENCE
    assert continuations(memorised, [broken, SENTENCE[:10]], 5, 0.3, 5, 1.0, [1, 2], EOT)[0] == SENTENCE
    assert list(stream(memorised, SENTENCE[:10], 5, 0.0, eot_id=EOT)) == SENTENCE[10:]


def test_filling_is_seeded_takes_any_length_and_gives_no_mark():
    model = random_model(masked())
    drawn = [fill(model, [5, 6], 50, 1.0, 0, 1.0, seed, EOT) for seed in (1, 1, 2)]  # beyond the context of 16
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 50 and all(0 < token < VOCAB for token in drawn[0])
    with pytest.raises(GPTError, match=r"has 21 tokens, but the model sees 16"):
        fill(model, [5] * 19 + [VOCAB], 1, 1.0, 0, 1.0, 1, EOT)
    with pytest.raises(GPTError, match="id 51, but the model knows ids 0 to 50"):
        fill(model, [51], 1, 1.0, 0, 1.0, 1, EOT)
    with pytest.raises(GPTError, match="id 50, but the model knows ids 0 to 49"):
        list(stream(random_model(tiny_model()), [VOCAB], 1))


def test_only_the_least_sure_guesses_are_hidden_again(monkeypatch):
    model, counts = random_model(masked()), []
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda ids: counts.append(int((ids == VOCAB).sum())) or hidden(ids))
    fill(model, [VOCAB] * 12, 1, 0.0, 0, 1.0, 1, EOT)
    assert counts == [12, 10, 9, 8, 7, 6, 4, 3, 2, 1]


@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(2, 20))
def test_windows_count_every_token_once_with_both_sides(lengths, context):
    counted = Counter()
    for window in cut_masked_windows(lengths, context):
        length = lengths[window.passage]
        assert 0 <= window.begin <= window.first < window.last <= window.end <= length
        assert window.end - window.begin <= context
        for place in range(window.first, window.last):
            counted[window.passage, place] += 1
            assert window.begin == 0 or place - window.begin >= context // 4
            assert window.end == length or window.end - place > context // 4
    assert counted == {(p, place): 1 for p, length in enumerate(lengths) for place in range(1, length)}


@pytest.mark.parametrize("preset", PRESETS)
def test_scores_are_those_of_every_token_hidden_once(preset, monkeypatch):
    model = random_model(masked(preset, dropout=0.5)).train()  # dropout must not touch a score
    texts = [[EOT], [EOT, 4], *documents(7, seed=4, longest=70)]
    passages = all_passages([shard(texts)])
    readings = []
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda ids: readings.append(ids.clone()) or hidden(ids))
    monkeypatch.setattr(gpt.scoring, "TOKENS_AT_ONCE", 80)  # several batches
    found = score(model, passages, ONES, CPU)
    assert model.training and (found[0] == 0).all()
    assert found[:, 1].tolist() == found[:, 2].tolist() == [len(text) - 1 for text in texts]
    share = sum(int((ids == VOCAB).sum()) for ids in readings) / sum(ids.numel() for ids in readings)
    assert 0.1 < share < 0.25  # little more than a seventh, for short texts have less than seven tokens
    assert not any((ids[:, 0] == VOCAB).any() for ids in readings if ids.shape[1] < 16)  # a mark is only read
    model.eval()
    short = passages[1]  # of one token: the only reading is known
    with torch.no_grad():
        chances = model(torch.tensor([[EOT, VOCAB]]))[0, 1, :VOCAB].double().log_softmax(-1)
    assert found[1, 0] == pytest.approx(-float(chances[4]), rel=1e-5) and len(short) == 2
    alone = np.concatenate([score(model, [passage], ONES, CPU) for passage in reversed(passages)])[::-1]
    assert alone == pytest.approx(found, rel=1e-5)


def test_scores_agree_with_a_loop_over_hidden_tokens(monkeypatch):
    model = random_model(masked())
    text = [EOT, *range(1, 16)]  # fills one window; its tokens are all different
    readings = []
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda ids: readings.extend(ids.tolist()) or hidden(ids))
    nats, tokens, _, right = score(model, all_passages([shard([text])]), ONES, CPU)[0]
    monkeypatch.setattr(model, "hidden", hidden)
    expected, correct, places = 0.0, 0, []
    assert len(readings) == PASSES
    for reading in readings:
        with torch.no_grad():
            chances = model(torch.tensor([reading]))[0, :, :VOCAB].double().log_softmax(-1)
        for place in (i for i, token in enumerate(reading) if token == VOCAB):
            places.append(place)
            expected -= float(chances[place, text[place]])
            correct += int(chances[place].argmax()) == text[place]
    assert sorted(places) == list(range(1, 16)) and tokens == 15
    assert (nats, right) == (pytest.approx(expected, rel=1e-5), correct)


def test_the_row_of_hidden_tokens_is_saved(tmp_path):
    config = masked(vocab_size=64)
    assert (config.table_rows, config.padded_vocab, tiny_model(vocab_size=64).padded_vocab) == (65, 128, 64)
    model = random_model(config)
    save_model(tmp_path, config, model.state_dict())
    again = load_model(tmp_path)
    assert torch.equal(again.embedding.weight[:65], model.embedding.weight[:65])
    assert not again.embedding.weight[65:].any()


def test_what_a_masked_model_cannot_do_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"objective is 'masked', but preset 'bigram'"):
        ModelConfig(preset="bigram", objective="masked")
    with pytest.raises(ValueError, match="objective is 'mask', but it must be one of 'causal', 'masked'"):
        ModelConfig(objective="mask")
    config = masked()
    with pytest.raises(GPTError, match=r"objective is 'masked', but no class of transformers .*objective=causal"):
        write_pretrained(tmp_path, config, random_model(config).state_dict(), EOT)
    assert not list(tmp_path.iterdir())
    save_model(tmp_path, config, random_model(config).state_dict())
    job = write_job(tmp_path / "run", steps=3)
    change_job(job, start={"init_from": str(tmp_path), "init_digest": weights_digest(tmp_path)})
    with pytest.raises(GPTError, match=r"model.objective is 'causal', and there it is 'masked'"):
        Trainer(read_job(RunJob, job), Stop(), print)


def test_a_stopped_run_ends_with_the_same_bytes_and_is_evaluated(tmp_path):
    training = {"steps": 12, "evaluation_every": 4, "log_every": 3}
    model = {"objective": "masked", "dropout": 0.1}
    final = {}
    for name in ("whole", "stopped"):
        job = write_job(tmp_path / name, model, **training)
        change_job(job, sampling={"prompts": [[], [5, VOCAB, 6]], "steps": [0, 12], "tokens": 4})
        if name == "stopped":
            trainer = Trainer(read_job(RunJob, job), Stop(), print)
            update = trainer.learner.update

            def update_and_ask(trainer=trainer, update=update):
                if trainer.learner.step == 6:
                    trainer.stop.reason = "test"
                return update()

            trainer.learner.update = update_and_ask
            with pytest.raises(StopRequested):
                trainer.run()
        Trainer(read_job(RunJob, job), Stop(), print).run()
        folder = tmp_path / name / "run" / "final"
        final[name] = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert final["whole"] == final["stopped"]
    run = tmp_path / "whole" / "run"
    lines = [line for line in read_lines(run / "metrics.jsonl") if line["kind"] == "evaluation"]
    assert len(lines) == 3 and all(0 <= line["masked_accuracy"] <= 1 for line in lines)
    samples = read_lines(run / "samples.jsonl")
    assert [len(line["ids"]) for line in samples] == [4, 3, 4, 3]
    assert all(line["ids"][0] == 5 and line["ids"][2] == 6 for line in samples[1::2])
    content = json.loads(job.read_text())
    judge = {key: content[key] for key in ("sources", "token_bytes", "eot_id")}
    judge |= {"model_dir": str(run / "final"), "out": str(tmp_path / "out"), "runtime": {"device": "cpu", "threads": 1}}
    (tmp_path / "EVAL.json").write_text(json.dumps(judge))
    result = evaluate(read_job(EvaluationJob, tmp_path / "EVAL.json"), print)
    summary = json.loads((run / "summary.json").read_text())
    assert result["masked_accuracy"] == summary["masked_accuracy"] and result["loss"] == summary["val_loss"]
    assert set(result) - {"sources"} == set(result["sources"]["made-up"])
    assert np.load(tmp_path / "out" / "passages.npy").shape == (12, 4)
    assert dataclasses.asdict(read_job(RunJob, job).model)["objective"] == "masked"
