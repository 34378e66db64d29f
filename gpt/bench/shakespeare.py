"""Tiny Shakespeare by characters: what a small model reaches in a given wall time.

The text's first nine tenths are trained on, the last tenth is scored. Start-up (reading, building the model, timing a
few steps, which are then undone) is not counted; the clock runs from the first update to the last. The validation loss
is the mean of -ln p in nats over every character of the last tenth but its first, each predicted once, by `gpt.scoring`
in float32: windows of the context overlap by half, so that a character is seen with at least half a context before it
(those at the very beginning with what there is), and with no character of the training part.
"""

import argparse
import dataclasses
import gc
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from gpt.batches import Batches
from gpt.bench.characters import Characters, read_characters
from gpt.config import ModelConfig, TrainingConfig
from gpt.device import choose_device, describe
from gpt.errors import GPTError
from gpt.jobfile import build
from gpt.jobs import Runtime
from gpt.learner import Learner
from gpt.model import parameter_count
from gpt.plan import resolve
from gpt.scoring import means, score

MODEL = ModelConfig(layers=4, width=128, context=64, dropout=0.0)
RECIPE = TrainingConfig(batch_size=32, learning_rate=0.025, decay_share=0.7, final_rate_share=0.0, weight_decay=0.1)
"""The whole recipe of this benchmark; what is None follows by formula from the steps that fit into the time."""

TIMING_SECONDS, TIMING_STEPS = 2.0, 5  # at most so long and at least so many; the first steps warm up
CORRECT_EVERY = 10  # steps between two looks at the clock, which make a GPU wait; on the CPU every step
REPORT_SECONDS = 10.0

Say = Callable[[str], None]


def command(arguments: argparse.Namespace) -> None:
    """`python -m gpt.bench shakespeare`; raises GPTError."""
    if not arguments.seconds > 0 or not math.isfinite(arguments.seconds):
        raise GPTError(f"--seconds is {arguments.seconds:g}, but it must be above 0.")
    text = read_characters(arguments.text)
    model, training = configure(arguments.set, arguments.preset, arguments.seed, arguments.steps, text)
    try:
        runtime = Runtime(device=arguments.device, threads=arguments.threads)
    except ValueError as error:
        raise GPTError(f"--threads: {error}") from None
    result = run(text, model, training, runtime, arguments.seconds if arguments.steps is None else None, report)
    if arguments.json:
        print(json.dumps(result, allow_nan=False), flush=True)
    else:
        print(
            f"validation loss {result['val_loss']:.4f} nats per character after {result['steps']} steps in "
            f"{result['seconds']:.1f} s ({result['tokens_per_s']:,.0f} characters/s, {result['parameters']:,} "
            f"parameters, {result['device']}, torch {result['torch']})"
        )


def report(line: str) -> None:
    """Progress goes to stderr, so that stdout holds the result alone."""
    print(line, file=sys.stderr, flush=True)


def configure(
    settings: Sequence[str], preset: str, seed: int, steps: int | None, text: Characters
) -> tuple[ModelConfig, TrainingConfig]:
    """The configs of the recipe with `settings` such as "training.learning_rate=0.01" on top.

    Fields that are left open stay so if the steps are unknown (None), for they follow from them.
    """
    fields: dict[str, dict[str, Any]] = {
        "model": dataclasses.asdict(MODEL) | {"preset": preset, "vocab_size": text.vocab_size},
        "training": dataclasses.asdict(RECIPE) | {"seed": seed} | ({} if steps is None else {"steps": steps}),
    }
    for setting in settings:
        key, equals, value = setting.partition("=")
        part, _, name = key.partition(".")
        if not equals or part not in fields or not name:
            raise GPTError(f"--set {setting} is not of the form training.FIELD=VALUE or model.FIELD=VALUE.")
        if key == "training.steps":
            raise GPTError(f"--set {setting} is not for here: give --steps {value}, or --seconds to go by the clock.")
        try:
            fields[part][name] = json.loads(value)
        except ValueError:
            fields[part][name] = value
    model = build(ModelConfig, _as_json(fields["model"]), "--set", "model")
    training = build(TrainingConfig, _as_json(fields["training"]), "--set", "training")
    return model, training


def _as_json(fields: dict[str, Any]) -> Any:
    return json.loads(json.dumps(fields))


def run(
    text: Characters, model: ModelConfig, training: TrainingConfig, runtime: Runtime, seconds: float | None, say: Say
) -> dict[str, Any]:
    """Train for `seconds` of wall time, or for training.steps if that is None, and score; returns the result line."""
    began = time.perf_counter()
    device = choose_device(runtime, say)
    learner, step_seconds = start_up(text, model, training, device, min(TIMING_SECONDS, 0.1 * (seconds or 0.0)))
    if seconds is not None:
        steps = max(1, round(seconds / step_seconds))
        learner = make_learner(text, model, of_steps(training, steps), device)
    say(
        f"{learner.config.preset}: {parameter_count(learner.model):,} parameters on {describe(device)}, "
        f"{1000 * step_seconds:.1f} ms a step, {learner.training.steps} steps planned, {describe_recipe(learner)}"
    )
    gc.collect()
    gc.freeze()
    startup = time.perf_counter() - began
    spent = train(learner, seconds, say)
    gc.unfreeze()
    scores = score(learner.model, [text.validation], np.ones(text.vocab_size, np.int64), device)
    loss = means(scores)[0]
    if not math.isfinite(loss):
        raise GPTError(
            f"The validation loss is {loss} after {learner.step} steps: the training diverged; lower "
            f"training.learning_rate, now {learner.training.learning_rate:g}."
        )
    return {
        "val_loss": round(loss, 6),
        "steps": learner.step,
        "tokens_per_s": round(learner.step * learner.tokens_per_step / spent, 1),
        "seconds": round(spent, 3),
        "startup_seconds": round(startup, 3),
        "val_characters": int(scores[:, 1].sum()),
        "parameters": parameter_count(learner.model),
        "preset": learner.config.preset,
        "seed": learner.training.seed,
        "skipped_steps": int(learner.optimizer.skipped.item()),
        "device": describe(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def make_learner(text: Characters, model: ModelConfig, training: TrainingConfig, device: torch.device) -> Learner:
    """The usual learner on the text's training part, at step 0."""
    shape, plan = resolve(model, training, text.vocab_size, len(text.train.tokens), len(text.validation))
    batches = Batches({"text": [text.train]}, {"text": 1.0}, shape.context, plan.batch_size, text.vocab_size, plan.seed)
    return Learner(shape, plan, batches, device)


def start_up(
    text: Characters, model: ModelConfig, training: TrainingConfig, device: torch.device, timing: float
) -> tuple[Learner, float]:
    """A learner at step 0, and the median seconds of one update as timed for about `timing` seconds."""
    plan = training if training.steps is not None else of_steps(training, 10_000)
    learner = make_learner(text, model, plan, device)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < TIMING_STEPS or time.perf_counter() - begin < timing:
        before = time.perf_counter()
        learner.update().item()  # waits for the device
        times.append(time.perf_counter() - before)
    learner.start_over()
    return learner, statistics.median(times[TIMING_STEPS // 2 :])


def train(learner: Learner, seconds: float | None, say: Say) -> float:
    """Train to the last step; with `seconds` the number of steps follows the clock. Returns the seconds spent.

    The schedule's horizon is corrected to the speed so far along the way, so that the last step ends with the time,
    whatever else the machine does; the rate moves by the like of one step each time. Without `seconds` the steps are
    those of the config, and the same seed gives the same result.
    """
    begin = reported = time.perf_counter()
    while learner.step < learner.training.steps:
        norm = learner.update()
        if seconds is not None and (learner.device.type == "cpu" or learner.step % CORRECT_EVERY == 0):
            norm.item()  # waits for the device
            spent = time.perf_counter() - begin
            steps = max(learner.step, round(learner.step * seconds / spent))
            learner.training = of_steps(learner.training, steps)
        if time.perf_counter() - reported > REPORT_SECONDS:
            reported = time.perf_counter()
            loss = learner.take_loss()
            shown = "not finite" if loss is None else f"{loss:.4f}"
            say(f"step {learner.step}/{learner.training.steps}  loss {shown}  {reported - begin:.0f} s")
    norm.item()
    return time.perf_counter() - begin


def of_steps(training: TrainingConfig, steps: int) -> TrainingConfig:
    """The same training over so many steps, all of them in one run."""
    horizon = {name: steps for name in ("steps", "stop_at") if hasattr(training, name)}
    return dataclasses.replace(training, **horizon)


def describe_recipe(learner: Learner) -> str:
    """The numbers that experiments change most."""
    plan = learner.training
    return (
        f"batch {plan.batch_size} x {learner.config.context}, rate {plan.learning_rate:g}, warm-up "
        f"{plan.warmup_share:g}, decay {plan.decay_share:g}, weight decay {plan.weight_decay:g}"
    )
