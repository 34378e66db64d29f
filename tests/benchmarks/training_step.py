"""Our training step on the CPU against a plain eager PyTorch GPT of the same shape.

`python -m tests.benchmarks.training_step [--rounds N]`. Both run in this process, on the same data, in turns; the
table shows medians over the rounds, of times and of the ratios within a round. Ours are `gpt2`, which has the peer's
parameters, and `modern`, which has others (counted are those that work on every token, an output head of its own
included), with AdamW and with Muon. The peer below is written the usual way: the same operations (fused attention
included), torch's AdamW, gradient clipping, random windows of a memory map. Nothing of it is ours.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt.arrays import open_shard
from gpt.batches import Batches
from gpt.config import ModelConfig, TrainingConfig
from gpt.device import choose_device
from gpt.jobs import Runtime, ShardPaths
from gpt.learner import Learner
from gpt.plan import matrix_parameters, resolve

LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 4, 128, 4, 64, 12
DOCUMENTS, DOCUMENT_TOKENS = 500, 1000
PEER = "plain PyTorch GPT"


class PlainBlock(nn.Module):
    """One block of the peer."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH, bias=False)
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.c_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.ln_2 = nn.LayerNorm(WIDTH, bias=False)
        self.fc = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.proj = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).split(width, dim=2)
        q = q.view(batch, length, HEADS, width // HEADS).transpose(1, 2)
        k = k.view(batch, length, HEADS, width // HEADS).transpose(1, 2)
        v = v.view(batch, length, HEADS, width // HEADS).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(batch, length, width))
        return x + self.proj(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class PlainGPT(nn.Module):
    """The peer: embeddings, blocks, norm, tied head, mean cross-entropy."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab_size, WIDTH)
        self.wpe = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(PlainBlock() for _ in range(LAYERS))
        self.ln_f = nn.LayerNorm(WIDTH, bias=False)
        self.lm_head = nn.Linear(WIDTH, vocab_size, bias=False)
        self.lm_head.weight = self.wte.weight
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, 0, 0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1))


class Step(NamedTuple):
    """A training step, and how many parameters work on every token."""

    run: Callable[[], object]
    parameters: int


def plain_step(vocab_size: int, tokens: Path) -> Step:
    """The peer's training step."""
    model = PlainGPT(vocab_size)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    gains = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))

    def step() -> None:
        data = np.load(tokens, mmap_mode="r")
        starts = torch.randint(len(data) - CONTEXT - 1, (BATCH,)).tolist()
        x = torch.stack([torch.from_numpy(data[i : i + CONTEXT].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + CONTEXT].astype(np.int64)) for i in starts])
        loss = model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return Step(step, sum(p.numel() for p in matrices) - model.wpe.weight.numel())


def our_step(preset: str, optimizer: str, vocab_size: int, paths: ShardPaths) -> Step:
    """The trainer's own update, data, schedule and checks for bad steps included."""
    shard = open_shard(paths, 0)
    model, training = resolve(
        ModelConfig(preset=preset, layers=LAYERS, width=WIDTH, heads=HEADS, context=CONTEXT, dropout=0.0),  # type: ignore[arg-type]
        TrainingConfig(optimizer=optimizer, steps=100_000, batch_size=BATCH, learning_rate=1e-3, weight_decay=0.1),  # type: ignore[arg-type]
        vocab_size,
        len(shard.tokens),
    )
    batches = Batches({"all": [shard]}, {"all": 1.0}, CONTEXT, BATCH, vocab_size, training.seed)
    learner = Learner(model, training, batches, torch.device("cpu"))
    return Step(learner.update, matrix_parameters(model))


def made_up_tokens(folder: Path, vocab_size: int) -> ShardPaths:
    """Random documents that begin with id 0."""
    tokens = np.random.default_rng(0).integers(1, vocab_size, DOCUMENTS * DOCUMENT_TOKENS).astype(np.uint16)
    tokens[::DOCUMENT_TOKENS] = 0
    paths = ShardPaths(folder / f"{vocab_size}.npy", folder / f"{vocab_size}.documents.npy")
    np.save(paths.tokens, tokens)
    np.save(paths.documents, np.arange(DOCUMENTS + 1, dtype=np.int64) * DOCUMENT_TOKENS)
    return paths


def seconds_of(steps: dict[str, Step], rounds: int, steps_per_round: int) -> dict[str, list[float]]:
    """Seconds per step of each, by rounds in which they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):  # the first round warms up
        for name, step in list(steps.items())[:: 1 if turn % 2 else -1]:
            begin = time.perf_counter()
            for _ in range(steps_per_round):
                step.run()
            if turn:
                seconds[name].append((time.perf_counter() - begin) / steps_per_round)
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20, help="steps per round")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    choose_device(Runtime(device="cpu"), print)  # the peer, too, gains from its memory settings
    print(
        f"Training step, CPU, {torch.get_num_threads()} threads, torch {torch.__version__}: {LAYERS} layers x {WIDTH}, "
        f"context {CONTEXT}, batch {BATCH}; medians of {arguments.rounds} rounds of {arguments.steps} steps"
    )
    print(f"{'ids':>5}  {'step':<20}{'parameters':>11}{'ms':>8}{'tokens/s':>10}  time against the peer's (goal 1.1)")
    with tempfile.TemporaryDirectory() as folder:
        for vocab_size in (64, 2048):
            paths = made_up_tokens(Path(folder), vocab_size)
            steps = {
                PEER: plain_step(vocab_size, paths.tokens),
                "ours, gpt2, AdamW": our_step("gpt2", "adamw", vocab_size, paths),
                "ours, modern, AdamW": our_step("modern", "adamw", vocab_size, paths),
                "ours, modern, Muon": our_step("modern", "muon", vocab_size, paths),
            }
            seconds = seconds_of(steps, arguments.rounds, arguments.steps)
            for name, times in seconds.items():
                median = statistics.median(times)
                ratios = [ours / peers for ours, peers in zip(times, seconds[PEER], strict=True)]
                print(
                    f"{vocab_size:>5}  {name:<20}{steps[name].parameters:>11,}{1000 * median:>8.2f}"
                    f"{BATCH * CONTEXT / median:>10,.0f}  {statistics.median(ratios):.2f} "
                    f"({min(ratios):.2f} to {max(ratios):.2f})"
                )


if __name__ == "__main__":
    main()
