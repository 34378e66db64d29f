"""Hiding tokens for the `masked` objective, as in BERT (Devlin et al. 2018, arXiv 1810.04805, section 3.1).

In every row the same number of positions is drawn, so shapes and the count of targets never change. Of these 80% become
the id of hidden tokens, 10% a random id, 10% stay: the model cannot tell which of the tokens that it reads are true.
Any token may be drawn, the end-of-text mark too. Draws are made on the CPU for the whole batch, before it is split,
and depend on the seed alone.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100  # a target that counts for nothing, as in torch's cross-entropy
SHARE = 0.15  # of the positions are targets
HIDDEN, REPLACED = 0.8, 0.1  # of the targets

Ids = npt.NDArray[np.int64]


def targets_per_row(length: int) -> int:
    """Positions to be predicted in a row of so many tokens, at least 1."""
    return max(1, round(SHARE * length))


def hide(ids: Ids, vocab_size: int, seed: int) -> Ids:
    """What is read and what is to be predicted: ids (rows, n) -> (rows, 2, n).

    [:, 0] holds the ids with some hidden (id `vocab_size`) or replaced by a random id below it; [:, 1] holds the true
    id at `targets_per_row(n)` positions of each row and -100 elsewhere.
    """
    generator = np.random.default_rng(seed)
    rows, length = ids.shape
    count = targets_per_row(length)
    places = generator.random((rows, length), np.float32).argpartition(count - 1, axis=1)[:, :count]
    fate = generator.random((rows, count))
    random_ids = generator.integers(0, vocab_size, (rows, count))
    true = np.take_along_axis(ids, places, 1)
    read = np.where(fate < HIDDEN, vocab_size, np.where(fate < HIDDEN + REPLACED, random_ids, true))
    both = np.stack((ids, np.full_like(ids, IGNORED)), 1)
    np.put_along_axis(both[:, 0], places, read, 1)
    np.put_along_axis(both[:, 1], places, true, 1)
    return both


def inputs_and_targets(batch: "Tensor") -> "tuple[Tensor, Tensor]":
    """Of windows (rows, n + 1) all but the last id and all but the first; of what `hide` made its two parts."""
    return (batch[:, 0], batch[:, 1]) if batch.ndim == 3 else (batch[:, :-1], batch[:, 1:])
