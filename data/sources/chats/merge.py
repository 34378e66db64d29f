"""Several exports of one channel as one: which month each message belongs to, and which version of it counts.

A month begins where it begins in the newest export that has messages before that, because only such a file shows that
a conversation begins there. Every message id between two beginnings belongs to the month of the first, whichever file
it comes from, so no message has two places. Where files differ, the version of a message that was edited last counts,
else the one exported last; a message that any of the files has is there. Files are merged as streams.
"""

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, groupby
from typing import BinaryIO, Protocol

from data.sources.chats.export_index import FileIndex, Segment, newest, rows_of
from data.sources.chats.messages import Row

_END = 1 << 70  # above every id
_JOINED = 1_000  # records handed out at a time


@dataclass(frozen=True)
class Month:
    """One month of a channel: the messages with `first` <= id < `end`, from parts of files.

    parts  (name of the file, segment), the newest export first
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

    def settled(self) -> Segment | None:
        """The segment that this month is, where no two files differ about it."""
        one = self.parts[0][1]
        whole = all(self.first <= part.first and part.last < self.end for _, part in self.parts)
        return one if whole and all(part.sha256 == one.sha256 for _, part in self.parts) else None

    def key(self, indexes: Mapping[str, FileIndex]) -> str:
        """Names what a merge of the parts gives."""
        parts = [(indexes[name].exported, part.sha256, part.first, part.last) for name, part in self.parts]
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
        for (month, first), end in zip(beginnings, ends, strict=True):
            low = 0 if first == beginnings[0][1] else first
            held = tuple((name, part) for name, part in parts if part.last >= low and part.first < end)
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


def month_lines(month: Month, indexes: Mapping[str, FileIndex], files: Files) -> Iterator[bytes]:
    """The records of a month, merged, some at a time."""
    with ExitStack() as stack:
        settled = month.settled()
        if settled is not None:
            name = month.parts[0][0]
            for rows in rows_of(stack.enter_context(files.open(name)), indexes[name], settled):
                yield b"".join([row.line for row in rows])
            return
        streams = []
        for name, part in month.parts:
            rows_in_blocks = rows_of(stack.enter_context(files.open(name)), indexes[name], part)
            streams.append(_versions(chain.from_iterable(rows_in_blocks), indexes[name].exported, month))
        lines: list[bytes] = []
        for row in _merged(streams):
            lines.append(row.line)
            if len(lines) >= _JOINED:
                yield b"".join(lines)
                lines.clear()
        yield b"".join(lines)


def _versions(rows: Iterable[Row], exported: int, month: Month) -> Iterator[tuple[Row, int]]:
    return ((row, exported) for row in rows if month.first <= row.id < month.end)


def _merged(streams: Sequence[Iterator[tuple[Row, int]]]) -> Iterator[Row]:
    merged = heapq.merge(*streams, key=lambda one: one[0].id)
    for _, versions in groupby(merged, key=lambda one: one[0].id):
        yield max(versions, key=newest)[0]
