"""How much of what the processor can multiply a training step uses.

`python -m tests.benchmarks.training_rate [--rounds N]`: 6 layers x 384, context 256, batch 8, by characters. In each
round products of two large float32 matrices are timed and then updates of the trainer, in one process and on the same
threads; a share is the FLOPs of an update per second over those of the products of its round, so that what else the
machine does meets both. The FLOPs of an update are those that the model needs: 6 per parameter of matrices and token,
and those of attention, 12 x layers x width x context per token, of which causal attention needs half ("causal"); the
usual formula counts all of them ("by formula"). What the optimizer computes counts as time and not as FLOPs.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gpt.arrays import open_shard
from gpt.batches import Batches
from gpt.config import ModelConfig, TrainingConfig
from gpt.device import choose_device
from gpt.jobs import Runtime
from gpt.learner import Learner
from gpt.plan import matrix_parameters, resolve
from tests.benchmarks.training_step import made_up_tokens

LAYERS, WIDTH, CONTEXT, BATCH, VOCABULARY = 6, 384, 256, 8, 65
LARGE = 1536  # rows and columns of the matrices
GOAL = 0.85


def learner(preset: str, optimizer: str, folder: Path) -> Learner:
    """The trainer's own, on made-up ids."""
    paths = made_up_tokens(folder, VOCABULARY)
    shard = open_shard(paths, 0)
    model, training = resolve(
        ModelConfig(preset=preset, layers=LAYERS, width=WIDTH, context=CONTEXT, dropout=0.0),  # type: ignore[arg-type]
        TrainingConfig(optimizer=optimizer, steps=100_000, batch_size=BATCH, learning_rate=1e-3),  # type: ignore[arg-type]
        VOCABULARY,
        len(shard.tokens),
    )
    batches = Batches({"all": [shard]}, {"all": 1.0}, CONTEXT, BATCH, VOCABULARY, training.seed)
    return Learner(model, training, batches, torch.device("cpu"))


def without_optimizer(one: Learner) -> Callable[[], object]:
    """Batch, forward and backward pass alone."""

    def step() -> None:
        one._gradients(torch.from_numpy(one.batches.batch(one.step)))
        one.step += 1
        for parameter in one.model.parameters():
            parameter.grad = None

    return step


def product() -> Callable[[], object]:
    """A product of two large matrices, into memory that is there."""
    left, right = torch.randn(LARGE, LARGE), torch.randn(LARGE, LARGE)
    out = torch.empty(LARGE, LARGE)
    return lambda: torch.mm(left, right, out=out)


def seconds_of(work: Callable[[], object], seconds: float) -> float:
    """Of one call, the median of as many as fit into the time, at least three."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="processor threads (all)")
    arguments = parser.parse_args()
    choose_device(Runtime(device="cpu", threads=arguments.threads), print)
    multiply = product()
    with tempfile.TemporaryDirectory() as folder:
        ours = {
            f"{preset}, {optimizer}": learner(preset, optimizer, Path(folder))
            for preset, optimizer in (("gpt2", "adamw"), ("modern", "adamw"), ("modern", "muon"))
        }
        steps: dict[str, tuple[Learner, Callable[[], object]]] = {}
        for name, one in ours.items():
            if name.endswith("adamw"):
                steps[name.replace("adamw", "without optimizer")] = one, without_optimizer(one)
            steps[name] = one, one.update
        times: dict[str, list[float]] = {name: [] for name in steps}
        shares: dict[str, list[float]] = {name: [] for name in steps}
        rates = []
        for turn in range(arguments.rounds + 1):  # the first round warms up
            for name, (one, step) in steps.items():
                rate = 2 * LARGE**3 / seconds_of(multiply, 0.5)
                spent = seconds_of(step, 2.0)
                rate = (rate + 2 * LARGE**3 / seconds_of(multiply, 0.5)) / 2
                if turn:
                    rates.append(rate)
                    times[name].append(spent)
                    shares[name].append(needed(one, 12) / spent / rate)
    print(
        f"Update on {torch.get_num_threads()} threads, torch {torch.__version__}: {LAYERS} layers x {WIDTH}, context "
        f"{CONTEXT}, batch {BATCH}, {VOCABULARY} ids; medians (smallest to largest) of {arguments.rounds} rounds"
    )
    print(f"float32 products of {LARGE} x {LARGE}: {statistics.median(rates) / 1e9:.1f} GFLOP/s {spread(rates, 1e-9)}")
    print(f"{'':<28}{'parameters':>11}{'ms':>8}{'tokens/s':>10}  share by formula (goal {GOAL:.0%})  causal")
    for name, (one, _) in steps.items():
        spent, share = statistics.median(times[name]), statistics.median(shares[name])
        print(
            f"{name:<28}{matrix_parameters(one.config):>11,}{1000 * spent:>8.0f}{BATCH * CONTEXT / spent:>10,.0f}"
            f"  {share:>6.1%} {spread(shares[name], 100):<22}{share * needed(one, 6) / needed(one, 12):>9.1%}"
        )


def needed(one: Learner, attention: int) -> float:
    """FLOPs of an update; `attention` per layer, width, context and token."""
    model = one.config
    assert model.context and model.width and model.layers, "all are resolved"
    per_token = 6 * matrix_parameters(model) + attention * model.layers * model.width * model.context
    return float(per_token * one.tokens_per_step)


def spread(values: list[float], unit: float) -> str:
    """Smallest and largest."""
    return f"({min(values) * unit:.1f} to {max(values) * unit:.1f})"


if __name__ == "__main__":
    main()
