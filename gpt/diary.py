"""What a run writes down and says while it trains: metrics, samples, TensorBoard events, lines for people.

Nothing of it is ever read back to go on; a resumed run cuts it back to what is certain and writes the rest anew.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from gpt.best import Score, describe_scores
from gpt.clock import Clock
from gpt.device import describe
from gpt.flops import utilisation
from gpt.jobs import RunJob
from gpt.learner import Learner
from gpt.metrics import Events, JsonLines
from gpt.progress import describe_step
from gpt.run_state import RunState

Say = Callable[[str], None]
Track = Callable[[int, dict[str, float | None]], None]


class Diary:
    """The diary of one run, in its run_dir. `open` comes before everything else."""

    def __init__(self, job: RunJob, say: Say, track: Track) -> None:
        self.job, self.say, self.track = job, say, track
        self.micro_batch = job.training.micro_batch

    def open(self, state: RunState) -> None:
        """Cut metrics and samples back to what is certain in this state (none before the first) and go on writing."""
        folder, looked_at, drawing = self.job.run_dir, state.looked_at, self._drawing()
        step = state.learner.step or -1
        was_cut = state.guard.cut is not None  # else a kill came before the cut was saved, and it will be cut again
        folder.mkdir(parents=True, exist_ok=True)

        def is_certain(line: dict[str, Any]) -> bool:
            return was_cut if line["kind"] == "guard" else line["kind"] == "train" or bool(line["step"] <= looked_at)

        self.metrics = JsonLines(folder / "metrics.jsonl", step, is_certain)
        self.samples = JsonLines(folder / "samples.jsonl", looked_at, lambda line: line.get("drawn") == drawing)
        self.events = Events(folder / "tensorboard", step, self.say, self.track)
        self.logged_step = max(step, 0)

    def write_updates(self, learner: Learner, norm: torch.Tensor, clock: Clock) -> None:
        """The updates since the last such line; `norm` is the last gradient's."""
        steps = learner.training.steps
        loss, size = learner.take_loss(), norm.item()  # these wait for the device, so that the time is true
        rate = learner.rate(learner.step - 1)
        speed = learner.tokens_per_step * (learner.step - self.logged_step) / clock.lap(training=True)
        name = describe(learner.device)
        mfu = utilisation(speed / learner.ranks.count, self.job.model, name) if learner.device.type == "cuda" else None
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
                "seconds": round(clock.seconds, 3),
            }
        )
        scalars = {"loss": loss, "learning_rate": rate, "tokens_per_s": speed, "mfu": mfu}
        with clock.aside():  # the first of them loads TensorBoard
            self.events.write(learner.step, {f"train/{name}": value for name, value in scalars.items()})
        if learner.micro_batch < self.micro_batch:
            self.micro_batch = learner.micro_batch
            self.say(f"Memory is short: from now on {self.micro_batch} sequences per pass, with the same batch.")
        self.say(describe_step(learner.step, steps, loss, rate, speed, seconds_left(learner, speed, clock), mfu))

    def write_scores(self, step: int, steps: int, scores: Mapping[str, Score], clock: Clock) -> None:
        """A validation of the weights, and of their average if there is one."""
        line = describe_scores(scores)
        self.metrics.write({"kind": "evaluation", "step": step, **line, "seconds": round(clock.seconds, 3)})
        guessed = line.get("masked_accuracy")
        scalars = {"loss": line["val_loss"], "bits_per_byte": line["val_bpb"], "masked_accuracy": guessed}
        self.events.write(step, {f"validation/{name}": value for name, value in scalars.items()})
        shown = "validation loss not finite"
        if line["val_loss"] is not None:
            shown = f"validation loss {line['val_loss']:.4f}  bits per byte {line['val_bpb']:.4f}"
        shown += "" if guessed is None else f"  masked accuracy {guessed:.1%}"
        whose = "  (of the averaged weights)" if line["weights"] == "average" else ""
        self.say(f"step {step}/{steps}  {shown}{whose}")

    def write_cut(self, step: int, cut: Mapping[str, int], words: str) -> None:
        """The guard has cut the run short."""
        self.metrics.write({"kind": "guard", "step": step, **cut})
        self.say(words)

    def write_samples(self, step: int, seeds: Sequence[int], drawn: Sequence[Sequence[int]]) -> None:
        """The continuation of every prompt."""
        for number, (seed, ids) in enumerate(zip(seeds, drawn, strict=True)):
            line = {"step": step, "prompt": number, "seed": seed, "ids": ids, "drawn": self._drawing()}
            self.samples.write(line)

    def sync(self) -> None:
        """Force metrics and samples to the disk, before a checkpoint counts on them; from any thread."""
        self.metrics.sync()
        self.samples.sync()

    def close(self) -> None:
        """Write out what is buffered."""
        self.events.close()

    def _drawing(self) -> dict[str, Any]:
        """How samples are drawn: what tells those of this run from those of an earlier one with other prompts."""
        plan = asdict(self.job.sampling)
        return {name: value for name, value in json.loads(json.dumps(plan)).items() if name != "steps"}


def seconds_left(learner: Learner, speed: float, clock: Clock) -> float:
    """At `speed` tokens per second, with as much besides the training as there has been so far."""
    tokens = (learner.training.stop_at - learner.step) * learner.tokens_per_step
    return tokens / speed * clock.seconds / max(1e-9, clock.training_seconds)
