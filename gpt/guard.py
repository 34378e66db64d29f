"""The overfit guard: when validation stops improving, back to the best state, and let the rate fall from there.

A run on little text is planned long; where it ends is for the validation loss to say. After `PATIENCE` evaluations
without a better one while the rate is constant, the run returns to its best state and decays over a quarter of the
steps that led there. Everything follows from losses at given steps, so a resumed run decides the same. Knows numbers
only: going back is the trainer's work.
"""

import math
from dataclasses import replace
from typing import Any

from gpt.config import TrainingConfig

PATIENCE = 4  # evaluations
DECAY_SHARE = 0.25  # of the steps up to the best state


class Guard:
    """`planned` is the schedule of the job, `training` the one that holds now; `cut` says how it was cut short.

    best_steps  every step that was the best so far, in order; a run that goes back needs the last of them
    cut         None, or {"best_step", "stopped_at", "steps"}: where it went back to, from where, and its new end
    """

    def __init__(self, planned: TrainingConfig, is_scored: bool) -> None:
        self.planned = planned
        self.is_on = bool(planned.guard) and is_scored
        self.start_over()

    def start_over(self) -> None:
        """No evaluation has been done."""
        self.best_steps: list[int] = []
        self.without_better = 0
        self.cut: dict[str, int] | None = None

    @property
    def training(self) -> TrainingConfig:
        """The schedule that holds: the planned one, or the one that ends early."""
        return self.planned if self.cut is None else cut_schedule(self.planned, self.cut["best_step"])

    @property
    def abandoned_steps(self) -> int:
        """Steps done and left behind by going back."""
        return 0 if self.cut is None else self.cut["stopped_at"] - self.cut["best_step"]

    @property
    def is_watching(self) -> bool:
        """Whether the run may still be cut short."""
        return self.is_on and self.cut is None

    def hear(self, step: int, is_best: bool) -> bool:
        """Take note of an evaluation after `step` updates; returns whether the run is to go back now."""
        if not self.is_watching:
            return False
        if is_best:
            self.best_steps.append(step)
            self.without_better = 0
        elif is_constant(step, self.planned):
            self.without_better += 1
        return bool(self.best_steps) and self.without_better >= PATIENCE

    def cut_short(self, best_step: int, stopped_at: int) -> str:
        """Let the run end early from `best_step` on, where it has gone back to; returns that in words."""
        steps = cut_schedule(self.planned, best_step).steps
        self.cut = {"best_step": best_step, "stopped_at": stopped_at, "steps": steps}
        self.without_better = 0
        return describe_cut(self.cut)

    def saved(self) -> dict[str, Any]:
        """The state as JSON, for a checkpoint."""
        return {"best_steps": list(self.best_steps), "without_better": self.without_better, "cut": self.cut}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `saved` returned."""
        self.best_steps, self.without_better = list(state["best_steps"]), state["without_better"]
        self.cut = state["cut"]


def is_constant(step: int, config: TrainingConfig) -> bool:
    """Whether `step` updates lead to a place between warm-up and decay."""
    return config.warmup_share * config.steps <= step <= (1 - config.decay_share) * config.steps


def cut_schedule(planned: TrainingConfig, best_step: int) -> TrainingConfig:
    """`planned` up to `best_step`, and then its decay over a quarter as many steps; never longer than planned."""
    steps = max(best_step + 1, min(best_step + math.ceil(DECAY_SHARE * best_step), planned.steps))
    decay = (steps - best_step) / steps
    warmup = min(planned.warmup_share * planned.steps / steps, 1 - decay)
    return replace(planned, steps=steps, stop_at=steps, warmup_share=warmup, decay_share=decay)


def describe_cut(cut: dict[str, int]) -> str:
    """What has happened, for people."""
    return (
        f"Validation stopped improving at step {cut['best_step']} (seen at step {cut['stopped_at']}): back to it, "
        f"decaying over {cut['steps'] - cut['best_step']} steps."
    )
