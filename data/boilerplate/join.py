"""Frequent lines across slots: which lines of a slot are boilerplate, given all slots before it.

The tables of all slots are joined one range of hashes at a time. What a slot's list says depends on the slots up to it
alone: neither on the slots that are wanted with it nor on the number of ranges. Each table is read once, however many
slots are wanted, so the work grows with the length of the corpus only.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.arrays import Range, UnusableArrayError, entries_with, hash_ranges, open_array
from data.boilerplate.lines import Hashes
from data.boilerplate.tables import Counts, LineTable

HASHES_FILE = "frequent-hashes.npy"
LEFT_FILE = "frequent-left.npy"
FILES = (HASHES_FILE, LEFT_FILE)
_ENTRIES_AT_ONCE = 1 << 19  # of all tables in one range, about; some 60 bytes each, which caches still help with


class FrequentLines(NamedTuple):
    """Lines of a slot that not all of its documents keep.

    hashes  (lines,) uint64, ascending
    left    (lines,) uint32: documents of the slot that keep the line, the first that have it
    """

    hashes: Hashes
    left: Counts

    def write(self, out: Path) -> None:
        """Write frequent-hashes.npy and frequent-left.npy."""
        np.save(out / HASHES_FILE, self.hashes, allow_pickle=False)
        np.save(out / LEFT_FILE, self.left, allow_pickle=False)

    @classmethod
    def read(cls, folder: Path) -> "FrequentLines":
        """What `write` wrote there."""
        hashes, left = open_array(folder / HASHES_FILE, np.uint64), open_array(folder / LEFT_FILE, np.uint32)
        if len(hashes) != len(left):
            raise UnusableArrayError(
                f"{folder} holds {len(hashes):,} hashes of frequent lines and {len(left):,} numbers beside them. "
                "Delete this artifact and run again: it will be rebuilt."
            )
        return cls(np.array(hashes), np.array(left))


class LineIndex:
    """The tables of the slots of a corpus, in their order; files are mapped, and stay so.

    folders  of the slots' documents, each with a table of lines
    wanted   numbers of the slots whose frequent lines are asked for
    most     documents that keep a line, over all slots
    """

    def __init__(self, folders: Sequence[Path], wanted: Collection[int], most: int) -> None:
        self._wanted = sorted(set(wanted))
        self._most = most
        last = max(self._wanted, default=-1)
        self._tables = [LineTable(folder) for folder in folders[: last + 1]]

    def ranges(self) -> list[Range]:
        """Ranges of hashes such that one can be joined in bounded memory, about 30 MB."""
        entries = sum(len(table.hashes) for table in self._tables)
        return list(hash_ranges(-(-entries // _ENTRIES_AT_ONCE) or 1))

    def join(self, range_: Range) -> dict[int, FrequentLines]:
        """Frequent lines of the wanted slots in one range of hashes, by slot."""
        whole = {slot: self._tables[slot].read(range_) for slot in self._wanted}
        asked = np.concatenate([np.empty(0, np.uint64), *(hashes for hashes, _ in whole.values())])
        if len(whole) < len(self._tables):
            asked = np.sort(asked, kind="stable")
        parts = [(np.empty(0, np.uint64), np.empty(0, np.uint32))]
        for slot, table in enumerate(self._tables):
            parts.append(whole[slot] if slot in whole else entries_with(asked, *table.read(range_)))
        slots = np.repeat(np.arange(-1, len(self._tables), dtype=np.int32), [len(hashes) for hashes, _ in parts])
        hashes, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(hashes, kind="stable")  # quick, for it is made of few ascending runs; slots ascend
        hashes, counts, slots = hashes[order], counts[order], slots[order]
        sums = np.cumsum(counts, dtype=np.int64)
        begins = np.ones(len(hashes), np.bool_)
        np.not_equal(hashes[1:], hashes[:-1], out=begins[1:])
        heads = np.flatnonzero(begins)
        before = sums - counts
        before -= before[heads][np.cumsum(begins) - 1]
        frequent = before + counts > self._most
        hashes, slots = hashes[frequent], slots[frequent]
        left = np.maximum(self._most - before[frequent], 0).astype(np.uint32)
        by_slot = np.argsort(slots, kind="stable")  # hashes ascend within each
        borders = np.searchsorted(slots[by_slot], [self._wanted, [slot + 1 for slot in self._wanted]])
        found = {}
        for slot, begin, end in zip(self._wanted, *borders.tolist(), strict=True):
            at = by_slot[begin:end]
            found[slot] = FrequentLines(hashes[at], left[at])
        return found


def join_lines(
    folders: Sequence[Path], wanted: Collection[int], most: int, ranges: Sequence[Range]
) -> list[dict[int, FrequentLines]]:
    """What each of some ranges shows; the files are open only meanwhile."""
    index = LineIndex(folders, wanted, most)
    return [index.join(range_) for range_ in ranges]


def merged(parts: Sequence[Mapping[int, FrequentLines]]) -> dict[int, FrequentLines]:
    """What all ranges, in their order, say together."""
    return {
        slot: FrequentLines._make(map(np.concatenate, zip(*(part[slot] for part in parts), strict=True)))
        for slot in parts[0]
    }
