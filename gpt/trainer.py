"""The training run: from a resolved job to a published model, through any number of interruptions.

Between the updates it writes metrics, validates, draws samples and saves; what an update is, `gpt.learner` says.
Everything here happens at given steps, apart from most checkpoints, which are due by the clock and change nothing: what
a run goes back to after bad steps are its milestones, saved at given steps. So a run that was killed and resumed ends
with the same bytes as one that was not, and so does a plan that was trained in several parts (`gpt.start`).

A checkpoint comes before the look at the model (validation, samples) that is due at its step: whoever resumes there
looks first.
"""

import gc
from collections.abc import Callable

import torch

from gpt.assemble import assemble
from gpt.best import Score, describe_score
from gpt.checkpoint import Checkpoint, CheckpointStore
from gpt.clock import Clock
from gpt.device import choose_device
from gpt.diary import Diary
from gpt.errors import GPTError
from gpt.export import publish_result
from gpt.generate import continuations
from gpt.jobs import RunJob
from gpt.model import parameter_count
from gpt.optimizer import BAD_STEPS
from gpt.ranks import ALONE, Ranks
from gpt.run_state import RunState
from gpt.saving import BackgroundSaver
from gpt.stop import Stop
from gpt.summary import place, summarise
from gpt.together import Leader
from gpt.tracking import Tracker
from gpt.validation import Validation

Say = Callable[[str], None]

MILESTONES = 10  # checkpoints at given steps, over the whole run


class StopRequested(Exception):  # noqa: N818 - a request that was met is no error
    """The run was asked to stop and has saved all it needs to go on."""


class Trainer:
    """One run; `state` holds all that a checkpoint does, `saved_step` is the step of the last one, if it holds that.

    Making one opens the data and takes over the last checkpoint; it raises GPTError when the job cannot be run.
    """

    def __init__(self, job: RunJob, stop: Stop, say: Say, ranks: Ranks = ALONE) -> None:
        self.job, self.stop, self.say = job, stop, say
        self.clock = Clock()
        self.device = choose_device(job.runtime, say)
        training = job.training
        self.validation = Validation(job, self.device)
        self.learner = assemble(job, self.device, ranks)
        self.leader = Leader(ranks, stop)
        self.state = RunState(self.learner, training, bool(self.validation.sample))
        self.best, self.guard = self.state.best, self.state.guard
        self.milestone_every = -(-training.steps // MILESTONES)
        self.store = CheckpointStore(job.run_dir / "checkpoints", job.identity(), self.milestone_every, BAD_STEPS)
        self.saver = BackgroundSaver(self._write)
        checkpoint = self.store.load(say)
        self.saved_step: int | None = None
        if checkpoint is not None:
            self._restore(checkpoint)
            self.clock.resume(checkpoint.observed)
        else:
            self.state.begin(job)
        self.learner.rate_share = job.start.rate_share  # of an extension: no checkpoint holds it
        self.begun_at = int(checkpoint.observed.get("begun_at", 0)) if checkpoint is not None else self.learner.step
        self.tracker = Tracker(job, say)  # last, so that a refused run leaves no trace there
        self.diary = Diary(job, say, self.tracker.write)

    def run(self) -> None:
        """Train to the end and publish, or raise StopRequested; GPTError when the run cannot go on."""
        try:
            self._train()
            self._finish()
        finally:
            self.saver.join()  # nothing is written here once another process may train here

    def _train(self) -> None:
        if self.learner.step:
            training = self.state.training
            part = f", this run ends at step {training.stop_at}" if training.stop_at < training.steps else ""
            self.say(f"Going on from step {self.learner.step} of {training.steps}{part}.")
        self.diary.open(self.state)
        self.say(
            f"{self.job.model.preset}: {parameter_count(self.learner.model):,} parameters, "
            f"{self.learner.batches.tokens:,} training tokens, {len(self.validation.passages):,} validation passages, "
            f"on {place(self.learner)}."
        )
        if not self.validation.passages:
            self.say("There is no validation text: the last weights count as the best.")
        if self.state.looked_at < self.learner.step:
            self._look()
        gc.collect()
        gc.freeze()
        self.clock.lap()
        while self.learner.step < self.state.training.stop_at:
            self.saver.raise_failure()
            self._leave_if_asked()
            self.leader.before_update(self.learner)
            norm = self.learner.update()
            self.leader.after_update()
            self.state.update_average()
            self._after_update(norm)
        self._leave_if_asked()

    def _after_update(self, norm: torch.Tensor) -> None:
        """Everything between two updates: the diary, the checkpoint that counts on it, a look at the model."""
        training, step = self.state.training, self.learner.step
        last = step == training.stop_at
        logging = last or step == 1 or step % training.log_every == 0
        if (logging or self.device.type == "cpu") and self.learner.optimizer.bad_in_a_row.item() >= BAD_STEPS:
            self._go_back()
            return
        if logging:
            self.diary.write_updates(self.learner, norm, self.clock)
        seconds = self.job.runtime.checkpoint_seconds
        is_due = self.clock.since_save() >= seconds and not (seconds and self.saver.is_busy)
        may_return = self.guard.is_watching and self._is_validated(step)
        if last or is_due or may_return or step % self.milestone_every == 0:
            self._save()
        self._look()

    def _is_validated(self, step: int) -> bool:
        training = self.state.training
        return step > 0 and (step == training.steps or step % training.evaluation_every == 0)

    def _look(self) -> None:
        """Validate and draw samples if that is due at this step; the guard may then decide to go back."""
        if self._is_validated(self.learner.step):
            is_best = self._evaluate()
            if self.guard.hear(self.learner.step, is_best):
                self._cut_short()
                return
        self._draw_samples()
        self.state.looked_at = self.learner.step

    def _evaluate(self) -> bool:
        """Score the validation sample; keep the weights, or their average, if they are the best, and return that."""
        step, training, models = self.learner.step, self.state.training, self.state.models()
        if not self.validation.sample:
            if step == training.stop_at:
                self.best.take(step, "raw", None, models["raw"])
            return step == training.stop_at
        with self.clock.aside():
            scores = self.validation.of_sample(models)
        self.diary.write_scores(step, training.steps, scores, self.clock)
        return self.best.hear(step, models, scores)

    def _draw_samples(self) -> None:
        plan, step, model = self.job.sampling, self.learner.step, self.learner.model
        early_end = self.guard.cut is not None and step == self.state.training.steps
        is_due = step in plan.steps or (early_end and self.job.training.steps in plan.steps)
        if not is_due or not plan.prompts:
            return
        seeds = [plan.seed + number for number in range(len(plan.prompts))]
        with self.clock.aside():
            model.eval()
            drawn = continuations(
                model, plan.prompts, plan.tokens, plan.temperature, plan.top_k, plan.top_p, seeds, self.job.eot_id
            )
            model.train()
        self.diary.write_samples(step, seeds, drawn)

    def _save(self) -> None:
        """Have the state written; training stands still only while it is copied."""
        self.store.pinned = tuple(self.guard.best_steps)
        with self.clock.aside():
            self.saver.save(self._checkpoint(), self.state.lasting())
        self.clock.saved()
        self.saved_step = self.learner.step

    def _checkpoint(self) -> Checkpoint:
        return self.state.checkpoint(self.clock.observed() | {"begun_at": self.begun_at})

    def _write(self, checkpoint: Checkpoint) -> None:
        self.diary.sync()
        self.store.save(checkpoint)

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.state.restore(checkpoint)
        self.saved_step = checkpoint.step

    def _go_back(self) -> None:
        """Three steps in a row were not finite: return to the last milestone and go on at half the rate, once."""
        learner, bad_step, rate = self.learner, self.learner.step, self.job.training.learning_rate
        if learner.rate_scale < 1:
            raise GPTError(
                f"Loss or gradient was not finite in {BAD_STEPS} steps in a row up to step {bad_step}, again after "
                f"going back and halving the learning rate to {rate / 2:g}: lower training.learning_rate, now "
                f"{rate:g}, or look at the data of that step."
            )
        skipped = int(learner.optimizer.skipped.item())
        self.saver.wait()
        checkpoint = self.store.back_to_milestone(bad_step, self.say)
        if checkpoint is not None:
            self._restore(checkpoint)
        else:
            self.state.begin(self.job)
        self.saved_step = None  # with this rate
        learner.rate_scale = 0.5
        learner.optimizer.bad_in_a_row.zero_()
        learner.optimizer.skipped.fill_(skipped)
        self.diary.close()
        self.diary.open(self.state)
        self.say(
            f"Loss or gradient was not finite in {BAD_STEPS} steps in a row up to step {bad_step}: going back to step "
            f"{learner.step} with half the learning rate."
        )
        if self.state.looked_at < learner.step:
            self._look()

    def _cut_short(self) -> None:
        """Validation has stopped improving: return to the best state and let the rate fall from there."""
        stopped_at, best_step = self.learner.step, self.guard.best_steps[-1]
        self.saver.wait()
        checkpoint = self.store.back_to(best_step, self.say)
        if checkpoint is not None:
            self.state.return_to(checkpoint)
        else:
            self.say(f"The checkpoint of step {best_step} cannot be read: decaying from step {stopped_at} instead.")
            self.state.looked_at = stopped_at
        words = self.state.cut_short(self.learner.step, stopped_at)
        self.diary.close()
        self.diary.open(self.state)
        assert self.guard.cut is not None
        self.diary.write_cut(self.learner.step, self.guard.cut, words)
        self._save()

    def _finish(self) -> None:
        """Score the whole validation split with the best weights and publish them."""
        training = self.state.training
        state = self.saver.copy(self._checkpoint(), self.state.lasting())
        if training.stop_at < training.steps and (
            training.stop_at % training.evaluation_every or not self.best.weights
        ):
            self._evaluate()  # a look that the whole plan does not have, so the state knows nothing of it
        self.diary.close()
        self.tracker.close()
        self.learner.model.load_state_dict(self.best.weights)
        scored: Score | None = None
        if self.validation.passages:
            self.say("Scoring the whole validation split with the best weights.")
            # the last step's checkpoint is on the disk, so leaving costs nothing
            scored = self.validation.of_all(self.learner.model, self._raise_if_asked)
        self.clock.lap()
        summary = summarise(self.state, self.begun_at, self.clock) | describe_score(scored)
        publish_result(self.job, self.best.weights, state, summary)
        self.say(f"Finished: {self.job.run_dir / 'final'}")

    def _leave_if_asked(self) -> None:
        if self.stop.reason is not None:
            if self.saved_step != self.learner.step:
                self._save()
            self.saver.wait()
            self._raise_if_asked()

    def _raise_if_asked(self) -> None:
        if self.stop.reason is not None:
            raise StopRequested(
                f"Stopped ({self.stop.reason}) after step {self.learner.step}; the same command goes on from there."
            )
