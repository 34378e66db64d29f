"""Saving beside training: what is written is the state as it was, one write at a time, and no failure is lost."""

import threading
from pathlib import Path

import pytest
import torch

from gpt.checkpoint import Checkpoint, CheckpointStore
from gpt.errors import GPTError
from gpt.jobfile import read_job
from gpt.jobs import RunJob
from gpt.metrics import read_lines
from gpt.saving import BackgroundSaver
from gpt.stop import Stop
from gpt.trainer import StopRequested, Trainer
from tests.gpt_toys import write_job

TRAINING = {"steps": 24, "learning_rate": 1e-2, "evaluation_every": 6, "log_every": 5, "batch_size": 4}


def trainer_in(folder: Path, **training) -> Trainer:
    job = write_job(folder, {"dropout": 0.1}, **(TRAINING | training))
    return Trainer(read_job(RunJob, job), Stop(), lambda line: None)


def made(step: int, weights: torch.Tensor) -> Checkpoint:
    return Checkpoint(step, {"weights": {"w": weights}}, {"rate": 0.5}, {})


def test_what_is_written_is_what_was_there_and_writes_never_overlap():
    going, allowed = threading.Event(), threading.Event()
    written, together = [], []

    def write(checkpoint):
        together.append(saver.is_busy and threading.active_count())
        going.set()
        assert allowed.wait(10)
        written.append((checkpoint.step, checkpoint.tensors["weights"]["w"].clone(), checkpoint.tensors.get("best")))

    saver = BackgroundSaver(write)
    weights, best = torch.zeros(3), {"w": torch.ones(3)}
    saver.save(made(1, weights), {"best": best})
    assert going.wait(10)  # returned while the write is going on
    assert saver.is_busy and not written
    weights += 7  # training goes on
    second = threading.Thread(target=lambda: saver.save(made(2, weights), {}))
    second.start()
    second.join(0.1)
    assert second.is_alive() and len(together) == 1  # waits for the first
    allowed.set()
    second.join(10)
    saver.wait()
    assert [(step, w.tolist()) for step, w, _ in written] == [(1, [0.0] * 3), (2, [7.0] * 3)]
    assert torch.equal(written[0][2]["w"], best["w"]) and written[1][2] is None


def test_a_copy_takes_the_same_memory_again_until_shapes_change():
    saver = BackgroundSaver(lambda checkpoint: None)
    first = saver.copy(made(1, torch.zeros(5)), {}).tensors["weights"]["w"]
    again = saver.copy(made(2, torch.ones(5)), {}).tensors["weights"]["w"]
    assert again.data_ptr() == first.data_ptr() and again.tolist() == [1.0] * 5
    assert saver.copy(made(3, torch.ones(2, 3)), {}).tensors["weights"]["w"].shape == (2, 3)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device", "x"), GPTError("Cannot write x.")])
def test_a_failed_write_ends_the_training_at_the_next_step(tmp_path, failure):
    trainer = trainer_in(tmp_path)

    def fail(checkpoint):
        raise failure

    trainer.store.save = fail  # the first save is due at step 3, as a milestone
    with pytest.raises(type(failure)) as raised:
        trainer.run()
    assert raised.value is failure and trainer.learner.step in (3, 4, 5, 6)
    assert not (tmp_path / "run" / "final").exists()
    trainer.saver.wait()  # and is not raised twice


def test_a_failed_last_write_is_not_lost(tmp_path):
    trainer = trainer_in(tmp_path, steps=2)
    honest = trainer.store.save

    def fail_at_the_end(checkpoint):
        if checkpoint.step == 2:
            raise OSError(28, "No space left on device")
        return honest(checkpoint)

    trainer.store.save = fail_at_the_end
    with pytest.raises(OSError, match="No space"):
        trainer.run()
    assert not (tmp_path / "run" / "final").exists()


def test_nothing_is_written_once_a_run_has_ended(tmp_path):
    trainer = trainer_in(tmp_path)
    slow, honest = threading.Event(), trainer.store.save

    def save_slowly(checkpoint):
        slow.wait(0.2)
        return honest(checkpoint)

    def break_off(norm):
        raise KeyError("a programming error")

    trainer.store.save = save_slowly
    after = trainer._after_update
    trainer._after_update = lambda norm: after(norm) if trainer.learner.step < 4 else break_off(norm)
    with pytest.raises(KeyError):
        trainer.run()
    assert not trainer.saver.is_busy and (tmp_path / "run" / "checkpoints" / "latest").exists()


def test_a_checkpoint_comes_before_the_validation_of_its_step(tmp_path):
    """Killed in a validation, a run goes on from that very step, looks again, and ends with the same bytes."""
    whole = trainer_in(tmp_path / "whole")
    whole.run()
    broken = trainer_in(tmp_path / "broken")
    evaluate = broken._evaluate

    def die_at_12():
        evaluate()
        if broken.learner.step == 12:
            raise KeyError("killed")

    broken._evaluate = die_at_12
    with pytest.raises(KeyError):
        broken.run()
    resumed = Trainer(broken.job, Stop(), lambda line: None)
    assert resumed.learner.step == 12 and resumed.best.record["best_step"] in (None, 6)
    resumed.run()
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    diaries = [read_lines(tmp_path / name / "run" / "metrics.jsonl") for name in ("whole", "broken")]
    assert [(line["kind"], line["step"]) for line in diaries[0]] == [
        (line["kind"], line["step"]) for line in diaries[1]
    ]


def test_a_stop_waits_for_the_write_that_is_going_on(tmp_path):
    trainer = trainer_in(tmp_path)
    honest = trainer.store.save

    def ask_and_save(checkpoint):
        trainer.stop.reason = "a test"
        threading.Event().wait(0.1)
        return honest(checkpoint)

    trainer.store.save = ask_and_save
    with pytest.raises(StopRequested) as stopped:
        trainer.run()
    step = trainer.learner.step
    assert f"after step {step};" in str(stopped.value) and not trainer.saver.is_busy
    found = CheckpointStore(tmp_path / "run" / "checkpoints", trainer.job.identity()).load(pytest.fail)
    assert found is not None and found.step == step


def files(folder: Path) -> dict[str, bytes]:
    final = folder / "run" / "final"
    return {str(path.relative_to(final)): path.read_bytes() for path in sorted(final.rglob("*")) if path.is_file()}
