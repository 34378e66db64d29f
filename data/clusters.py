"""Duplicates of a whole corpus at once: which document matched which, and the clusters that they form.

A document that is dropped matches one earlier document, which may be dropped for an even earlier one; the documents
that hang together so are a cluster, and the earliest of them is the one that stays. Documents are numbered through over
the slots: row r of slot k has the number firsts[k] + r. Knows matches, not texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.duplicates import MATCHES_FILE
from data.errors import TextmillError
from data.shards import read_batches

Ints = NDArray[np.int64]


class ForeignMatchesError(TextmillError):
    """Matches that name documents which the slots do not have."""


@dataclass(frozen=True)
class Links:
    """All matches of a corpus.

    firsts      (slots + 1,) int64: the number of each slot's first document, and of all documents
    dropped     (matches,) int64 ascending
    earlier     (matches,) int64: what each matched, each less than the number beside it
    similarity  (matches,) float32: estimated; NaN: the two are equal
    """

    firsts: Ints
    dropped: Ints
    earlier: Ints
    similarity: NDArray[np.float32]

    def place(self, number: int) -> tuple[int, int]:
        """Slot and row of a document."""
        slot = int(np.searchsorted(self.firsts, number, side="right")) - 1
        return slot, number - int(self.firsts[slot])

    def among(self, slots: Sequence[int]) -> NDArray[np.bool_]:
        """Which matches are of documents that were dropped from these slots, (matches,)."""
        return np.isin(np.searchsorted(self.firsts, self.dropped, side="right") - 1, np.array(slots, np.int64))


@dataclass(frozen=True)
class Clusters:
    """The clusters, the largest first; those of one size by their kept document.

    kept   (clusters,) int64: the document of each that stays
    sizes  (clusters,) int64: its documents, the kept one among them; at least 2
    of     (matches,) int64: for each match the kept document of its cluster
    """

    kept: Ints
    sizes: Ints
    of: Ints

    def sizes_by_power(self) -> dict[int, int]:
        """How many clusters have 2 to 3 documents, 4 to 7, 8 to 15 and so on, by the least number; no zeros."""
        powers, counts = np.unique(np.frexp(self.sizes.astype(np.float64))[1] - 1, return_counts=True)
        return {1 << int(power): int(count) for power, count in zip(powers, counts, strict=True)}


def read_links(folders: Sequence[Path], documents: Sequence[int]) -> Links:
    """The matches of all slots of a chain.

    folders    of the slots' drop lists; one without matches has no file of them
    documents  how many documents each slot has

    Memory: 20 bytes per match, and as much again while reading.
    """
    firsts = np.concatenate([[0], np.cumsum(np.array(documents, np.int64))]).astype(np.int64)
    dropped, earlier = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    similarity = [np.empty(0, np.float32)]
    for slot, folder in enumerate(folders):
        path = folder / MATCHES_FILE
        for batch in read_batches(path) if path.exists() else ():
            rows, slots, earlier_rows = (batch[name].to_numpy() for name in ("row", "earlier_slot", "earlier_row"))
            ours = firsts[slot] + rows
            if (slots > slot).any() or (rows >= documents[slot]).any():
                raise ForeignMatchesError(
                    f"{path} names documents that are not in the {slot + 1} slots up to its own, or not in its own of "
                    f"{documents[slot]:,} documents. Delete its artifact and run again: it will be rebuilt."
                )
            dropped.append(ours)
            earlier.append(firsts[slots] + earlier_rows)
            near = batch.schema.get_field_index("similarity") >= 0
            equal = np.full(len(rows), np.nan, np.float32)
            similarity.append(batch["similarity"].to_numpy(zero_copy_only=False) if near else equal)
    return Links(firsts, np.concatenate(dropped), np.concatenate(earlier), np.concatenate(similarity))


def find_clusters(links: Links) -> Clusters:
    """Follow every match to the document that stays: each pass over them doubles the length of the paths followed."""
    ends = links.earlier.copy()
    while len(ends):
        at = np.minimum(np.searchsorted(links.dropped, ends), len(ends) - 1)
        on = links.dropped[at] == ends  # what it matched was dropped, too
        if not on.any():
            break
        ends[on] = ends[at[on]]
    kept, sizes = np.unique(ends, return_counts=True)
    order = np.lexsort((kept, -sizes))
    return Clusters(kept[order], sizes[order].astype(np.int64) + 1, ends)
