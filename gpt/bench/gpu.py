"""One card against the trainer's speed goals, as one table.

Speeds are those of whole updates (data, forward, backward, optimizer) over random tokens, after compiling; the time to
a given loss is that of the updates alone, without start-up and validation. With `tiny` every shape is small enough for
a processor: that shows that the table can be made, and measures nothing.
"""

import argparse
import dataclasses
import gc
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from gpt.arrays import TokenShard
from gpt.batches import Batches
from gpt.bench.characters import read_characters
from gpt.bench.table import Row, as_markdown, as_text
from gpt.command import say
from gpt.config import ModelConfig, TrainingConfig
from gpt.device import choose_device, cuda_failure, describe, mixed_precision
from gpt.errors import GPTError
from gpt.files import replace_text
from gpt.flops import flops_per_token, peak_flops
from gpt.jobs import Runtime
from gpt.learner import Learner
from gpt.plan import resolve
from gpt.scoring import means, score

GPT2_124M = ModelConfig(preset="gpt2", layers=12, width=768, heads=12, context=1024, dropout=0.0)
GPT2_350M = ModelConfig(preset="gpt2", layers=24, width=1024, heads=16, context=1024, dropout=0.0)
MODERN_124M = ModelConfig(preset="modern", layers=12, width=768, context=1024, dropout=0.0, tied=True)
GPT2_VOCABULARY = 50257
BATCH_TOKENS = 2**19
MICRO_BATCH = 64  # sequences of 1,024 tokens to begin with; halved until they fit

CHARACTERS = ModelConfig(preset="modern", layers=6, width=384, context=256, dropout=0.2)
CHARACTERS_RECIPE = TrainingConfig(batch_size=64, steps=3000, learning_rate=2e-3, weight_decay=0.3, decay_share=0.5)
GOAL_LOSS = 1.4697  # nanoGPT's best on this split
EVALUATE_EVERY = 50

TINY_MODEL = ModelConfig(layers=2, width=32, heads=2, context=32, dropout=0.0)


@dataclass(frozen=True)
class Scale:
    """How much is done: everything, or next to nothing to try the command out."""

    tiny: bool
    device: torch.device
    rounds: int = 3
    round_steps: int = 5

    def speed_of(self, model: ModelConfig) -> tuple[ModelConfig, TrainingConfig, int]:
        """The shape to be timed, its training and its vocabulary."""
        if self.tiny:
            shape = dataclasses.replace(TINY_MODEL, preset=model.preset)
            return shape, TrainingConfig(steps=1000, batch_size=4), 300
        batch = BATCH_TOKENS // (model.context or 1024)
        return model, TrainingConfig(steps=1000, batch_size=batch, micro_batch=MICRO_BATCH), GPT2_VOCABULARY


class NoCard(Exception):  # noqa: N818 - nothing is wrong, there is only nothing to measure
    """There is no card to measure; the text says why."""


def command(arguments: argparse.Namespace) -> None:
    """`python -m gpt.bench gpu`; raises NoCard, and GPTError for arguments that cannot be."""
    refuse_arguments(arguments)
    reason = cuda_failure() if arguments.device == "cuda" else None
    if reason is not None:
        raise NoCard(f"No CUDA card to measure: {reason}. Run it on a machine with one (--device cpu --tiny tries it).")
    device = choose_device(Runtime(device=arguments.device), say)
    rows = measure(Scale(arguments.tiny, device), arguments.text, say)
    head = heading(device, arguments.tiny)
    say("\n".join([*head, "", as_text(rows)]))
    if arguments.write is not None:
        replace_text(arguments.write, page(head, rows))
        say(f"Written to {arguments.write}.")


def refuse_arguments(arguments: argparse.Namespace) -> None:
    """Raise GPTError for arguments that contradict each other."""
    if arguments.device == "cpu" and not arguments.tiny:
        raise GPTError("--device cpu measures nothing of use at full size: add --tiny, or leave --device out.")


def measure(scale: Scale, text: Path | None, note: Callable[[str], None]) -> list[Row]:
    """Every row of the table in turn; what does not fit into the card's memory becomes a row that says so."""
    card = describe(scale.device)
    parts: dict[str, Callable[[str], Row]] = {
        "plain matrix product": lambda name: matrix_product(scale, card, name),
        "GPT-2 124M, context 1024": lambda name: speed(scale, card, name, GPT2_124M, 490e3, 560e3),
        "the same, loss in pieces of 1 GiB": lambda name: speed(scale, card, name, GPT2_124M, None, None, 2**30),
        "350M (24 x 1024), context 1024": lambda name: speed(scale, card, name, GPT2_350M, 188e3, 205e3),
        "`modern` 124M, context 1024": lambda name: speed(scale, card, name, MODERN_124M, None, None),
        f"characters of Shakespeare to {GOAL_LOSS:g}": lambda name: time_to_loss(scale, name, text, GOAL_LOSS),
        "logging, evaluation and checkpoints": lambda name: overhead(scale, name),
    }
    rows = []
    for name, part in parts.items():
        try:
            row = part(name)
        except torch.OutOfMemoryError:
            row = Row(name, None, "", missed=True, remark="does not fit into this card's memory")
        rows.append(row)
        note(as_text([row]).splitlines()[-1])
        gc.collect()
        if scale.device.type == "cuda":
            torch.cuda.empty_cache()
    return rows


def matrix_product(scale: Scale, card: str, name: str) -> Row:
    """What a plain product of two large matrices reaches: the most that a model can hope for."""
    size = 128 if scale.tiny else 8192
    square = torch.randn(size, size, device=scale.device)
    with mixed_precision(scale.device):
        half = (square @ square).clone()  # in the type that training uses
        seconds = _median_seconds(lambda: half @ half, scale, warm=3, repeat=10)
    rate = 2.0 * size**3 / seconds
    peak = peak_flops(card)
    return Row(name, rate / 1e12, "TFLOP/s", mfu=None if peak is None else rate / peak)


def speed(
    scale: Scale,
    card: str,
    name: str,
    model: ModelConfig,
    goal: float | None,
    excellent: float | None,
    logits_bytes: float | None = None,
) -> Row:
    """Tokens per second of whole updates."""
    learner = random_learner(scale, model, logits_bytes)
    tokens = learner.tokens_per_step
    seconds = _median_seconds(learner.update, scale, warm=scale.round_steps, repeat=scale.round_steps)
    rate = tokens / seconds
    peak = peak_flops(card)
    return Row(
        name,
        rate,
        "tokens/s",
        mfu=None if peak is None else rate * flops_per_token(learner.config) / peak,
        goal=goal,
        excellent=excellent,
        remark=f"{tokens:,} tokens a step, {learner.micro_batch} sequences a pass",
    )


def random_learner(scale: Scale, model: ModelConfig, logits_bytes: float | None) -> Learner:
    """A learner over made-up tokens, compiled on a card."""
    shape, training, vocab_size = scale.speed_of(model)
    shard = random_tokens(vocab_size, 20_000 if scale.tiny else 20_000_000)
    shape, plan = resolve(shape, training, vocab_size, len(shard.tokens))
    batches = Batches({"made up": [shard]}, {"made up": 1.0}, shape.context, plan.batch_size, vocab_size, plan.seed)
    return Learner(shape, plan, batches, scale.device, scale.device.type == "cuda", logits_bytes)


def random_tokens(vocab_size: int, length: int) -> TokenShard:
    """Documents of 1,000 random ids, each begun by id 0."""
    tokens = np.random.default_rng(0).integers(1, vocab_size, length).astype(np.uint16)
    starts = np.arange(0, length + 1, 1000, dtype=np.int64)
    tokens[starts[:-1]] = 0
    return TokenShard(Path("made-up.npy"), tokens, starts)


def time_to_loss(scale: Scale, name: str, path: Path | None, goal: float) -> Row:
    """Seconds of training until the loss over a text's whole last tenth is at most `goal`."""
    if path is None:
        return Row(name, None, "s", goal=30.0, excellent=10.0, remark="not measured: give --text FILE")
    text = read_characters(path)
    recipe = dataclasses.replace(CHARACTERS_RECIPE, steps=4, batch_size=4) if scale.tiny else CHARACTERS_RECIPE
    shape = TINY_MODEL if scale.tiny else CHARACTERS
    shape, plan = resolve(shape, recipe, text.vocab_size, len(text.train.tokens), len(text.validation))
    batches = Batches({"text": [text.train]}, {"text": 1.0}, shape.context, plan.batch_size, text.vocab_size, plan.seed)
    learner = Learner(shape, plan, batches, scale.device, compiled=scale.device.type == "cuda")
    learner.update().item()  # compiles
    learner.start_over()
    seconds, loss, best = 0.0, float("inf"), float("inf")
    every = 2 if scale.tiny else EVALUATE_EVERY
    while learner.step < plan.steps and loss > goal:
        begin = time.perf_counter()
        for _ in range(min(every, plan.steps - learner.step)):
            norm = learner.update()
        norm.item()  # waits for the device
        seconds += time.perf_counter() - begin
        ones = np.ones(text.vocab_size, np.int64)
        loss = means(score(learner.model, [text.validation], ones, scale.device, exact=False))[0]
        best = min(best, loss)
    reached = loss <= goal
    remark = f"loss {loss:.4f} at step {learner.step}" if reached else f"not reached: at best {best:.4f}"
    return Row(
        name,
        seconds if reached else None,
        "s",
        goal=30.0,
        excellent=10.0,
        lower=True,
        missed=not reached,
        remark=remark,
    )


def overhead(scale: Scale, name: str) -> Row:
    """What metrics, validation and checkpoints cost, as a share of the updates' time; checkpoints need safetensors."""
    try:
        from gpt.bench.overhead import overhead_share
    except ModuleNotFoundError as error:
        remark = f"not measured: {error.name} is not installed"
        return Row(name, None, "%", goal=3.0, excellent=1.0, lower=True, remark=remark)
    model, training, vocab_size = scale.speed_of(GPT2_124M)
    steps = 12 if scale.tiny else 80
    with tempfile.TemporaryDirectory() as folder:
        shards = [random_tokens(vocab_size, 20_000 if scale.tiny else 20_000_000), random_tokens(vocab_size, 10_000)]
        share = overhead_share(
            Path(folder),
            model,
            dataclasses.replace(training, steps=steps),
            vocab_size,
            shards[0],
            shards[1],
            scale.device,
        )
    remark = f"{steps} steps"
    return Row(name, 100 * share, "%", goal=3.0, excellent=1.0, lower=True, remark=remark)


def _median_seconds(work: Callable[[], torch.Tensor], scale: Scale, warm: int, repeat: int) -> float:
    """Seconds of one call, the median over rounds of `repeat` calls."""
    for _ in range(warm):
        result = work()
    times = []
    for _ in range(scale.rounds):
        result.sum().item()  # waits for the device
        begin = time.perf_counter()
        for _ in range(repeat):
            result = work()
        result.sum().item()
        times.append((time.perf_counter() - begin) / repeat)
    return statistics.median(times)


def heading(device: torch.device, tiny: bool) -> list[str]:
    """What was measured where, line by line."""
    cuda = f", CUDA {torch.version.cuda}" if device.type == "cuda" else ""
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {describe(device)}, torch {torch.__version__}{cuda}, "
        f"Python {platform.python_version()}"
    ]
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        lines[0] += f", {memory:.0f} GiB"
    return [*lines, "Tiny shapes: this measures nothing."] if tiny else lines


def page(head: list[str], rows: list[Row]) -> str:
    """The content of docs/gpu.md."""
    intro = (
        "Made by `python -m gpt.bench gpu --text FILE --write docs/gpu.md`. Speeds are those of whole updates in "
        "mixed precision; MFU counts 6 N + 12 d D T FLOPs per token against the card's dense peak."
    )
    return "\n\n".join(["# Training on one GPU", intro, *head, as_markdown(rows)]) + "\n"
