"""Everything of a run that a checkpoint holds: the learner, what was kept of its weights, what has been decided.

One place takes it down and puts it back, so that whoever resumes has all of it. Knows no files and no time.
"""

from gpt.best import Best
from gpt.checkpoint import Checkpoint, Tensors
from gpt.config import TrainingConfig
from gpt.ema import Average
from gpt.guard import Guard
from gpt.jobs import RunJob
from gpt.learner import Learner
from gpt.model import GPT
from gpt.starting_state import begin


class RunState:
    """`looked_at` is the last step whose look at the model (validation, samples) is over, -1 if none is.

    learner  the model and its optimizer
    average  of the weights, None where training.ema is 0
    best     weights with the lowest validation loss so far
    guard    decides when to end early; the learner follows its schedule
    """

    def __init__(self, learner: Learner, planned: TrainingConfig, is_scored: bool) -> None:
        """The learner is as it was made; `is_scored`: there is validation text."""
        self.learner = learner
        per_epoch = learner.batches.tokens / learner.tokens_per_step
        self.average = Average(learner.model, planned.ema or 0.0, per_epoch) if planned.ema else None
        self.best = Best()
        self.guard = Guard(planned, is_scored)
        self.looked_at = -1

    @property
    def training(self) -> TrainingConfig:
        """The schedule that holds now."""
        return self.learner.training

    def models(self) -> dict[str, GPT]:
        """What may be kept, by name: the weights as they are, and their average."""
        return {"raw": self.learner.model} | ({} if self.average is None else {"average": self.average.model})

    def update_average(self) -> None:
        """To be called after every update."""
        if self.average is not None:
            self.average.update()

    def begin(self, job: RunJob) -> None:
        """The state before this run's first update. Raises GPTError when the job cannot begin where it says."""
        self.forget()
        self.learner.start_over()
        checkpoint = begin(job, self.learner)
        if self.average is not None:
            self.average.start_over()
        if checkpoint is not None:
            self._take_over(checkpoint)

    def forget(self) -> None:
        """No validation has been done."""
        self.best.forget()
        self.guard.start_over()
        self.learner.follow(self.guard.training)
        self.looked_at = -1

    def checkpoint(self, observed: dict[str, float]) -> Checkpoint:
        """The state as it is, in the very tensors that go on to change; the best weights do not and stay apart."""
        tensors, numbers = self.learner.saved()
        if self.average is not None:
            tensors["average"] = self.average.tensors()
        state = numbers | self.best.record | {"guard": self.guard.saved(), "looked_at": self.looked_at}
        return Checkpoint(self.learner.step, tensors, state, dict(observed))

    def lasting(self) -> dict[str, Tensors]:
        """The groups whose tensors never change: another dict means other tensors."""
        return {"best": self.best.weights} if self.best.weights else {}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Be as the run was when it saved this checkpoint."""
        self.learner.restore(checkpoint.step, checkpoint.tensors, checkpoint.state)
        self._take_over(checkpoint)

    def return_to(self, checkpoint: Checkpoint) -> None:
        """Train on from a checkpoint whose step has been looked at; what was kept and decided since then stays."""
        scale, skipped = self.learner.rate_scale, self.learner.optimizer.skipped.clone()
        self.learner.restore(checkpoint.step, checkpoint.tensors, checkpoint.state)
        self.learner.rate_scale = scale  # halved where bad steps came between the two
        self.learner.optimizer.skipped.copy_(skipped)
        if self.average is not None:
            self.average.restore(checkpoint.tensors["average"])
        self.looked_at = checkpoint.step

    def cut_short(self, best_step: int, stopped_at: int) -> str:
        """End early, by the schedule that the guard makes from `best_step` on; returns that in words."""
        words = self.guard.cut_short(best_step, stopped_at)
        self.learner.follow(self.guard.training)
        return words

    def _take_over(self, checkpoint: Checkpoint) -> None:
        """What goes beside the learner; an extension begins its average and its guard anew (`gpt.starting_state`)."""
        tensors, state = checkpoint.tensors, checkpoint.state
        self.best.restore(tensors.get("best", {}), state, self.learner.device)
        if self.average is not None and "average" in tensors:
            self.average.restore(tensors["average"])
        if "guard" in state:
            self.guard.restore(state["guard"])
        self.learner.follow(self.guard.training)
        self.looked_at = state["looked_at"]
