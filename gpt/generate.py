"""Drawing continuations from a model, token by token, with a cache of keys and values; a `masked` one fills in instead
(`gpt.filling`).

Works on ids. A prompt is read as the beginning of a document: the end-of-text id is put before it unless it stands
there already. A continuation ends before the first end-of-text id. When a sequence fills the context, its last half
is kept and read anew, so continuations may be of any length. Each sequence has its own seeded stream of random
numbers, drawn on the CPU: a sequence in a batch gets what it would get alone.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from gpt.drawing import choose, opened
from gpt.filling import fill
from gpt.model import GPT, Cache


def stream(
    model: GPT,
    prompt_ids: Sequence[int],
    tokens: int,
    temperature: float = 0.8,
    top_k: int = 50,
    top_p: float = 1.0,
    seed: int = 1,
    eot_id: int = 0,
) -> Iterator[int]:
    """Yield the ids of one continuation as they are drawn, at most `tokens` of them, the end-of-text id excluded.

    A `masked` model yields what `gpt.filling.fill` returns, all at once.

    temperature  divides the logits; 0 takes the likeliest id
    top_k        only the k likeliest ids may be drawn; 0 means all
    top_p        only the likeliest ids that together reach this probability, in (0, 1]
    """
    if model.config.masked:
        yield from fill(model, prompt_ids, tokens, temperature, top_k, top_p, seed, eot_id)
        return
    for drawn in decode(model, [prompt_ids], tokens, temperature, top_k, top_p, [seed], eot_id):
        if drawn[0] is None:
            return
        yield drawn[0]


def continuations(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seeds: Sequence[int],
    eot_id: int,
) -> list[list[int]]:
    """The whole continuations of several prompts, one seed each, drawn together; of a `masked` model fill-ins."""
    if model.config.masked:
        return [
            fill(model, prompt, tokens, temperature, top_k, top_p, seed, eot_id)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
    drawn: list[list[int]] = [[] for _ in prompts]
    for step in decode(model, prompts, tokens, temperature, top_k, top_p, seeds, eot_id):
        for ids, token in zip(drawn, step, strict=True):
            if token is not None:
                ids.append(token)
    return drawn


@torch.inference_mode()
def decode(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seeds: Sequence[int],
    eot_id: int,
    cached: bool = True,
) -> Iterator[list[int | None]]:
    """Yield the next id of every sequence until all have ended; None for a sequence that has.

    `cached=False` reads each sequence anew for every token: slow, the same ids up to rounding.
    """
    sequences = [opened(prompt, eot_id, model.config.vocab_size) for prompt in prompts]
    uniforms = [np.random.default_rng(seed).random(tokens) for seed in seeds]
    alive = [True] * len(sequences)
    reader = _Reader(model, sequences) if cached else None
    for position in range(tokens):
        logits = reader.read() if reader else torch.cat([_read_plainly(model, ids) for ids in sequences])
        chosen = choose(logits.float().cpu(), temperature, top_k, top_p, torch.tensor([u[position] for u in uniforms]))
        for row, token in enumerate(chosen):
            alive[row] = alive[row] and token != eot_id
            sequences[row].append(token)
        if not any(alive):
            return
        yield [token if living else None for token, living in zip(chosen, alive, strict=True)]


def visible(length: int, context: int) -> int:
    """How many of the last ids of a sequence of this length the model reads to predict the next one.

    All of them up to the context; then half a context, growing to a whole one and falling back to half, in turn.
    """
    if length <= context:
        return length
    half = max(1, context // 2)
    period = context - half + 1
    return half + (length - context - 1) % period


class _Reader:
    """Reads sequences that grow by one id per call, each id once, except where a sequence outgrows the context."""

    def __init__(self, model: GPT, sequences: list[list[int]]) -> None:
        self.model = model
        self.sequences = sequences
        self.device = next(model.parameters()).device
        self.cache: Cache | None = None
        self.seen = [0] * len(sequences)  # ids of each sequence in the cache

    def read(self) -> Tensor:
        """Logits of the next id of every sequence, (rows, vocab)."""
        context = self.model.config.context
        wanted = [visible(len(ids), context) for ids in self.sequences]
        if self.cache is None or any(w != s + 1 for w, s in zip(wanted, self.seen, strict=True)):
            self.cache = Cache(self.model.config, len(wanted), self.device)
            rows = [ids[-w:] for ids, w in zip(self.sequences, wanted, strict=True)]
            first = [0] * len(rows)
        else:
            rows = [ids[-1:] for ids in self.sequences]
            first = self.seen
        longest = max(map(len, rows))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self.device)
        positions = torch.tensor(first, device=self.device)[:, None] + torch.arange(longest, device=self.device)
        hidden = self.model.step(padded, positions, max(f + longest for f in first), self.cache)
        last = hidden[torch.arange(len(rows)), [len(row) - 1 for row in rows]]
        self.seen = wanted
        return self.model.logits(last)[:, : self.model.config.vocab_size]


def _read_plainly(model: GPT, ids: list[int]) -> Tensor:
    device = next(model.parameters()).device
    window = torch.tensor([ids[-visible(len(ids), model.config.context) :]], device=device)
    return model(window)[:, -1, : model.config.vocab_size]
