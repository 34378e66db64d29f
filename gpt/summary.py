"""A finished run in numbers, the content of summary.json but for its losses. Knows no files."""

from typing import Any

from gpt.clock import Clock
from gpt.device import describe
from gpt.guard import describe_cut
from gpt.learner import Learner
from gpt.model import parameter_count
from gpt.run_state import RunState


def place(learner: Learner) -> str:
    """Where it computes, in words; several processes are taken to have like devices."""
    name, count = describe(learner.device), learner.ranks.count
    return name if count == 1 else f"{count} processes, each on {name}"


def summarise(state: RunState, begun_at: int, clock: Clock) -> dict[str, Any]:
    """What came of a run that is at its end, and what it took.

    begun_at  step at which the clock began to count
    returns   steps done to get to the last weights, those planned, those done and left behind by going back; guard is
              None or says why; speed in tokens per second of training, seconds in all
    """
    learner, guard, training = state.learner, state.guard, state.training
    tokens = (training.stop_at - begun_at + guard.abandoned_steps) * learner.tokens_per_step
    return {
        "steps": training.stop_at,
        "planned_steps": guard.planned.steps,
        "abandoned_steps": guard.abandoned_steps,
        "guard": describe_cut(guard.cut) if guard.cut else None,
        "best_step": state.best.record["best_step"],
        "best_weights": state.best.record["best_weights"],
        "parameters": parameter_count(learner.model),
        "train_tokens_per_s": round(tokens / max(1e-9, clock.training_seconds), 1),
        "seconds": round(clock.seconds, 3),
        "skipped_steps": int(learner.optimizer.skipped.item()),
        "device": place(learner),
    }
