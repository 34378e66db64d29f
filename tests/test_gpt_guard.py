"""The overfit guard and the average of weights: when a run is cut short, what it returns to, and kills in between."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from gpt.best import Best, Score, describe_scores
from gpt.config import TrainingConfig
from gpt.ema import Average
from gpt.errors import GPTError
from gpt.guard import Guard, cut_schedule
from gpt.jobfile import read_job
from gpt.jobs import RunJob
from gpt.metrics import read_lines
from gpt.model import GPT
from gpt.plan import resolve
from gpt.schedule import learning_rate
from gpt.start import state_digest
from gpt.stop import Stop
from gpt.trainer import StopRequested, Trainer
from tests.gpt_toys import change_job, tiny_model, tiny_model_open, tiny_training, write_job

TRAINING = {"steps": 200, "learning_rate": 1e-2, "evaluation_every": 5, "batch_size": 4, "log_every": 7}
TRAINING |= {"decay_share": 0.1, "warmup_share": 0.05, "guard": True, "ema": 0.15}


def trainer_in(folder: Path, **changes) -> tuple[Trainer, list[str]]:
    said: list[str] = []
    path = folder / "RUN.json"
    if not path.exists():
        write_job(folder, {"dropout": 0.1}, **(TRAINING | changes))
    return Trainer(read_job(RunJob, path), Stop(), said.append), said


def result(folder: Path) -> dict[str, bytes]:
    final = folder / "run" / "final"
    return {str(path.relative_to(final)): path.read_bytes() for path in sorted(final.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def cut(tmp_path_factory) -> tuple[Path, list[str]]:
    """A run of overfitted text that the guard cuts short, and what it said."""
    folder = tmp_path_factory.mktemp("cut")
    trainer, said = trainer_in(folder)
    trainer.run()
    return folder, said


def test_a_loss_that_is_no_number_is_worse_than_any():
    model = GPT(tiny_model()).initialise(1)
    models, best = {"raw": model, "average": model}, Best()
    assert not best.hear(1, models, {"raw": Score(float("nan"), float("nan"))})
    assert best.record["best_loss"] is None and best.weights, "something to publish"
    scores = {"raw": Score(float("nan"), float("nan")), "average": Score(2.0, 1.0)}
    assert best.hear(2, models, scores) and best.record["best_weights"] == "average"
    assert not best.hear(3, models, {"raw": Score(float("inf"), 1.0)}) and best.record["best_step"] == 2
    assert describe_scores(scores) == {
        "val_loss": 2.0, "val_bpb": 1.0, "weights": "average", "raw_loss": None, "average_loss": 2.0,
    }  # fmt: skip


def test_going_back_keeps_what_bad_steps_have_led_to(tmp_path):
    trainer, _ = trainer_in(tmp_path)
    earlier = trainer.state.checkpoint({})
    trainer.learner.rate_scale = 0.5
    trainer.learner.optimizer.skipped.fill_(3)
    trainer.state.return_to(earlier)
    assert trainer.learner.rate_scale == 0.5 and int(trainer.learner.optimizer.skipped) == 3


def test_a_run_that_overfits_returns_to_its_best_state_and_decays(cut):
    folder, said = cut
    lines = read_lines(folder / "run" / "metrics.jsonl")
    (guard,) = [line for line in lines if line["kind"] == "guard"]
    best, steps = guard["best_step"], guard["steps"]
    assert guard["stopped_at"] == best + 4 * 5  # four evaluations, one every 5 steps
    assert steps == best + -(-best // 4) < 200
    words = f"Validation stopped improving at step {best} (seen at step {best + 20}): back to it, decaying over"
    assert [line for line in said if line.startswith(words)] == [f"{words} {steps - best} steps."]
    rates = {line["step"]: line["learning_rate"] for line in lines if line["kind"] == "train"}
    assert max(rates) == steps and rates[max(s for s in rates if s <= best)] == 1e-2
    falling = [rates[step] for step in sorted(rates) if step > best + 1]
    assert falling == sorted(falling, reverse=True) and falling[-1] < 0.2 * 1e-2
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)  # what was left behind is gone
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert (summary["steps"], summary["planned_steps"], summary["abandoned_steps"]) == (steps, 200, 20)
    assert summary["guard"].startswith(words) and summary["train_loss"] is not None
    losses = {line["step"]: line["val_loss"] for line in lines if line["kind"] == "evaluation"}
    assert summary["best_step"] == min(losses, key=losses.get) and steps in losses


class Killed(BaseException):
    """Stands for the process being gone."""


def killed(trainer: Trainer, name: str, when) -> None:
    """Run until a method is called (before it does anything) at a step for which `when` holds."""
    original = getattr(trainer, name)

    def kill(*arguments):
        if when(trainer):
            raise Killed
        return original(*arguments)

    setattr(trainer, name, kill)
    with pytest.raises(Killed):
        trainer.run()


def test_killed_around_the_cut_a_run_ends_with_the_same_bytes(cut, tmp_path):
    folder, _ = cut
    (guard,) = [line for line in read_lines(folder / "run" / "metrics.jsonl") if line["kind"] == "guard"]
    kills = [
        ("_evaluate", lambda t: t.learner.step == guard["best_step"] + 10),  # on the way that will be left
        ("_cut_short", lambda t: True),
        ("_save", lambda t: t.guard.cut is not None),  # between going back and saving that
        ("_after_update", lambda t: t.guard.cut is not None),
        ("_evaluate", lambda t: t.guard.cut is not None and t.learner.step > guard["best_step"]),
    ]
    for number, (name, when) in enumerate(kills):
        trainer, _ = trainer_in(tmp_path)
        assert (trainer.learner.step > 0) == (number > 0)
        if number == 1:  # most checkpoints come by the clock
            trainer.clock.since_save = lambda: 100.0
        killed(trainer, name, when)
    assert trainer_in(tmp_path)[0].guard.cut == {key: guard[key] for key in ("best_step", "stopped_at", "steps")}
    trainer_in(tmp_path)[0].run()
    assert result(tmp_path) == result(folder)
    diaries = [read_lines(one / "run" / "metrics.jsonl") for one in (tmp_path, folder)]
    for found, expected in zip(*diaries, strict=True):
        assert all(found[key] == expected[key] for key in expected if key not in ("seconds", "tokens_per_s"))


def test_a_stop_request_after_the_cut_goes_on_by_the_short_schedule(cut, tmp_path):
    trainer, _ = trainer_in(tmp_path)
    cut_short = trainer._cut_short

    def and_stop():
        cut_short()
        trainer.stop.reason = "a test"

    trainer._cut_short = and_stop
    with pytest.raises(StopRequested):
        trainer.run()
    resumed, _ = trainer_in(tmp_path)
    assert resumed.state.training.steps < 200
    resumed.run()
    assert result(tmp_path) == result(cut[0])


def test_a_lost_best_checkpoint_is_told_and_the_run_decays_from_where_it_is(tmp_path):
    trainer, said = trainer_in(tmp_path)
    cut_short = trainer._cut_short

    def lose_it():
        shutil.rmtree(tmp_path / "run" / "checkpoints" / f"step-{trainer.guard.best_steps[-1]:09d}")
        cut_short()

    trainer._cut_short = lose_it
    trainer.run()
    assert any("cannot be read: decaying from step" in line for line in said)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["abandoned_steps"] == 0


def test_without_the_guard_a_run_goes_to_its_planned_end(tmp_path):
    trainer, _ = trainer_in(tmp_path, guard=False, ema=0.0, steps=80)
    trainer.run()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["steps"], summary["guard"], summary["best_weights"]) == (80, None, "raw")
    assert summary["best_step"] < 75


def test_a_run_that_was_cut_short_is_finished_and_can_be_extended(cut, tmp_path):
    folder, _ = cut
    state = folder / "run" / "final" / "state"
    steps = json.loads((folder / "run" / "summary.json").read_text())["steps"]
    path = write_job(tmp_path, {"dropout": 0.1}, **TRAINING)
    change_job(path, start={"continue_from": str(state)})
    with pytest.raises(
        GPTError, match=rf"of step {steps}, to which the guard has cut short its plan of 200: .* extend"
    ):
        Trainer(read_job(RunJob, path), Stop(), print)
    change_job(path, start={"extends": str(state), "extends_digest": state_digest(state)}, training__ema=0.3)
    extended = Trainer(read_job(RunJob, path), Stop(), print)
    assert (extended.learner.first, extended.learner.step, extended.state.training.steps) == (steps, 0, 200)
    assert (extended.guard.best_steps, extended.guard.cut, extended.best.record["best_step"]) == ([], None, 0)
    models = extended.state.models()
    ours, theirs = models["average"].state_dict(), models["raw"].state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)  # the average begins with what there is


def test_bad_steps_after_the_cut_go_back_to_a_milestone_whatever_the_clock_has_saved(cut, tmp_path):
    (guard,) = [line for line in read_lines(cut[0] / "run" / "metrics.jsonl") if line["kind"] == "guard"]
    results = []
    for name, clocked in (("a", False), ("b", True)):
        trainer, said = trainer_in(tmp_path / name)
        learner, honest = trainer.learner, trainer.learner.loss_sum
        learner.loss_sum = lambda i, t, one=trainer, honest=honest: (
            honest(i, t) * (float("nan") if one.guard.cut and one.learner.rate_scale == 1 else 1)
        )
        trainer.clock.since_save = lambda one=trainer, on=clocked: 100.0 if on and one.learner.step % 3 == 0 else 0.0
        trainer.run()
        assert any("not finite" in line and f"up to step {guard['best_step'] + 3}: going" in line for line in said)
        assert not any("cannot be read" in line for line in said)
        results.append(result(tmp_path / name))
    assert results[0] == results[1]


def test_a_part_of_a_plan_has_no_guard():
    plan = {"steps": 2000, "batch_size": 4}  # twelve epochs
    resolved = resolve(tiny_model_open(), TrainingConfig(**plan, stop_at=1000), 50, 10_000, 1000)[1]
    assert (resolved.guard, resolved.ema) == (False, 0.15)
    assert resolve(tiny_model_open(), TrainingConfig(**plan, stop_at=2000), 50, 10_000, 1000)[1].guard
    with pytest.raises(GPTError, match=r"training: guard is true and stop_at 5 is below steps \d+, .* leave"):
        resolve(tiny_model_open(), TrainingConfig(stop_at=5, guard=True, batch_size=4), 50, 10_000, 1000)
    with pytest.raises(ValueError, match=r"guard is true and stop_at 5"):
        TrainingConfig(steps=10, stop_at=5, guard=True)


def test_only_evaluations_at_the_constant_rate_count():
    guard = Guard(tiny_training(steps=100, warmup_share=0.2, decay_share=0.3, guard=True), is_scored=True)
    assert not guard.hear(5, True)
    assert not any(guard.hear(step, False) for step in (10, 15, 20, 30, 40))  # three of them from step 20 on
    assert not any(guard.hear(step, False) for step in (71, 75, 80))  # in the decay
    assert guard.hear(70, False)
    assert guard.cut_short(40, 70) == (
        "Validation stopped improving at step 40 (seen at step 70): back to it, decaying over 10 steps."
    )
    assert not guard.hear(45, False) and guard.training.steps == 50


def test_the_cut_schedule_by_hand():
    planned = tiny_training(steps=1000, warmup_share=0.1, decay_share=0.4, learning_rate=1.0, final_rate_share=0.0)
    short = cut_schedule(planned, 400)  # 100 steps of decay
    assert short.steps == 500
    assert [learning_rate(step, short) for step in (49, 99, 399, 400, 450, 499)] == pytest.approx(
        [0.5, 1, 1, 1, 0.5, 0.01]
    )
    assert cut_schedule(planned, 950).steps == 1000  # never longer than planned
    early = cut_schedule(planned, 50)  # in the warm-up
    assert early.steps == 63 and learning_rate(20, early) == pytest.approx(21 / 50)


@pytest.mark.parametrize(("epochs", "validation", "expected"), [(3.9, 1000, False), (4.1, 1000, True), (9, 0, False)])
def test_guard_and_average_are_on_where_text_is_repeated(epochs, validation, expected):
    steps = round(epochs * 10_000 / 64)
    open_training = TrainingConfig(steps=steps, batch_size=4)
    _, resolved = resolve(tiny_model_open(), open_training, 50, 10_000, validation)
    assert (resolved.guard, resolved.ema) == (expected, 0.15 if expected else 0.0)
    by_hand = TrainingConfig(steps=steps, batch_size=4, guard=not expected, ema=0.5)
    assert resolve(tiny_model_open(), by_hand, 50, 10_000, validation)[1].guard is not expected


def test_the_average_is_that_of_a_plain_loop():
    source = torch.nn.Linear(3, 2)
    average = Average(source, left_after_epoch=0.15, steps_per_epoch=8)
    slow = {name: weight.detach().double() for name, weight in source.named_parameters()}
    for step in range(20):
        with torch.no_grad():
            for weight in source.parameters():
                weight += torch.sin(weight + step)
        average.update()
        keep = 0.15**0.125  # after eight updates 0.15 is left
        slow = {name: keep * slow[name] + (1 - keep) * weight.double() for name, weight in source.named_parameters()}
    for name, weight in average.model.named_parameters():
        assert torch.allclose(weight.double(), slow[name], atol=1e-5) and not weight.requires_grad


def test_the_better_of_weights_and_average_is_kept(cut):
    lines = [line for line in read_lines(cut[0] / "run" / "metrics.jsonl") if line["kind"] == "evaluation"]
    assert all(line["val_loss"] == min(line["raw_loss"], line["average_loss"]) for line in lines)
    assert {line["weights"] for line in lines} == {"raw", "average"}
    summary = json.loads((cut[0] / "run" / "summary.json").read_text())
    best = next(line for line in lines if line["step"] == summary["best_step"])
    assert summary["best_weights"] == best["weights"]
    assert summary["val_loss"] == pytest.approx(best["val_loss"], rel=1e-5)  # the toy's sample is the whole split


def test_a_wrong_share_is_refused():
    with pytest.raises(ValueError, match=r"ema is 1.0, .* below 1"):
        TrainingConfig(ema=1.0)
