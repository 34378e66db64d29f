"""Which tokens the model sees at which step: a pure function of (seed, step).

Every source has its own epochs. In an epoch its documents are shuffled and joined (each begins with the end-of-text
id), the join is cut into windows of the context length from a random offset, and the windows are shuffled. No
document is left out and none is cropped: in an epoch every token is the target of at least one window, the very first
aside. Sources take turns by weight, evenly spread. Nothing depends on how many processes or micro-batches share a
batch, nor on what was drawn before, so that a resumed run goes on exactly.

Memory is bounded whatever the number of documents: they are shuffled in blocks of neighbours (the blocks, and the
documents within each), and only the blocks in use are laid out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gpt.arrays import TokenShard
from gpt.errors import GPTError
from gpt.shuffle import derive, shuffled

BLOCK_DOCUMENTS = 1024
KEPT_BLOCKS = 2048  # laid-out blocks kept at once: at most 2048 x 1024 x 16 bytes = 32 MB per source
WEIGHT_BITS = 24  # a share of the batch is rounded to 2^-24


@dataclass(frozen=True)
class _Blocks:
    """Runs of neighbouring documents, in the order of the arrays on disk; one entry per block."""

    shard: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]  # document within the shard
    documents: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Epoch:
    """One epoch's order of blocks, and where each begins in the joined stream."""

    seed: int
    order: npt.NDArray[np.int64]
    begins: npt.NDArray[np.int64]  # (blocks + 1,)
    offset: int  # of the window grid, in [0, context)


class Source:
    """The shuffled windows of one source, numbered without end: epoch after epoch."""

    def __init__(self, name: str, shards: Sequence[TokenShard], context: int, seed: int) -> None:
        self.name = name
        self.context = context
        self.seed = seed
        self.shards = [shard for shard in shards if shard.documents]
        self.tokens = sum(len(shard.tokens) for shard in self.shards)
        if self.tokens < context + 1:
            raise GPTError(
                f"Source {name} has {self.tokens} training tokens, but one window takes {context + 1} "
                f"(model.context + 1): shorten model.context, add text to the source or leave it out."
            )
        self._blocks = _cut_blocks(self.shards)
        # one window more than needed, because the grid of windows moves
        self.windows = -(-(self.tokens - 1) // context) + 1
        self._epoch = lru_cache(2)(self._lay_out_epoch)
        self._block = lru_cache(KEPT_BLOCKS)(self._lay_out_block)

    def take(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The windows of the given numbers (n,), each at least 0: (n, context + 1) int64 ids."""
        taken = np.empty((len(numbers), self.context + 1), np.int64)
        epochs, places = np.divmod(numbers, self.windows)
        for epoch_number in np.unique(epochs).tolist():
            epoch = self._epoch(epoch_number)
            rows = np.flatnonzero(epochs == epoch_number)
            order = shuffled(places[rows], self.windows, derive(epoch.seed, 1))
            begins = np.clip(order * self.context - epoch.offset, 0, self.tokens - self.context - 1)
            for row, begin in zip(rows.tolist(), begins.tolist(), strict=True):
                self._read(epoch_number, begin, taken[row])
        return taken

    def _read(self, epoch_number: int, start: int, window: npt.NDArray[np.int64]) -> None:
        """Fill `window` with what stands at `start` of the epoch's joined documents."""
        epoch = self._epoch(epoch_number)
        length, filled = len(window), 0
        rank = int(np.searchsorted(epoch.begins, start, side="right")) - 1
        while filled < length:
            block = int(epoch.order[rank])
            documents, begins = self._block(epoch_number, block)
            tokens = self.shards[self._blocks.shard[block]].tokens
            within = start + filled - int(epoch.begins[rank])
            place = int(np.searchsorted(begins, within, side="right")) - 1
            while filled < length and place < len(documents):
                skip = within - int(begins[place])
                size = min(int(begins[place + 1]) - within, length - filled)
                origin = int(documents[place]) + skip
                window[filled : filled + size] = tokens[origin : origin + size]
                filled += size
                within += size
                place += 1
            rank += 1

    def _lay_out_epoch(self, number: int) -> _Epoch:
        seed = derive(self.seed, number)
        order = shuffled(np.arange(len(self._blocks.shard)), len(self._blocks.shard), derive(seed, 0))
        begins = np.concatenate(([0], np.cumsum(self._blocks.tokens[order])))
        return _Epoch(seed, order, begins, derive(seed, 2) % self.context)

    def _lay_out_block(self, epoch_number: int, block: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Shuffle one block's documents: their origins in the token array, and where each begins in the block."""
        first, count = int(self._blocks.first[block]), int(self._blocks.documents[block])
        starts = np.asarray(self.shards[self._blocks.shard[block]].starts[first : first + count + 1])
        order = shuffled(np.arange(count), count, derive(self._epoch(epoch_number).seed, 3, block))
        begins = np.concatenate(([0], np.cumsum((starts[1:] - starts[:-1])[order])))
        return starts[:-1][order], begins


class Batches:
    """Batches of `batch_size` windows out of weighted sources; `batch(step)` may be asked in any order."""

    def __init__(
        self,
        sources: Mapping[str, Sequence[TokenShard]],
        weights: Mapping[str, float],
        context: int,
        batch_size: int,
        vocab_size: int,
        seed: int,
    ) -> None:
        self.batch_size = batch_size
        self.vocab_size = vocab_size
        used = [name for name, shards in sources.items() if weights[name] and any(shard.documents for shard in shards)]
        if not used:
            raise GPTError("No source holds any training text: add text to the sources.")
        self.sources = [Source(name, sources[name], context, derive(seed, place)) for place, name in enumerate(used)]
        self._shares = _shares([weights[name] for name in used])

    @property
    def tokens(self) -> int:
        """Unique training tokens of all sources."""
        return sum(source.tokens for source in self.sources)

    def rows(self, step: int) -> list[tuple[int, int]]:
        """The batch of a step as (source index, window number) per row."""
        first = step * self.batch_size
        return [take_turn(first + row, self._shares) for row in range(self.batch_size)]

    def batch(self, step: int, begin: int = 0, end: int | None = None) -> npt.NDArray[np.int64]:
        """The batch of a step: (batch_size, context + 1) int64; inputs are [:, :-1], targets [:, 1:].

        `begin` and `end` choose rows of it, for a process that does a share; `end` None: to the last row.
        """
        turns = np.array(self.rows(step)[begin:end]).reshape(-1, 2)
        batch = np.empty((len(turns), self.sources[0].context + 1), np.int64)
        for index, source in enumerate(self.sources):
            rows = np.flatnonzero(turns[:, 0] == index)
            if len(rows):
                batch[rows] = source.take(turns[rows, 1])
                self._check_ids(source, batch[rows])
        return batch

    def _check_ids(self, source: Source, ids: npt.NDArray[np.int64]) -> None:
        if ids.max() >= self.vocab_size:
            raise GPTError(
                f"Source {source.name} holds the id {ids.max()}, but the tokenizer has only {self.vocab_size} ids: "
                f"rerun the tokens stage with this tokenizer."
            )


def take_turn(row: int, shares: Sequence[int]) -> tuple[int, int]:
    """Whose turn row `row` of all rows ever is, and the how many-th of that source: (source, number).

    shares  for each source but the last its share of what the earlier ones leave, in units of 2^-24

    Each source gets its share of the rows seen so far, rounded down, and what is left goes on to the next.
    """
    for source, share in enumerate(shares):
        taken = (row * share) >> WEIGHT_BITS
        if ((row + 1) * share) >> WEIGHT_BITS > taken:
            return source, taken
        row -= taken
    return len(shares), row


def _shares(weights: Sequence[float]) -> list[int]:
    shares = []
    for index in range(len(weights) - 1):
        share = round(2**WEIGHT_BITS * weights[index] / sum(weights[index:]))
        shares.append(min(max(share, 1), 2**WEIGHT_BITS - 1))
    return shares


def _cut_blocks(shards: Sequence[TokenShard]) -> _Blocks:
    shard, first, documents, tokens = [], [], [], []
    for number, one in enumerate(shards):
        begins = np.arange(0, one.documents, BLOCK_DOCUMENTS)
        ends = np.minimum(begins + BLOCK_DOCUMENTS, one.documents)
        shard.append(np.full(len(begins), number))
        first.append(begins)
        documents.append(ends - begins)
        tokens.append(one.starts[ends] - one.starts[begins])
    return _Blocks(*(np.concatenate(part).astype(np.int64) for part in (shard, first, documents, tokens)))
