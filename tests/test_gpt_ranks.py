"""Several processes on one model: their sums and shares, and that they learn what one process does."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from gpt.batches import Batches
from gpt.jobfile import read_job
from gpt.jobs import RunJob
from gpt.learner import Learner
from gpt.metrics import read_lines
from gpt.ranks import ALONE, Ranks
from gpt.stop import Stop
from gpt.together import dismiss, follow, give_state, take_state
from gpt.trainer import StopRequested, Trainer
from tests.gpt_toys import VOCAB, documents, shard, tiny_model, tiny_training, write_job
from tests.rank_toys import together

CPU = torch.device("cpu")
MODEL = {"dropout": 0.0}
TRAINING = {"steps": 30, "learning_rate": 1e-2, "evaluation_every": 10, "log_every": 1, "batch_size": 6}


def learner(ranks: Ranks, dropout: float = 0.0, **training) -> Learner:
    model, plan = tiny_model(dropout=dropout), tiny_training(**training)
    batches = Batches({"a": [shard(documents(60))]}, {"a": 1.0}, 16, plan.batch_size, VOCAB, plan.seed)
    return Learner(model, plan, batches, CPU, ranks=ranks)


def digest(one: Learner) -> str:
    """Of weights and all of the optimizer's state."""
    tensors, _ = one.saved()
    state = hashlib.sha256()
    for group in sorted(tensors):
        for name in sorted(tensors[group]):
            state.update(tensors[group][name].detach().numpy().tobytes())
    return state.hexdigest()


def curve(ranks: Ranks, steps: int = 12, **settings) -> tuple[list[float], str]:
    """The loss of each step, and the digest of what is learned in the end."""
    one = learner(ranks, **settings)
    losses = []
    for _ in range(steps):
        one.update()
        losses.append(one.take_loss())
    return losses, digest(one)


def test_sums_and_shares_agree_with_plain_counting(monkeypatch):
    monkeypatch.setattr("gpt.ranks.BUCKET", 10)  # so that there are several

    def work(ranks: Ranks):
        tensors = [torch.full(shape, 10.0**ranks.number) for shape in ((2, 3), (), (4,), (3, 5), (1,))]
        ranks.sum(tensors)
        stack = torch.arange(5 * 2 * 3.0).view(5, 2, 3)
        doubled = ranks.map_stack(lambda part: part * 2 if len(part) < 5 else part * 0, stack)
        flags = [ranks.any(False), ranks.any(ranks.number == 2)]
        content = ranks.from_first({"of": ranks.number})
        largest = ranks.largest([ranks.number, -ranks.number])
        return [t.tolist() for t in tensors], bool((doubled == stack * 2).all()), flags, content, largest, ranks.rows(7)

    answers = together(3, work)
    for sums, is_doubled, flags, content, largest, _ in answers:
        assert sums == [[[111.0] * 3] * 2, 111.0, [111.0] * 4, [[111.0] * 5] * 3, [111.0]]
        assert is_doubled and flags == [False, True] and content == {"of": 0} and largest == [2, 0]
    assert [rows for *_, rows in answers] == [(0, 2), (2, 4), (4, 7)]


@pytest.mark.parametrize("optimizer", ["muon", pytest.param("adamw", marks=pytest.mark.long)])
def test_the_loss_curve_does_not_depend_on_the_number_of_processes(optimizer):
    """Batches of 6 rows do not divide by 4, and passes of 2 rows are several even there."""
    settings = {"batch_size": 6, "micro_batch": 2, "optimizer": optimizer, "learning_rate": 5e-3}
    (alone, _), *_ = together(1, lambda ranks: curve(ranks, **settings))
    assert alone[-1] < alone[0] - 0.1, "it must learn, or equal curves mean nothing"
    for count in (2, 4):
        answers = together(count, lambda ranks: curve(ranks, **settings))
        assert {state for _, state in answers} == {answers[0][1]}, "all processes have the same bits"
        for losses, _ in answers:
            assert losses == pytest.approx(alone, abs=1e-6)


def test_more_processes_than_rows_and_dropout_of_equal_passes():
    settings = {"batch_size": 2, "micro_batch": 1, "dropout": 0.2}
    (alone, _), *_ = together(1, lambda ranks: curve(ranks, **settings))
    plain = curve(ALONE, **(settings | {"dropout": 0.0}))[0]
    assert alone != pytest.approx(plain, abs=1e-3)
    for losses, _ in together(3, lambda ranks: curve(ranks, **settings)):
        assert losses == pytest.approx(alone, abs=1e-6)


def test_short_memory_in_one_process_halves_the_passes_of_all():
    def work(ranks: Ranks):
        one = learner(ranks, batch_size=8)
        honest = one.loss_sum

        def short(ids, targets):
            if ranks.number == 1 and len(ids) > 1:
                raise torch.OutOfMemoryError("made up")
            return honest(ids, targets)

        one.loss_sum = short
        one.update()
        return one.micro_batch, one.take_loss()

    (_, alone), *_ = together(1, work)
    answers = together(2, work)
    assert [size for size, _ in answers] == [1, 1]
    assert [loss for _, loss in answers] == pytest.approx([alone] * 2, abs=1e-6)

    def nothing_helps(ranks: Ranks):
        one = learner(ranks, batch_size=2)

        def short(ids, targets):
            raise torch.OutOfMemoryError("made up")

        one.loss_sum = short if ranks.number else one.loss_sum
        with pytest.raises(torch.OutOfMemoryError):
            one.update()

    together(2, nothing_helps)


def test_a_state_is_taken_over_bit_by_bit():
    def work(ranks: Ranks):
        one = learner(ranks)
        if ranks.is_first:
            one.step, one.first, one.rate_scale, one.rate_share, one.micro_batch = 5, 70, 0.5, 0.25, 3
            for tensor in one.optimizer.tensors().values():
                tensor += 2
            one.model.head.weight.data += 1
            give_state(ranks, one)
        else:
            take_state(ranks, one)
        return digest(one), one.step, one.first, one.rate_scale, one.rate_share, one.micro_batch

    first, second = together(2, work)
    assert first == second and first[1:] == (5, 70, 0.5, 0.25, 3)


def trained(folder: Path, count: int, poisoned: range = range(0), stop_at: int | None = None) -> list[str]:
    """Run the job in `folder` with so many processes; what each learner held in the end."""
    job = read_job(RunJob, folder / "RUN.json")

    def poison(one: Learner) -> None:
        honest = one.loss_sum
        one.loss_sum = lambda i, t: (
            honest(i, t)
            * (float("nan") if one.step in poisoned and one.rate_scale == 1 and one.ranks.number == count - 1 else 1)
        )

    def asking(one: Learner, stop: Stop) -> None:
        update = one.update

        def update_and_ask() -> torch.Tensor:
            norm = update()
            if one.step == stop_at and one.ranks.number == count - 1:
                stop.reason = "a test"
            return norm

        one.update = update_and_ask

    def work(ranks: Ranks) -> str:
        stop = Stop()
        if ranks.is_first:
            trainer = Trainer(job, stop, lambda line: None, ranks)
            poison(trainer.learner)
            asking(trainer.learner, stop)
            try:
                trainer._train()
                held = digest(trainer.learner)
                trainer._finish()
            except StopRequested:
                held = digest(trainer.learner)
            finally:
                trainer.saver.join()
            dismiss(ranks, 0)
            return held
        from gpt.assemble import assemble

        one = assemble(job, CPU, ranks)
        poison(one)
        asking(one, stop)
        assert follow(ranks, lambda: one, stop) == 0
        return digest(one)

    return together(count, work)


def losses(folder: Path) -> dict[int, float]:
    lines = read_lines(folder / "run" / "metrics.jsonl")
    return {line["step"]: line["loss"] for line in lines if line["kind"] == "train"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The folder of a run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    write_job(folder, MODEL, **TRAINING)
    trained(folder, 1)
    return folder


@pytest.mark.parametrize(("before", "after"), [(2, 1), pytest.param(1, 2, marks=pytest.mark.long)])
def test_a_run_goes_on_with_another_number_of_processes(alone, tmp_path, before, after):
    write_job(tmp_path, MODEL, **TRAINING)
    held = trained(tmp_path, before, stop_at=13)  # asked of the last process, so that several stop one step later
    assert len(set(held)) == 1 and not (tmp_path / "run" / "final").exists()
    assert max(losses(tmp_path)) == (13 if before == 1 else 14)
    held = trained(tmp_path, after)
    assert len(set(held)) == 1
    assert losses(tmp_path) == pytest.approx(losses(alone), abs=1e-6)
    ours, theirs = (json.loads((f / "run" / "summary.json").read_text()) for f in (tmp_path, alone))
    assert ours["val_loss"] == pytest.approx(theirs["val_loss"], abs=1e-6)
    assert ours["best_step"] == theirs["best_step"]


def test_bad_steps_of_one_process_send_all_back(tmp_path):
    write_job(tmp_path, MODEL, **(TRAINING | {"decay_share": 0.0, "warmup_share": 0.0}))
    held = trained(tmp_path, 2, poisoned=range(12, 30))
    assert len(set(held)) == 1
    lines = [line for line in read_lines(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "train"]
    assert {line["learning_rate"] for line in lines if line["step"] > 13} == {5e-3} and lines[-1]["step"] == 30
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["skipped_steps"] == 3
