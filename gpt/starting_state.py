"""Putting a learner into the state that a run begins from; what that may be, `gpt.start` says."""

from pathlib import Path

from gpt.checkpoint import Checkpoint, is_whole_state, read_state
from gpt.errors import GPTError
from gpt.jobs import RunJob
from gpt.learner import Learner
from gpt.start import (
    refuse_other_base,
    refuse_other_model,
    refuse_other_plan,
    state_digest,
    weights_digest,
)
from gpt.weights import read_starting_weights


def begin(job: RunJob, learner: Learner) -> Checkpoint | None:
    """Bring a learner that has its seed's weights to where the job begins.

    Returns the checkpoint that the run goes on from, if it goes on from one; of an extension as step 0, with the best
    weights so far as those of step 0, and without the average and what the guard knew. Raises GPTError when it cannot
    begin there.
    """
    start = job.start
    learner.rate_share = start.rate_share
    if start.continue_from is not None:
        checkpoint = _read(start.continue_from)
        refuse_other_plan(start.continue_from, job.identity())
        learner.restore(checkpoint.step, checkpoint.tensors, checkpoint.state)
        return checkpoint
    if start.extends is not None:
        checkpoint = _read(start.extends)
        _refuse_other_digest("extends", start.extends, start.extends_digest, state_digest(start.extends))
        refuse_other_base(start.extends, job.identity())
        learner.restore(checkpoint.step, checkpoint.tensors, checkpoint.state)
        learner.extend()
        state = {key: value for key, value in checkpoint.state.items() if key != "guard"}
        tensors = {group: named for group, named in checkpoint.tensors.items() if group != "average"}
        return Checkpoint(0, tensors, state | {"best_step": 0, "looked_at": -1}, {})
    if start.init_from is not None:
        _refuse_other_digest("init", start.init_from, start.init_digest, weights_digest(start.init_from))
        refuse_other_model(start.init_from, job.model, job.tokenizer_digest)
        learner.model.load_state_dict(read_starting_weights(start.init_from)[1])
    return None


def _read(state: Path) -> Checkpoint:
    if not is_whole_state(state):
        raise GPTError(f"{state} is no whole state of a run: a file is gone or changed. Train that model again.")
    return read_state(state)


def _refuse_other_digest(field: str, folder: Path, wanted: str, found: str) -> None:
    if found != wanted:
        raise GPTError(
            f"start.{field}_digest is {wanted[:12]}, but what lies in {folder} has {found[:12]}: correct it."
        )
