"""Near duplicates across slots: which document is similar to which earlier one.

The band tables of all slots are joined one range of hashes at a time. Documents that share a hash are a bucket, in the
order of slots and rows; each is compared with at most the eight earliest of its bucket that come before it. So what a
slot's documents match depends on the slots up to it alone: neither on the slots that are wanted with it nor on the
number of ranges. Where all of a corpus is one bucket, the work still grows with its length only.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.arrays import Range, entries_with, hash_ranges, let_go
from data.near.bands import BandTable, similarities
from data.near.config import NearConfig
from data.near.shingles import Hashes, Ints

EARLIEST = 8  # rows of a bucket that later ones are compared with
_ENTRIES_AT_ONCE = 1 << 21  # of all tables in one range, about; some 60 bytes each
_PAIRS_AT_ONCE = 1 << 14


class Matches(NamedTuple):
    """Documents with the earliest document that each is similar to, by slot and row ascending.

    slots, rows                  (matches,) int64: the document
    earlier_slots, earlier_rows  (matches,) int64: the earlier one
    similarities                 (matches,) float64: estimated Jaccard similarity of the two
    """

    slots: Ints
    rows: Ints
    earlier_slots: Ints
    earlier_rows: Ints
    similarities: NDArray[np.float64]

    def of_slot(self, slot: int) -> "Matches":
        """Those of one slot."""
        begin, end = np.searchsorted(self.slots, [slot, slot + 1])
        return Matches._make(column[begin:end] for column in self)


class _Entries(NamedTuple):
    """Entries of band tables: hash, slot and row of each, and whether its slot's matches are wanted."""

    hashes: Hashes
    slots: NDArray[np.int32]
    rows: NDArray[np.uint32]
    wanted: NDArray[np.bool_]


class NearIndex:
    """What is known of the slots of a corpus, in their order; files are mapped, and stay so.

    folders  of the slots' documents, each with a band table
    wanted   numbers of the slots whose matches are asked for
    """

    def __init__(self, folders: Sequence[Path], wanted: Collection[int], config: NearConfig) -> None:
        self._wanted = frozenset(wanted)
        self._config = config
        last = max(self._wanted, default=-1)
        self._tables = [BandTable(folder, config) for folder in folders[: last + 1]]

    def ranges(self) -> list[Range]:
        """Ranges of hashes such that one can be joined in bounded memory, about 150 MB."""
        entries = sum(len(table.hashes) for table in self._tables)
        return list(hash_ranges(-(-entries // _ENTRIES_AT_ONCE) or 1))

    def join(self, range_: Range) -> Matches:
        """Matches of the wanted slots, as far as one range of hashes shows them."""
        entries = self._read(range_)
        order = np.argsort(entries.hashes, kind="stable")  # quick, for it is made of few ascending runs
        hashes = entries.hashes[order]
        begins = np.ones(len(hashes), np.bool_)
        np.not_equal(hashes[1:], hashes[:-1], out=begins[1:])
        shared = ~begins  # not alone in its bucket
        shared[:-1] |= shared[1:]
        order, begins = order[shared], begins[shared]
        heads = np.flatnonzero(begins)
        head = heads[np.cumsum(begins) - 1]
        slots, rows = entries.slots[order], entries.rows[order]
        open_ = np.flatnonzero(entries.wanted[order] & ~begins)
        found, theirs, estimates = [], [], []
        for nth in range(EARLIEST):
            open_ = open_[head[open_] + nth < open_]
            similar = self._similarities(slots, rows, open_, head[open_] + nth)
            matches = similar >= self._config.threshold
            found.append(open_[matches])
            theirs.append(head[open_[matches]] + nth)
            estimates.append(similar[matches])
            open_ = open_[~matches]
        ours, other = np.concatenate(found), np.concatenate(theirs)
        columns = [column[at].astype(np.int64) for at in (ours, other) for column in (slots, rows)]
        return _earliest(Matches._make([*columns, np.concatenate(estimates)]))

    def _read(self, range_: Range) -> _Entries:
        """All entries of the wanted slots, and those of the others whose hashes the wanted have, by slot and row."""
        whole = {slot: self._tables[slot].read(range_) for slot in sorted(self._wanted)}
        hashes = np.sort(np.concatenate([np.empty(0, np.uint64), *(one for one, _ in whole.values())]), kind="stable")
        parts = []
        for slot, table in enumerate(self._tables):
            its_hashes, its_rows = whole[slot] if slot in whole else entries_with(hashes, *table.read(range_))
            number = np.full(len(its_hashes), slot, np.int32)
            parts.append((its_hashes, number, its_rows, np.full(len(its_hashes), slot in self._wanted)))
        if not parts:
            return _Entries(hashes, np.empty(0, np.int32), np.empty(0, np.uint32), np.empty(0, np.bool_))
        return _Entries._make(map(np.concatenate, zip(*parts, strict=True)))

    def _similarities(
        self, slots: NDArray[np.int32], rows: NDArray[np.uint32], left: Ints, right: Ints
    ) -> NDArray[np.float64]:
        """Estimates for pairs of entries."""
        found = np.empty(len(left))
        for start in range(0, len(left), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            ours, theirs = (self._signatures(slots[at[part]], rows[at[part]]) for at in (left, right))
            found[part] = similarities(ours, theirs)
        return found

    def _signatures(self, slots: NDArray[np.int32], rows: NDArray[np.uint32]) -> NDArray[np.uint8]:
        gathered = np.empty((len(slots), self._config.values), np.uint8)
        order = np.argsort(slots, kind="stable")
        borders = np.flatnonzero(np.diff(slots[order], prepend=-1))
        for begin, end in zip(borders.tolist(), [*borders[1:].tolist(), len(order)], strict=True):
            at = order[begin:end]
            signatures = self._tables[slots[at[0]]].signatures
            gathered[at] = signatures[rows[at]]
            let_go([signatures])  # each row read brings the pages around it along
        return gathered


def join_near(
    folders: Sequence[Path], wanted: Collection[int], config: NearConfig, ranges: Sequence[Range]
) -> list[Matches]:
    """What each of some ranges shows; the files are open only meanwhile."""
    index = NearIndex(folders, wanted, config)
    return [index.join(range_) for range_ in ranges]


def merged(parts: Sequence[Matches]) -> Matches:
    """What several ranges show together."""
    return _earliest(Matches._make(map(np.concatenate, zip(*parts, strict=True))))


def _earliest(matches: Matches) -> Matches:
    """Of several matches of a document only that with the earliest one."""
    order = np.lexsort((matches.earlier_rows, matches.earlier_slots, matches.rows, matches.slots))
    slots, rows = matches.slots[order], matches.rows[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (slots[1:] != slots[:-1]) | (rows[1:] != rows[:-1])
    return Matches._make(column[order[first]] for column in matches)
