"""Several exports of one channel as one: which month each message belongs to, and which version of it counts.

A month begins where it begins in the newest export that has messages before that, because only such a file shows that
a conversation begins there. Every message id between two beginnings belongs to the month of the first, whichever file
it comes from, so no message has two places. Where files differ, the version of a message that was edited last counts,
else the one exported last; a message that any of the files has is there. Where files have the same records of a month,
the newest stands for all. Files are merged as streams (see data/sources/chats/merging.py).
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

from data.sources.chats.export_index import FileIndex, Segment, rows_of
from data.sources.chats.merging import AT_ONCE, Version, merged, stored

_END = 1 << 70  # above every id
_JOINED = 1_000  # records handed out at a time


@dataclass(frozen=True)
class Month:
    """One month of a channel: the messages with `first` <= id < `end`, from parts of files.

    parts  (name of the file, segment), the newest export first, no two with the same records
    """

    guild: str
    channel: str
    month: str
    first: int
    end: int
    parts: tuple[tuple[str, Segment], ...]

    @property
    def native_id(self) -> str:
        return f"{self.channel}/{self.month}"

    def has_all_of(self, part: Segment) -> bool:
        """Whether no message of a part belongs to another month."""
        return self.first <= part.first and part.last < self.end

    def settled(self) -> Segment | None:
        """The segment that this month is, where no two files differ about it."""
        one = self.parts[0][1]
        return one if len(self.parts) == 1 and self.has_all_of(one) else None

    def without(self, sha256s: Collection[str]) -> "Month":
        """The same month from fewer parts."""
        return replace(self, parts=tuple(part for part in self.parts if part[1].sha256 not in sha256s))

    def key(self, indexes: Mapping[str, FileIndex]) -> str:
        """Names what a merge of the parts gives. Of the times of exports only their order matters."""
        times = sorted({indexes[name].exported for name, _ in self.parts}, reverse=True)
        rank = {time: number for number, time in enumerate(times)}
        parts = [(rank[indexes[name].exported], part.sha256) for name, part in self.parts]
        first = max(self.first, min(part.first for _, part in self.parts))
        last = min(self.end - 1, max(part.last for _, part in self.parts))
        text = json.dumps([first, last, sorted(parts)])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def months_of(indexes: Mapping[str, FileIndex]) -> list[Month]:
    """The months of all channels, given the indexes of all files by name; sorted by native id."""
    channels: dict[str, list[str]] = {}
    for name, index in sorted(indexes.items(), key=lambda one: (-one[1].exported, one[0])):
        if index.segments:
            channels.setdefault(index.channel, []).append(name)
    months = []
    for channel, names in channels.items():
        parts = [(name, segment) for name in names for segment in indexes[name].segments]
        guild = indexes[names[0]].guild
        beginnings = _beginnings(parts)
        ends = [first for _, first in beginnings[1:]] + [_END]
        distinct: dict[str, tuple[str, Segment]] = {}
        for one in parts:
            distinct.setdefault(one[1].sha256, one)
        for (month, first), end in zip(beginnings, ends, strict=True):
            low = 0 if first == beginnings[0][1] else first
            held = tuple(one for one in distinct.values() if one[1].last >= low and one[1].first < end)
            if held:
                months.append(Month(guild, channel, month, low, end, held))
    return sorted(months, key=lambda month: month.native_id)


def _beginnings(parts: Sequence[tuple[str, Segment]]) -> list[tuple[str, int]]:
    """(month, id of its first message), both rising. `parts` has the newest export first."""
    known: dict[str, int] = {}
    guessed: dict[str, int] = {}
    for _, part in parts:
        if part.context:
            known.setdefault(part.month, part.first)
        else:
            guessed[part.month] = min(part.first, guessed.get(part.month, part.first))
    found: list[tuple[str, int]] = []
    for month, first in sorted((guessed | known).items()):
        if not found or first > found[-1][1]:
            found.append((month, first))
    return found


class Files(Protocol):
    """Opens the files that months refer to, by name."""

    def open(self, name: str) -> BinaryIO: ...


def month_lines(
    month: Month, indexes: Mapping[str, FileIndex], files: Files, used: set[str] | None = None
) -> Iterator[bytes]:
    """The records of a month, merged, some at a time; `used` gets the digests of the parts that they come from."""
    settled = month.settled()
    if settled is not None:
        name = month.parts[0][0]
        with files.open(name) as file:
            for rows in rows_of(file, indexes[name], settled):
                yield b"".join([row.line for row in rows])
        return
    lanes, unsorted = [], []
    for lane in _lanes(month.parts):
        versions = _versions(month, lane, indexes, files)
        if all(indexes[month.parts[place][0]].ordered for place in lane):
            lanes.append(versions)
            continue
        unsorted.append(stored(versions))  # a file out of order is held whole while it is read
        if len(unsorted) == AT_ONCE:
            unsorted = [stored(merged(unsorted))]
    lines: list[bytes] = []
    places: set[int] = set()
    for _, _, _, line, place in merged([*lanes, *unsorted]):
        lines.append(line)
        places.add(place)
        if len(lines) >= _JOINED:
            yield b"".join(lines)
            lines.clear()
    yield b"".join(lines)
    if used is not None:
        used.update(month.parts[place][1].sha256 for place in places)


def _lanes(parts: Sequence[tuple[str, Segment]]) -> list[list[int]]:
    """The places of the parts in lists that are read one after the other: those of a list follow each other in time."""
    lanes: list[list[int]] = []
    for place in sorted(range(len(parts)), key=lambda place: parts[place][1].first):
        begin = parts[place][1].first
        for lane in lanes:
            if parts[lane[-1]][1].last < begin:
                lane.append(place)
                break
        else:
            lanes.append([place])
    return lanes


def _versions(month: Month, lane: Sequence[int], indexes: Mapping[str, FileIndex], files: Files) -> Iterator[Version]:
    for place in lane:
        name, part = month.parts[place]
        index = indexes[name]
        with files.open(name) as file:
            for rows in rows_of(file, index, part):
                for row in rows:
                    if month.first <= row.id < month.end:
                        yield row.id, row.edited, index.exported, row.line, place
