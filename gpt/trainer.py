"""The training run: from a resolved job to a published model, through any number of interruptions.

Between the updates it writes metrics, validates, draws samples and saves; what an update is, `gpt.learner` says.
Everything here happens at given steps, apart from most checkpoints, which are due by the clock and change nothing: what
a run goes back to after bad steps are its milestones, saved at given steps. So a run that was killed and resumed ends
with the same bytes as one that was not, and so does a plan that was trained in several parts (`gpt.start`).

A checkpoint comes before the look at the model (validation, samples) that is due at its step: whoever resumes there
looks first.
"""

import gc
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from gpt.arrays import load_token_bytes, open_shard
from gpt.batches import Batches
from gpt.checkpoint import Checkpoint, CheckpointStore, Tensors
from gpt.clock import Clock
from gpt.device import choose_device, describe
from gpt.errors import GPTError
from gpt.export import publish_result
from gpt.flops import utilisation
from gpt.generate import continuations
from gpt.jobs import RunJob
from gpt.learner import Learner
from gpt.metrics import Events, JsonLines
from gpt.model import parameter_count
from gpt.optimizer import BAD_STEPS
from gpt.progress import describe_step
from gpt.saving import BackgroundSaver
from gpt.scoring import all_passages, means, sample_passages, score
from gpt.shuffle import derive
from gpt.starting_state import begin
from gpt.stop import Stop
from gpt.tracking import Tracker

Say = Callable[[str], None]

MILESTONES = 10  # checkpoints at given steps, over the whole run
PASSAGES = 2  # stream of random numbers that chooses the validation sample


class StopRequested(Exception):  # noqa: N818 - a request that was met is no error
    """The run was asked to stop and has saved all it needs to go on."""


class Trainer:
    """One run; `best` holds the weights with the lowest validation loss so far, `record` what is known of them.

    Making one opens the data and takes over the last checkpoint; it raises GPTError when the job cannot be run.
    """

    def __init__(self, job: RunJob, stop: Stop, say: Say) -> None:
        self.job, self.stop, self.say = job, stop, say
        self.clock = Clock()
        self.device = choose_device(job.runtime, say)
        model, training = job.model, job.training
        self.token_bytes = load_token_bytes(job.token_bytes, model.vocab_size)
        shards = {name: [open_shard(p, job.eot_id) for p in s.train] for name, s in job.sources.items()}
        weights = {name: source.weight for name, source in job.sources.items()}
        batches = Batches(shards, weights, model.context, training.batch_size, model.vocab_size, training.seed)
        self.passages = all_passages([open_shard(p, job.eot_id) for s in job.sources.values() for p in s.validation])
        self.sample = sample_passages(self.passages, training.evaluation_tokens, derive(training.seed, PASSAGES))
        compiled = job.runtime.compile and self.device.type == "cuda"
        logits_gib = job.runtime.logits_gib
        logits_bytes = None if logits_gib is None else logits_gib * 2**30
        self.learner = Learner(model, training, batches, self.device, compiled, logits_bytes)
        self.micro_batch = training.micro_batch
        self.milestone_every = -(-training.steps // MILESTONES)
        self.store = CheckpointStore(job.run_dir / "checkpoints", job.identity(), self.milestone_every, BAD_STEPS)
        self.saver = BackgroundSaver(self._write)
        self.forget_best()
        checkpoint = self.store.load(say)
        self.resumed = checkpoint is not None
        if checkpoint is not None:
            self._restore(checkpoint)
            self.clock.resume(checkpoint.observed)
        else:
            self._begin()
        self.begun_at = 0 if self.resumed else self.learner.step
        self.tracker = Tracker(job, say)  # last, so that a refused run leaves no trace there

    def forget_best(self) -> None:
        """No validation has been done. `looked_at` is the last step whose look at the model is over."""
        self.best: Tensors = {}
        self.record: dict[str, Any] = {"best_step": None, "best_loss": None}
        self.looked_at = -1

    def run(self) -> None:
        """Train to the end and publish, or raise StopRequested; GPTError when the run cannot go on."""
        try:
            self._train()
            self._finish()
        finally:
            self.saver.join()  # nothing is written here once another process may train here

    def _train(self) -> None:
        training = self.job.training
        if self.learner.step:
            part = f", this run ends at step {training.stop_at}" if training.stop_at < training.steps else ""
            self.say(f"Going on from step {self.learner.step} of {training.steps}{part}.")
        self._open_diary()
        self.say(
            f"{self.job.model.preset}: {parameter_count(self.learner.model):,} parameters, "
            f"{self.learner.batches.tokens:,} training tokens, {len(self.passages):,} validation passages, "
            f"on {describe(self.device)}."
        )
        if not self.passages:
            self.say("There is no validation text: the last weights count as the best.")
        if self.looked_at < self.learner.step:
            self._look()
        gc.collect()
        gc.freeze()
        self.clock.lap()
        while self.learner.step < training.stop_at:
            self.saver.raise_failure()
            self._leave_if_asked()
            norm = self.learner.update()
            self._after_update(norm)
        self._leave_if_asked()

    def _after_update(self, norm: torch.Tensor) -> None:
        """Everything between two updates: the diary, the checkpoint that counts on it, a look at the model."""
        training, step = self.job.training, self.learner.step
        last = step == training.stop_at
        logging = last or step == 1 or step % training.log_every == 0
        if (logging or self.device.type == "cpu") and self.learner.optimizer.bad_in_a_row.item() >= BAD_STEPS:
            self._go_back()
            return
        if logging:
            self._log(norm)
        seconds = self.job.runtime.checkpoint_seconds
        is_due = self.clock.since_save() >= seconds and not (seconds and self.saver.is_busy)
        if last or is_due or step % self.milestone_every == 0:
            self._save()
        self._look()

    def _look(self) -> None:
        """Validate and draw samples if that is due at this step."""
        training, step = self.job.training, self.learner.step
        if step and (step == training.steps or step % training.evaluation_every == 0):
            self._evaluate()
        self._draw_samples()
        self.looked_at = step

    def _log(self, norm: torch.Tensor) -> None:
        learner, steps = self.learner, self.job.training.steps
        loss, size = learner.take_loss(), norm.item()  # these wait for the device, so that the time is true
        rate = learner.rate(learner.step - 1)
        speed = learner.tokens_per_step * (learner.step - self.logged_step) / self.clock.lap(training=True)
        mfu = utilisation(speed, self.job.model, describe(self.device)) if self.device.type == "cuda" else None
        self.logged_step = learner.step
        self.metrics.write(
            {
                "kind": "train",
                "step": learner.step,
                "steps": steps,
                "loss": loss,
                "learning_rate": rate,
                "gradient_norm": size if math.isfinite(size) else None,
                "skipped": int(learner.optimizer.skipped.item()),
                "tokens": learner.step * learner.tokens_per_step,
                "tokens_per_s": round(speed, 1),
                **({} if mfu is None else {"mfu": round(mfu, 4)}),
                "seconds": round(self.clock.seconds, 3),
            }
        )
        scalars = {"loss": loss, "learning_rate": rate, "tokens_per_s": speed, "mfu": mfu}
        self.events.write(learner.step, {f"train/{name}": value for name, value in scalars.items()})
        if learner.micro_batch < self.micro_batch:
            self.micro_batch = learner.micro_batch
            self.say(f"Memory is short: from now on {self.micro_batch} sequences per pass, with the same batch.")
        self.say(describe_step(learner.step, steps, loss, rate, speed, self._seconds_left(speed), mfu))

    def _seconds_left(self, speed: float) -> float:
        """At `speed` tokens per second, with as much besides the training as there has been so far."""
        tokens = (self.job.training.steps - self.learner.step) * self.learner.tokens_per_step
        return tokens / speed * self.clock.seconds / max(1e-9, self.clock.training_seconds)

    def _evaluate(self) -> None:
        """Score the validation sample, and keep the weights if they are the best so far."""
        step, steps = self.learner.step, self.job.training.steps
        if self.sample:
            with self.clock.aside():
                scores = score(self.learner.model, self.sample, self.token_bytes, self.device, exact=False)
            loss, bpb = means(scores)
            seconds = round(self.clock.seconds, 3)
            self.metrics.write(
                {"kind": "evaluation", "step": step, "val_loss": loss, "val_bpb": bpb, "seconds": seconds}
            )
            self.events.write(step, {"validation/loss": loss, "validation/bits_per_byte": bpb})
            self.say(f"step {step}/{steps}  validation loss {loss:.4f}  bits per byte {bpb:.4f}")
            better = self.record["best_loss"] is None or loss < self.record["best_loss"]
        else:
            loss, better = None, step == self.job.training.stop_at
        if better:
            self.record = {"best_step": step, "best_loss": loss}
            self.best = {name: tensor.detach().clone() for name, tensor in self.learner.model.state_dict().items()}

    def _draw_samples(self) -> None:
        plan, step, model = self.job.sampling, self.learner.step, self.learner.model
        if step not in plan.steps or not plan.prompts:
            return
        seeds = [plan.seed + number for number in range(len(plan.prompts))]
        with self.clock.aside():
            model.eval()
            drawn = continuations(
                model, plan.prompts, plan.tokens, plan.temperature, plan.top_k, plan.top_p, seeds, self.job.eot_id
            )
            model.train()
        for number, ids in enumerate(drawn):
            line = {"step": step, "prompt": number, "seed": seeds[number], "ids": ids, "drawn": self._drawing()}
            self.samples.write(line)

    def _drawing(self) -> dict[str, Any]:
        """How samples are drawn: what tells those of this run from those of an earlier one with other prompts."""
        plan = asdict(self.job.sampling)
        return {name: value for name, value in json.loads(json.dumps(plan)).items() if name != "steps"}

    def _checkpoint(self) -> Checkpoint:
        """The state as it is, in the very tensors that go on to change; the best weights do not and stay apart."""
        tensors, numbers = self.learner.saved()
        state = numbers | self.record | {"looked_at": self.looked_at}
        return Checkpoint(self.learner.step, tensors, state, self.clock.observed())

    def _lasting(self) -> dict[str, Tensors]:
        return {"best": self.best} if self.best else {}

    def _save(self) -> None:
        """Have the state written; training stands still only while it is copied."""
        with self.clock.aside():
            self.saver.save(self._checkpoint(), self._lasting())
        self.clock.saved()
        self.saved_step = self.learner.step

    def _write(self, checkpoint: Checkpoint) -> None:
        self.metrics.sync()
        self.samples.sync()
        self.store.save(checkpoint)

    def _begin(self) -> None:
        """The state before this run's first update."""
        self.learner.start_over()
        self.forget_best()
        checkpoint = begin(self.job, self.learner)
        if checkpoint is not None:
            self._take_over(checkpoint)
        self.saved_step: int | None = None

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Be as the run was when it saved this checkpoint."""
        self.learner.restore(checkpoint.step, checkpoint.tensors, checkpoint.state)
        self._take_over(checkpoint)
        self.saved_step = checkpoint.step

    def _take_over(self, checkpoint: Checkpoint) -> None:
        self.best = {name: tensor.to(self.device) for name, tensor in checkpoint.tensors.get("best", {}).items()}
        self.record = {key: checkpoint.state[key] for key in self.record}
        self.looked_at = checkpoint.state["looked_at"]

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
            self._begin()
        self.saved_step = None  # with this rate
        learner.rate_scale = 0.5
        learner.optimizer.bad_in_a_row.zero_()
        learner.optimizer.skipped.fill_(skipped)
        self.events.close()
        self._open_diary()
        self.say(
            f"Loss or gradient was not finite in {BAD_STEPS} steps in a row up to step {bad_step}: going back to step "
            f"{learner.step} with half the learning rate."
        )
        if self.looked_at < learner.step:
            self._look()

    def _finish(self) -> None:
        """Score the whole validation split with the best weights and publish them."""
        training = self.job.training
        state = self.saver.copy(self._checkpoint(), self._lasting())
        if training.stop_at < training.steps and (training.stop_at % training.evaluation_every or not self.best):
            self._evaluate()  # a look that the whole plan does not have, so the state knows nothing of it
        self.events.close()
        self.tracker.close()
        self.learner.model.load_state_dict(self.best)
        loss: float | None = None
        bpb: float | None = None
        if self.passages:
            self.say("Scoring the whole validation split with the best weights.")
            # the last step's checkpoint is on the disk, so leaving costs nothing
            scores = score(self.learner.model, self.passages, self.token_bytes, self.device, tick=self._raise_if_asked)
            loss, bpb = means(scores)
        self.clock.lap()
        tokens = (training.stop_at - self.begun_at) * self.learner.tokens_per_step
        summary = {
            "steps": training.stop_at,
            "val_loss": loss,
            "val_bpb": bpb,
            "best_step": self.record["best_step"],
            "parameters": parameter_count(self.learner.model),
            "train_tokens_per_s": round(tokens / max(1e-9, self.clock.training_seconds), 1),
            "seconds": round(self.clock.seconds, 3),
            "skipped_steps": int(self.learner.optimizer.skipped.item()),
            "device": describe(self.device),
        }
        publish_result(self.job, self.best, state, summary)
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

    def _open_diary(self) -> None:
        """Cut metrics and samples back to what is certain at this step (none before the first) and go on writing."""
        folder, looked_at, drawing = self.job.run_dir, self.looked_at, self._drawing()
        step = self.learner.step or -1
        folder.mkdir(parents=True, exist_ok=True)
        self.metrics = JsonLines(
            folder / "metrics.jsonl", step, lambda line: line["kind"] == "train" or line["step"] <= looked_at
        )
        self.samples = JsonLines(folder / "samples.jsonl", looked_at, lambda line: line.get("drawn") == drawing)
        self.events = Events(folder / "tensorboard", step, self.say, self.tracker.write)
        self.logged_step = max(step, 0)
