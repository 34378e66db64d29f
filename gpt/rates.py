"""Learning rates and weight decay by formula, from the counts of a model and its training. Pure arithmetic.

The formulas are starting values from published results; where measurements of ours differ, the docstring says so.
"""

import math
from dataclasses import dataclass

SMALL_BATCH, SMALL_BATCH_RATE = 2**14, 0.025  # tokens per update, and the rate of Muon's matrices up to there
LARGE_BATCH, LARGE_BATCH_RATE = 2**19, 0.02
DROPOUT_FROM = 50  # epochs x parameters per unique training token


@dataclass(frozen=True)
class Rates:
    """Peak learning rates: of the blocks' matrices, of embeddings, of an untied output head, of gains and biases."""

    matrices: float
    embeddings: float
    heads: float
    gains: float


def adamw_rate(parameters: int, tokens: int) -> float:
    """Peak rate of AdamW after arXiv 2503.04715 (half of it, for the decay is linear), at most 3e-3.

    parameters  that work on every token
    tokens      seen in the whole training
    """
    return _rounded(min(3e-3, 0.5 * 1.79 * parameters**-0.713 * tokens**0.307))


def muon_rate(batch_tokens: int) -> float:
    """Peak rate of Muon's matrices: from 2^19 tokens per update on 0.02 x sqrt(batch / 2^19), as in nanochat.

    The square root must not be followed down to small batches: below 2^14 tokens 0.025 is good whatever the batch
    (0.02 to 0.03 gave the lowest losses with 4 layers x 128 on Tiny Shakespeare by characters, at 768, 1536 and 2048
    tokens; the square root would say 0.001). Between the two the rate goes over from the one to the other, unmeasured.
    """
    if batch_tokens >= LARGE_BATCH:
        return _rounded(LARGE_BATCH_RATE * math.sqrt(batch_tokens / LARGE_BATCH))
    way = max(0.0, math.log(batch_tokens / SMALL_BATCH) / math.log(LARGE_BATCH / SMALL_BATCH))
    return _rounded(SMALL_BATCH_RATE * (LARGE_BATCH_RATE / SMALL_BATCH_RATE) ** way)


def muon_rates(matrices: float, width: int, tied: bool) -> Rates:
    """The other groups' rates in proportion to that of Muon's matrices, as in github.com/karpathy/nanochat.

    Those of tables fall with the square root of the width; a table that is the head as well takes small steps.
    """
    narrow = math.sqrt(768 / width)
    table = (0.15 if tied else 15.0) * narrow
    return Rates(matrices, _rounded(table * matrices), _rounded(0.4 * narrow * matrices), _rounded(0.5 * matrices))


def adamw_weight_decay(parameters: int, train_tokens: int) -> float:
    """Weight decay beside AdamW's rates: parameters over unique training tokens, in [0.1, 3.2]."""
    return round(max(0.1, min(3.2, parameters / train_tokens)), 4)


def muon_weight_decay(parameters: int, train_tokens: int) -> float:
    """Weight decay of Muon's matrices, in [0.2, 1.6]: one over it bounds their spectral norm (arXiv 2502.16982)."""
    return round(max(0.2, min(1.6, 0.3 + 0.17 * parameters / train_tokens)), 4)


def dropout(parameters: int, train_tokens: int, epochs: float) -> float:
    """0.05 x log2(epochs), at most 0.2, where a model is large and text is seen often, else none.

    That is from 50 on of epochs x parameters per unique training token. What it did to the loss of Tiny Shakespeare by
    characters, in nats: 0.9 parameters a token and less than one epoch +0.06 (two seeds); 1.4 and 5 epochs +0.06
    (three); 1.4 and 16 epochs +0.08 (one); 4.6 and 8 epochs +0.03 (two); 4.6 and 28 epochs -0.23 (one).
    """
    if parameters * epochs < DROPOUT_FROM * train_tokens:
        return 0.0
    return round(max(0.0, min(0.2, 0.05 * math.log2(max(1.0, epochs)))), 4)


def warmup_share(muon: bool, steps: int) -> float:
    """Share of the steps in which the rates rise: 2%, with Muon at most 40 steps, with AdamW at least 100."""
    return round(min(40 / steps, 0.02) if muon else min(0.25, max(100 / steps, 0.02)), 6)


def decay_share(muon: bool, batch_tokens: int, epochs: float) -> float:
    """Share of the steps in which the rates fall: 0.65, small batches of Muon's 0.7; 0.4 over 4 epochs.

    On Tiny Shakespeare (see `muon_rate`) 0.7 was the best of those tried.
    """
    if epochs > 4:
        return 0.4
    return 0.7 if muon and batch_tokens < SMALL_BATCH else 0.65


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")
