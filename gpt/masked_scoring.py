"""Losses of a `masked` model on validation passages: every token hidden and predicted exactly once.

The tokens of a window are dealt at random into parts of about 15%; in each pass one part is hidden, all of it, and
predicted from the rest. The sum over a passage is a pseudo-likelihood: each token is predicted with knowledge of what
comes after it, so it says how well gaps are filled and cannot be compared with a causal model's. The first id of a
passage, the end-of-text mark, is only read. What is hidden follows from the passage alone, not from those beside it.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from gpt.device import mixed_precision
from gpt.errors import GPTError
from gpt.model import GPT
from gpt.shuffle import derive

PASSES = 7  # 1/7 is next to 15%

Passage = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class MaskedWindow:
    """Ids [begin, end) of a passage are read; those in [first, last) count."""

    passage: int
    begin: int
    end: int
    first: int
    last: int


@dataclass(frozen=True)
class _Pass:
    """One reading of a window: the places in it that are hidden."""

    window: MaskedWindow
    places: npt.NDArray[np.int64]

    @property
    def length(self) -> int:
        return self.window.end - self.window.begin


def cut_masked_windows(lengths: Sequence[int], context: int) -> list[MaskedWindow]:
    """The windows of passages of the given lengths (ids, the end-of-text mark included).

    A passage longer than the context is read in windows that overlap by half: the middle of each counts, and what lies
    before and behind only at the ends of the passage.
    """
    stride = max(1, context // 2)
    windows = []
    for passage, length in enumerate(lengths):
        first, begin = 1, 0
        while first < length:
            end = min(begin + context, length)
            last = length if end == length else min(length, end - (context - stride) // 2)
            begin = max(0, end - context)
            windows.append(MaskedWindow(passage, begin, end, first, last))
            first, begin = last, begin + stride
    return windows


@torch.no_grad()
def score_masked(
    model: GPT,
    passages: Sequence[Passage],
    token_bytes: npt.NDArray[np.integer],
    device: torch.device,
    exact: bool,
    tick: Callable[[], None],
    most_tokens: int,
    most_logits: int,
) -> npt.NDArray[np.float64]:
    """Score every passage, by batches of passes of at most so many tokens and logits.

    returns  (passages, 4) float64: sum of -ln p in nats, predicted tokens, their bytes, those guessed right
    """
    config = model.config
    scores = np.zeros((len(passages), 4))
    was_training = model.training
    model.eval()
    passes = sorted(_all_passes(passages, config.context), key=lambda one: one.length, reverse=True)
    for length, same in groupby(passes, key=lambda one: one.length):  # no padding, for every place is seen
        alike = list(same)
        hidden = -(-length // PASSES)
        at_once = max(1, min(most_tokens // length, most_logits // (config.padded_vocab * hidden)))
        for start in range(0, len(alike), at_once):
            _add_batch(model, passages, alike[start : start + at_once], token_bytes, device, exact, scores)
            tick()
    model.train(was_training)
    return scores


def _all_passes(passages: Sequence[Passage], context: int) -> Iterator[_Pass]:
    for window in cut_masked_windows([len(p) for p in passages], context):
        ids = passages[window.passage][window.begin : window.end].astype("<i8")
        generator = np.random.default_rng(derive(zlib.crc32(ids.tobytes()), window.begin))
        places = generator.permutation(np.arange(int(window.begin == 0), len(ids)))
        counts = (places >= window.first - window.begin) & (places < window.last - window.begin)
        for number in range(PASSES):
            if counts[number::PASSES].any():
                yield _Pass(window, places[number::PASSES])


def _add_batch(
    model: GPT,
    passages: Sequence[Passage],
    batch: Sequence[_Pass],
    token_bytes: npt.NDArray[np.integer],
    device: torch.device,
    exact: bool,
    scores: npt.NDArray[np.float64],
) -> None:
    vocab_size = model.config.vocab_size
    windows = [one.window for one in batch]
    true = np.stack([passages[w.passage][w.begin : w.end].astype(np.int64) for w in windows])
    if true.max() >= vocab_size:
        raise GPTError(
            f"A validation array holds the id {true.max()}, but the model knows only {vocab_size} ids: "
            f"score it on arrays of its own tokenizer."
        )
    read, counted = true.copy(), np.zeros(true.shape, bool)
    for row, (one, window) in enumerate(zip(batch, windows, strict=True)):
        read[row, one.places] = vocab_size
        counted[row, one.places] = True
        counted[row, : window.first - window.begin] = False
        counted[row, window.last - window.begin :] = False
    rows, _ = counted.nonzero()
    targets = true[counted]
    with torch.autocast(device.type, enabled=False) if exact else mixed_precision(device):
        hidden = model.hidden(torch.from_numpy(read).to(device))[torch.from_numpy(counted).to(device)]
        logits = model.logits(hidden)[:, :vocab_size].float()
    wanted = torch.from_numpy(targets).to(device)
    nats = F.cross_entropy(logits, wanted, reduction="none").cpu().double().numpy()
    right = (logits.argmax(-1) == wanted).cpu().numpy()
    columns = np.stack((nats, np.ones(len(nats)), token_bytes[targets], right), 1)
    np.add.at(scores, np.array([w.passage for w in windows])[rows], columns)
