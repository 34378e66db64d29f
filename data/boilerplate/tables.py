"""The table of lines of one slot: how many of its documents have each, as hashes in ascending order.

It is all that a later slot needs to know of an earlier one's lines: 12 bytes for each different one.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.arrays import Range, UnusableArrayError, let_go, open_array, places_of
from data.boilerplate.config import LinesConfig
from data.boilerplate.lines import Hashes, Lines, lines_of

HASHES_FILE = "line-hashes.npy"
COUNTS_FILE = "line-counts.npy"
FILES = (HASHES_FILE, COUNTS_FILE)

Counts = NDArray[np.uint32]


class LineWriter:
    """Gathers a slot's documents, batch by batch. Memory: 12 bytes for each different line of each batch."""

    def __init__(self, config: LinesConfig) -> None:
        self._config = config
        self._hashes = [np.empty(0, np.uint64)]
        self._counts = [np.empty(0, np.uint32)]

    def add(self, texts: Sequence[str]) -> None:
        """The next documents."""
        hashes, counts = np.unique(hashes_of_documents(lines_of(texts, self._config))[0], return_counts=True)
        self._hashes.append(hashes)
        self._counts.append(counts.astype(np.uint32))

    def write(self, out: Path) -> None:
        """Write line-hashes.npy (uint64, ascending, no repeats) and line-counts.npy (uint32, beside them)."""
        hashes = np.concatenate(self._hashes)
        order = np.argsort(hashes, kind="stable")
        hashes = hashes[order]
        heads = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)])
        counts = np.concatenate(self._counts)[order]
        np.save(out / HASHES_FILE, hashes[heads], allow_pickle=False)
        np.save(
            out / COUNTS_FILE,
            np.add.reduceat(counts, heads, dtype=np.uint32) if len(heads) else counts,
            allow_pickle=False,
        )


def hashes_of_documents(lines: Lines) -> tuple[Hashes, NDArray[np.int64]]:
    """What is counted: each hash once per document, by hash and document ascending; returns hashes and documents."""
    hashes, documents = lines.hashes[lines.countable], lines.documents[lines.countable]
    order = np.argsort(hashes, kind="stable")  # documents ascend already
    hashes, documents = hashes[order], documents[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (hashes[1:] != hashes[:-1]) | (documents[1:] != documents[:-1])
    return hashes[new], documents[new]


class LineTable:
    """The files of one slot, mapped."""

    def __init__(self, folder: Path) -> None:
        self.hashes = open_array(folder / HASHES_FILE, np.uint64)
        self.counts = open_array(folder / COUNTS_FILE, np.uint32)
        if len(self.hashes) != len(self.counts):
            raise UnusableArrayError(
                f"{folder} holds {len(self.hashes):,} hashes of lines and {len(self.counts):,} counts. "
                "Delete this artifact and run again: it will be rebuilt."
            )

    def read(self, range_: Range) -> tuple[Hashes, Counts]:
        """The hashes of a range, ascending, and their counts."""
        places = places_of(range_, self.hashes)
        read = np.array(self.hashes[places]), np.array(self.counts[places])
        let_go([self.hashes, self.counts])
        return read
