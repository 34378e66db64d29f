"""Runs that begin from an earlier model: parts of a plan, extensions, starts from its weights; and what is refused."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from gpt.config import ModelConfig
from gpt.errors import GPTError
from gpt.jobfile import read_job
from gpt.jobs import RunJob
from gpt.metrics import read_lines
from gpt.start import Start, shaped_like, state_digest, weights_digest
from gpt.stop import Stop
from gpt.trainer import StopRequested, Trainer
from tests.gpt_toys import change_job, tiny_model_open, write_job

TRAINING = {"steps": 50, "learning_rate": 1e-2, "evaluation_every": 8, "log_every": 5, "batch_size": 4}
MODEL = {"dropout": 0.1}


def trainer_in(folder: Path, start: dict[str, str | float] | None = None, model=MODEL, **training) -> Trainer:
    path = change_job(write_job(folder, model, **(TRAINING | training)), start=start or {})
    return Trainer(read_job(RunJob, path), Stop(), lambda line: None)


def final(folder: Path) -> Path:
    return folder / "run" / "final"


def files(folder: Path) -> dict[str, bytes]:
    found = final(folder)
    return {str(path.relative_to(found)): path.read_bytes() for path in sorted(found.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of one run of all 50 steps."""
    folder = tmp_path_factory.mktemp("whole")
    trainer_in(folder).run()
    return folder


@pytest.fixture(scope="module")
def part(tmp_path_factory) -> Path:
    """The folder of the first 20 of 50 steps."""
    folder = tmp_path_factory.mktemp("part")
    trainer_in(folder, stop_at=20).run()
    return folder


def continuing(folder: Path) -> dict[str, str | float]:
    return {"continue_from": str(final(folder) / "state")}


def extending(folder: Path, share: float = 0.5) -> dict[str, str | float]:
    state = final(folder) / "state"
    return {"extends": str(state), "extends_digest": state_digest(state), "rate_share": share}


def beginning_with(folder: Path) -> dict[str, str | float]:
    return {"init_from": str(folder), "init_digest": weights_digest(folder)}


def test_three_parts_equal_one_whole(whole, part, tmp_path):
    second, third = tmp_path / "second", tmp_path / "third"
    trainer_in(second, continuing(part), stop_at=40).run()
    trainer_in(third, continuing(second)).run()
    assert files(third) == files(whole)
    assert {json.loads(files(f)["state/state.json"])["step"] for f in (part, second, third)} == {20, 40, 50}
    assert files(second)["model.safetensors"] != files(part)["model.safetensors"]
    assert json.loads((part / "run" / "summary.json").read_text())["steps"] == 20


def test_a_part_publishes_the_best_it_has_seen_though_its_end_is_no_validation_step(part):
    evaluations = [line for line in read_lines(part / "run" / "metrics.jsonl") if line["kind"] == "evaluation"]
    assert [line["step"] for line in evaluations] == [8, 16, 20]
    best = min(evaluations, key=lambda line: line["val_loss"])["step"]
    assert json.loads((part / "run" / "summary.json").read_text())["best_step"] == best == 20
    assert json.loads(files(part)["state/state.json"])["state"]["best_step"] == 16  # which alone the plan knows


def run_until(trainer: Trainer, step: int) -> None:
    """Ask a run to stop after a step; it saves and leaves."""
    after = trainer._after_update

    def stop_there(norm):
        after(norm)
        trainer.stop.reason = "a test" if trainer.learner.step == step else None

    trainer._after_update = stop_there
    with pytest.raises(StopRequested, match=f"after step {step};"):
        trainer.run()


def test_a_part_that_is_stopped_goes_on_from_its_own_checkpoint(whole, part, tmp_path):
    trainer = trainer_in(tmp_path, continuing(part))
    run_until(trainer, 33)
    resumed = Trainer(trainer.job, Stop(), lambda line: None)
    assert resumed.learner.step == 33 and resumed.begun_at == trainer.begun_at > 0
    resumed.run()
    assert files(tmp_path) == files(whole)


def test_parts_without_validation_text_equal_the_whole(tmp_path):
    made = {}
    for name, begun, end in (("whole", None, 12), ("first", None, 8), ("second", "first", 12)):
        start = continuing(tmp_path / begun) if begun else {}
        path = change_job(write_job(tmp_path / name, MODEL, **TRAINING | {"steps": 12, "stop_at": end}), start=start)
        change_job(path, **{"sources__made-up__validation": []})
        Trainer(read_job(RunJob, path), Stop(), lambda line: None).run()
        made[name] = files(tmp_path / name)
    assert made["second"] == made["whole"]


def test_parts_of_a_plan_share_one_average_of_the_weights(tmp_path):
    steps = {"steps": 12, "evaluation_every": 4, "ema": 0.5}
    trainer_in(tmp_path / "whole", **steps).run()
    trainer_in(tmp_path / "first", **steps, stop_at=6).run()
    trainer_in(tmp_path / "second", continuing(tmp_path / "first"), **steps).run()
    assert "state/average.safetensors" in files(tmp_path / "whole")
    assert files(tmp_path / "second") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_digest": "data-2"}, ["data_digest is 'data-2' and was 'data-1'", "init_from"]),
        ({"tokenizer_digest": "t-2"}, ["tokenizer_digest is 't-2' and was 'tokenizer-1'"]),
        ({"training__learning_rate": 0.5}, ["training.learning_rate is 0.5 and was 0.01"]),
        ({"training__steps": 60}, ["training.steps is 60 and was 50"]),
        ({"model__dropout": 0.3}, ["model.dropout is 0.3 and was 0.1"]),
        ({"training__stop_at": 20}, ["is of step 20", "ends at step 20", "at most 50"]),
    ],
)
def test_another_plan_is_not_gone_on_with(part, tmp_path, changes, words):
    path = change_job(write_job(tmp_path, MODEL, **TRAINING), start=continuing(part), **changes)
    with pytest.raises(GPTError) as refusal:
        Trainer(read_job(RunJob, path), Stop(), print)
    assert all(word in str(refusal.value) for word in [*words, str(final(part))]) and "\n" not in str(refusal.value)


def test_bad_steps_soon_after_a_part_begins_go_back_to_its_beginning(part, tmp_path):
    trainer = trainer_in(tmp_path, continuing(part), stop_at=30)
    honest, learner = trainer.learner.loss_sum, trainer.learner
    learner.loss_sum = lambda i, t: (
        honest(i, t) * (float("nan") if learner.step in (21, 22, 23) and learner.rate_scale == 1 else 1)
    )
    trainer.run()
    assert (learner.step, learner.rate_scale) == (30, 0.5)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["skipped_steps"] == 3


def test_an_extension_goes_on_with_data_and_state_and_lowers_the_loss(tmp_path):
    """With much text for so short a training there is something left to learn."""
    base, more = tmp_path / "base", tmp_path / "more"
    trainer_in(base, model={"dropout": 0.0}, steps=16).run()
    extended = trainer_in(more, extending(base), {"dropout": 0.0}, steps=24, warmup_share=0.25, decay_share=0.75)
    learner = extended.learner
    assert (learner.first, learner.step) == (16, 0)
    state = trainer_in(base, model={"dropout": 0.0}, steps=16).learner
    assert all(torch.equal(t, learner.optimizer.tensors()[n]) for n, t in state.optimizer.tensors().items())
    seen = []
    honest = learner.batches.batch
    learner.batches.batch = lambda step, *rows: (seen.append(step), honest(step, *rows))[1]
    extended.run()
    assert seen == list(range(16, 40))
    lines = read_lines(more / "run" / "metrics.jsonl")
    rates = {line["step"]: line["learning_rate"] for line in lines if line["kind"] == "train"}
    # half of 0.01, reached in 6 steps, then falling to 5% of it over 18
    by_hand = {1: 0.005 / 6, 5: 0.005 * 5 / 6, 10: 0.005 * (0.05 + 0.95 * 15 / 18), 24: 0.005 * (0.05 + 0.95 / 18)}
    assert {step: rates[step] for step in by_hand} == pytest.approx(by_hand)
    losses = [json.loads((f / "run" / "summary.json").read_text())["val_loss"] for f in (base, more)]
    assert losses[1] < losses[0] - 0.05


def test_an_extension_that_is_stopped_goes_on_at_its_own_rate(whole, tmp_path):
    trainer_in(tmp_path / "through", extending(whole), steps=10).run()
    stopped = trainer_in(tmp_path / "stopped", extending(whole), steps=10)
    run_until(stopped, 4)
    Trainer(stopped.job, Stop(), lambda line: None).run()
    assert files(tmp_path / "stopped") == files(tmp_path / "through")


def test_an_extension_never_publishes_worse_than_it_began_with(whole, tmp_path):
    trainer_in(tmp_path, extending(whole, 1.0), steps=16).run()  # whole has overfitted before its end
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert found["best_step"] == 0
    assert files(tmp_path)["model.safetensors"] == files(whole)["model.safetensors"]


def test_extensions_are_told_apart_by_what_they_extend_and_how(whole, part, tmp_path):
    jobs = [read_job(RunJob, write_job(tmp_path, MODEL, **TRAINING))]
    for folder, share in ((whole, 0.5), (whole, 0.3), (part, 0.5)):
        start = Start(**{k: Path(v) if k == "extends" else v for k, v in extending(folder, share).items()})
        jobs.append(dataclasses.replace(jobs[0], start=start))
    identities = [json.dumps(job.identity(), sort_keys=True) for job in jobs]
    assert len(set(identities)) == 4 and not any(str(whole) in one for one in identities)


def test_what_cannot_be_extended_is_refused(whole, part, tmp_path):
    with pytest.raises(GPTError, match="of step 20 of a plan of 50: go on with that plan first"):
        trainer_in(tmp_path, extending(part))
    with pytest.raises(GPTError, match=r"model.context is 12 and was 16"):
        trainer_in(tmp_path, extending(whole), MODEL | {"context": 12})
    with pytest.raises(GPTError, match="extends_digest is 0000, but what lies in"):
        trainer_in(tmp_path, extending(whole) | {"extends_digest": "0000"})
    with pytest.raises(GPTError, match="no whole state"):
        trainer_in(tmp_path, {"continue_from": str(tmp_path)})
    with pytest.raises(GPTError, match=r"rate_share is 1.5, but it must be above 0"):
        trainer_in(tmp_path, extending(whole, 1.5))
    with pytest.raises(GPTError, match="extends is given without extends_digest"):
        trainer_in(tmp_path, {"extends": str(final(whole) / "state")})
    with pytest.raises(GPTError, match=r"rate_share is 0.5, but only a run that `extends`"):
        trainer_in(tmp_path, {"rate_share": 0.5})
    with pytest.raises(GPTError, match="leave init_from out"):
        trainer_in(tmp_path, extending(whole) | beginning_with(final(whole)))
    with pytest.raises(GPTError, match="stop_at is 51 and steps is 50"):
        change_job(write_job(tmp_path, MODEL, **TRAINING), training__stop_at=51)
        read_job(RunJob, tmp_path / "RUN.json")


def test_a_run_begins_with_the_weights_of_another_and_a_schedule_of_its_own(whole, tmp_path):
    trainer = trainer_in(tmp_path, beginning_with(final(whole)), steps=30)
    published = trainer_in(tmp_path / "other", beginning_with(final(whole))).learner.model.state_dict()
    ours = trainer.learner.model.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in published.items())
    best = json.loads((whole / "run" / "summary.json").read_text())["val_loss"]
    assert not any(t.any() for name, t in trainer.learner.optimizer.tensors().items() if "momentum" in name)
    assert trainer.learner.step == trainer.learner.first == 0
    trainer.diary.open(trainer.state)
    trainer._evaluate()
    assert trainer.best.record["best_loss"] == pytest.approx(best, abs=0.05)  # the padding rows of the table aside
    trainer.state.forget()
    trainer.run()
    start = json.loads(files(tmp_path)["state/state.json"])["identity"]["start"]
    assert start == {"init_digest": weights_digest(final(whole))}


def test_weights_that_do_not_fit_are_refused(whole, tmp_path):
    start = beginning_with(final(whole))
    with pytest.raises(GPTError, match=r"model.layers is 3, and there it is 2; .*"):
        trainer_in(tmp_path, start, MODEL | {"layers": 3, "tied": True})
    job = change_job(write_job(tmp_path, MODEL, **TRAINING), start=start, tokenizer_digest="tokenizer-2")
    with pytest.raises(GPTError, match=r"trained with tokenizer tokenizer-1, and this run's is tokenizer-2: .* Pin"):
        Trainer(read_job(RunJob, job), Stop(), print)
    with pytest.raises(GPTError, match="init_digest is 12, but what lies in"):
        trainer_in(tmp_path, start | {"init_digest": "12"})
    with pytest.raises(GPTError, match=r"holds no model.safetensors"):
        weights_digest(tmp_path)
    assert shaped_like(tiny_model_open(), final(whole)).feed_forward == 128
    trainer_in(tmp_path, start, {"dropout": 0.3, "context": 12})  # these two may differ


def test_a_run_begins_with_gpt2s_weights_from_a_folder(whole, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    vocab = tiny_model_open().vocab_size or json.loads((whole / "RUN.json").read_text())["model"]["vocab_size"]
    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=vocab, n_positions=16, n_embd=32, n_layer=2, n_head=2)).eval()
    folder, shards = tmp_path / "gpt2", tmp_path / "shards"
    theirs.save_pretrained(folder)
    theirs.save_pretrained(shards, max_shard_size="40kB")
    assert not (shards / "model.safetensors").exists() and weights_digest(shards) != weights_digest(folder)
    shape = shaped_like(ModelConfig(preset="gpt2"), folder)
    assert shape.bias and (shape.layers, shape.width, shape.heads, shape.context) == (2, 32, 2, 16)
    model = dataclasses.asdict(dataclasses.replace(shape, dropout=0.1, vocab_size=vocab))
    ids = torch.arange(1, 13)[None]
    with torch.no_grad():
        expected = theirs(ids).logits
        for place in (folder, shards):
            trainer = trainer_in(tmp_path / "run of" / place.name, beginning_with(place), model, steps=2)
            ours = trainer.learner.model.eval()(ids)[..., :vocab]
            assert torch.allclose(ours, expected, atol=1e-5) and expected.std() > 0.05
    trainer.run()
    assert (final(tmp_path / "run of" / "shards") / "model.json").exists()
    with pytest.raises(GPTError, match=r"model\.preset is 'modern', and there it is 'gpt2'\. Set the same"):
        trainer_in(tmp_path / "modern", beginning_with(folder))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(GPTError, match="type 'llama', but only 'gpt2' can be read"):
        shaped_like(ModelConfig(preset="gpt2"), folder)
