"""Losses on validation passages: every token predicted exactly once, with as much context as fits.

A passage is one document of a validation array. Its first id, the end-of-text mark, is only read and never predicted,
so no end-of-text target enters a loss or a bit per byte. A passage longer than the context is covered by windows that
overlap by half: each predicts the second half of its tokens (the first window all of them). A `masked` model is scored
by `gpt.masked_scoring`. Knows nothing of sources.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from gpt.arrays import TokenShard
from gpt.device import mixed_precision
from gpt.errors import GPTError
from gpt.masked_scoring import score_masked
from gpt.model import GPT
from gpt.shuffle import shuffled

LOGITS_AT_ONCE = 2**25  # of one batch of windows: 128 MB of float32
TOKENS_AT_ONCE = 2**14

Passage = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Window:
    """Inputs [begin, end) of a passage; the targets one ahead count from input `scored` on."""

    passage: int
    begin: int
    scored: int
    end: int


def all_passages(shards: Sequence[TokenShard]) -> list[Passage]:
    """Every passage of the arrays, in order, as views."""
    return [
        shard.tokens[start:end]
        for shard in shards
        for start, end in zip(shard.starts[:-1].tolist(), shard.starts[1:].tolist(), strict=True)
    ]


def sample_passages(passages: Sequence[Passage], tokens: int, seed: int) -> list[Passage]:
    """A fixed random choice of passages of about `tokens` tokens (at least one passage), in the given order."""
    if sum(map(len, passages)) <= tokens:
        return list(passages)
    chosen, size = [], 0
    for place in shuffled(np.arange(len(passages)), len(passages), seed).tolist():
        if chosen and size + len(passages[place]) > tokens:
            break
        chosen.append(place)
        size += len(passages[place])
    return [passages[place] for place in sorted(chosen)]


def cut_windows(lengths: Sequence[int], context: int) -> list[Window]:
    """The windows of passages of the given lengths (ids, the end-of-text mark included)."""
    stride = max(1, context // 2)
    windows = []
    for passage, length in enumerate(lengths):
        scored = 0
        while scored < length - 1:
            end = min(context if scored == 0 else scored + stride, length - 1)
            windows.append(Window(passage, max(0, end - context), scored, end))
            scored = end
    return windows


@torch.no_grad()
def score(
    model: GPT,
    passages: Sequence[Passage],
    token_bytes: npt.NDArray[np.integer],
    device: torch.device,
    exact: bool = True,
    tick: Callable[[], None] = lambda: None,
) -> npt.NDArray[np.float64]:
    """Score every passage.

    token_bytes  (vocab,) UTF-8 length of every id
    exact        float32 throughout; else the device's mixed precision
    tick         called after each batch of windows
    returns      (passages, 3) float64: sum of -ln p in nats, predicted tokens, their bytes; of a `masked` model
                 (passages, 4), the last the tokens guessed right
    """
    if model.config.masked:
        return score_masked(model, passages, token_bytes, device, exact, tick, TOKENS_AT_ONCE, LOGITS_AT_ONCE)
    context = model.config.context
    windows = cut_windows([len(p) for p in passages], context)
    windows.sort(key=lambda w: w.end - w.begin, reverse=True)  # batches of like lengths need little padding
    at_once = max(1, min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // model.config.padded_vocab) // context)
    scores = np.zeros((len(passages), 3))
    was_training = model.training
    model.eval()
    for first in range(0, len(windows), at_once):
        batch = windows[first : first + at_once]
        for window, nats in zip(batch, score_windows(model, passages, batch, device, exact), strict=True):
            targets = passages[window.passage][window.scored + 1 : window.end + 1]
            scores[window.passage] += (nats, len(targets), token_bytes[targets].sum())
        tick()
    model.train(was_training)
    return scores


def means(scores: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Nats per token and bits per byte of scores (passages, 3 or 4)."""
    nats, tokens, size = scores[:, :3].sum(0).tolist()
    return nats / max(1, tokens), nats / math.log(2) / max(1, size)


def masked_accuracy(scores: npt.NDArray[np.float64]) -> dict[str, float]:
    """{"masked_accuracy": share of the hidden tokens that were guessed right}; empty for a causal model's scores."""
    if scores.shape[1] < 4:
        return {}
    return {"masked_accuracy": float(scores[:, 3].sum() / max(1.0, scores[:, 1].sum()))}


def score_windows(
    model: GPT, passages: Sequence[Passage], windows: Sequence[Window], device: torch.device, exact: bool
) -> list[float]:
    """Sum of nats per window, all of them in one pass, padded on the right; `model` is causal and in `eval`."""
    longest = max(w.end - w.begin for w in windows)
    ids = np.zeros((len(windows), longest + 1), np.int64)
    counted = np.zeros((len(windows), longest), bool)
    for row, window in enumerate(windows):
        ids[row, : window.end - window.begin + 1] = passages[window.passage][window.begin : window.end + 1]
        counted[row, window.scored - window.begin : window.end - window.begin] = True
    if ids.max() >= model.config.vocab_size:
        raise GPTError(
            f"A validation array holds the id {ids.max()}, but the model knows only {model.config.vocab_size} ids: "
            f"score it on arrays of its own tokenizer."
        )
    on_device = torch.from_numpy(ids).to(device)
    chosen = torch.from_numpy(counted).to(device)
    with torch.autocast(device.type, enabled=False) if exact else mixed_precision(device):
        hidden = model.hidden(on_device[:, :-1])[chosen]
        logits = model.logits(hidden)[:, : model.config.vocab_size].float()
    losses = F.cross_entropy(logits, on_device[:, 1:][chosen], reduction="none").cpu().double().numpy()
    return [float(part.sum()) for part in np.split(losses, np.cumsum(counted.sum(1))[:-1])]
