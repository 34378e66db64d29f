"""Where in an export which month of its channel lies, found in one pass over the file.

A segment is a run of messages in one month of conversation start (see conversations.StartMonths), as this file alone
would have it; data/sources/chats/merge.py settles what several exports of one channel disagree about. Segments refer
to bytes of the file, so that one month can be read again without the rest. A file whose messages are not oldest first
is read whole and sorted, if it is not too large.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from data.facts import counted
from data.sources.base import Problem
from data.sources.chats.conversations import StartMonths, month_of
from data.sources.chats.export import Block, Damage, ForeignFileError, blocks, read_head
from data.sources.chats.messages import Row, milliseconds, row_of
from data.sources.chats.spare import Spare

SORTED_BYTES = 100_000_000  # a larger file must be oldest first


@dataclass(frozen=True)
class Segment:
    """Messages of one month of conversation start that follow one another in a file.

    month        as `2024-05`
    first, last  message ids
    begin, end   bytes of the file; `end` is where the next message begins, None for the last one
    size         bytes of the records, sha256 their digest
    context      whether messages come before it in the file, so that its beginning is known to be one
    """

    month: str
    first: int
    last: int
    begin: int
    end: int | None
    size: int
    sha256: str
    context: bool


@dataclass(frozen=True)
class FileIndex:
    """What one export holds.

    guild, channel  ids; channel is "" for a file that cannot be used
    exported        when it was made, milliseconds since the epoch; 0 if unknown
    indent          see discord_export.Head
    ordered         whether its messages are oldest first
    segments        by time
    problems        (what, why)
    """

    guild: str = ""
    channel: str = ""
    exported: int = 0
    indent: str = ""
    ordered: bool = True
    segments: tuple[Segment, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """A form that JSON keeps; `from_json` reads it."""
        return asdict(self)

    @staticmethod
    def from_json(value: Any) -> "FileIndex":
        """Raises TypeError, KeyError or ValueError when it is none."""
        known = dict(value)
        known["segments"] = tuple(Segment(**segment) for segment in known["segments"])
        known["problems"] = tuple((str(what), str(why)) for what, why in known["problems"])
        return FileIndex(**known)

    def named_problems(self, name: str) -> list[Problem]:
        """The problems of this file, called `name`."""
        return [Problem(what, name, why) for what, why in self.problems]


def index_file(file: BinaryIO, size: int, silence_minutes: float, spare: Spare | None = None) -> FileIndex:
    """Read an export, which has `size` bytes, to its end; `spare` gets the records of its last segments.

    Memory: a few MB and what is spared, or the records of a file out of order.
    """
    spare = spare or Spare(0)
    try:
        head = read_head(file)
    except ForeignFileError as error:
        return FileIndex(problems=(("foreign", f"no export of DiscordChatExporter: {error.why}"),))
    try:
        exported = milliseconds(head.exported) if head.exported else 0
    except (ValueError, OverflowError):
        exported = 0
    made = FileIndex(head.guild, head.channel, exported, head.indent.decode())
    damage = Damage()
    found = blocks(file, head.begin, None, head.indent, damage)
    segments = _segments(_rows(found, damage), silence_minutes, spare)
    ordered = True
    problems: list[tuple[str, str]] = []
    if segments is None:
        ordered, segments = False, []
        if size > SORTED_BYTES:
            problems.append(
                (
                    "unordered",
                    f"its messages are not oldest first, and with {size} bytes it is too large to be sorted "
                    f"({SORTED_BYTES}); export it oldest first, or in parts",
                )
            )
        else:
            damage = Damage()
            rows = _sorted_rows(file, made, damage)
            segments = _segments([(None, rows)], silence_minutes, spare) or []
    problems += _damages(damage)
    if not segments and not problems:
        problems.append(("empty", "the export holds no message"))
    return FileIndex(made.guild, made.channel, exported, made.indent, ordered, tuple(segments), tuple(problems))


def _damages(damage: Damage) -> Iterator[tuple[str, str]]:
    if damage.count:
        places = ", ".join(map(str, damage.places)) + ("..." if damage.count > len(damage.places) else "")
        yield "damaged", f"{counted(damage.count, 'message')} unreadable, at byte {places}; the others are used"
    if damage.cut:
        yield "cut", "the file ends before its list of messages does; what is there is used"


def rows_of(file: BinaryIO, index: FileIndex, segment: Segment) -> Iterator[list[Row]]:
    """The records of one segment of a file, by id, some at a time. Of a file out of order all of it is read."""
    if not index.ordered:
        yield [row for row in _sorted_rows(file, index, Damage()) if segment.first <= row.id <= segment.last]
        return
    for block in blocks(file, segment.begin, segment.end, index.indent.encode(), Damage()):
        yield [row for message in block.messages if (row := row_of(message)) is not None]


def _sorted_rows(file: BinaryIO, index: FileIndex, damage: Damage) -> list[Row]:
    file.seek(0)
    begin = read_head(file).begin
    rows: dict[int, Row] = {}
    for _, found in _rows(blocks(file, begin, None, index.indent.encode(), damage), damage):
        for row in filter(None, found):
            if row.id not in rows or newest((row, 0)) > newest((rows[row.id], 0)):
                rows[row.id] = row
    return [rows[number] for number in sorted(rows)]


def newest(candidate: tuple[Row, int]) -> tuple[int, int, bytes]:
    """Orders versions of a message, given with the time of their exports: the last edited, else the last exported."""
    row, exported = candidate
    return row.edited, exported, row.line


def _rows(found: Iterable[Block], damage: Damage) -> Iterator[tuple[Block, list[Row | None]]]:
    """The records of each block, one for each message; None for one that has none."""
    for block in found:
        rows = [row_of(message) for message in block.messages]
        if None in rows:
            for number, row in enumerate(rows):
                if row is None:
                    damage.add(block.places()[number])
        yield block, rows


class _Growing:
    """A segment while it grows."""

    def __init__(self, month: str, row: Row, begin: int, context: bool, spare: Spare) -> None:
        self.month = month
        self.first = row.id
        self.begin = begin
        self.context = context
        self.size = 0
        self.lines: list[bytes] = []
        self._digest = hashlib.sha256()
        self._spare = spare
        self._records: list[bytes] = []

    def flush(self) -> None:
        """Take the lines into account."""
        joined = b"".join(self.lines)
        self.lines.clear()
        self._digest.update(joined)
        self.size += len(joined)
        if self.size <= self._spare.limit:
            self._records.append(joined)
        else:
            self._records.clear()

    def closed(self, last: int, end: int | None) -> Segment:
        self.flush()
        sha256 = self._digest.hexdigest()
        if self.size <= self._spare.limit:
            self._spare.put(sha256, self._records)
        return Segment(self.month, self.first, last, self.begin, end, self.size, sha256, self.context)


def _segments(
    found: Iterable[tuple[Block | None, Sequence[Row | None]]], silence_minutes: float, spare: Spare
) -> list[Segment] | None:
    """Cut records into segments; None when they are not in order. The rows of no block are those of a whole file."""
    months = StartMonths(silence_minutes)
    segments: list[Segment] = []
    growing: _Growing | None = None
    last, last_kept = -1, None
    for block, rows in found:
        for number, row in enumerate(rows):
            if row is None:
                continue
            if row.id <= last:
                return None
            if (row.kept and row.at >= months.ends) or growing is None:
                month = months.month_after(last_kept, row.at) if row.kept else month_of(row.at)[0]
                if growing is None or month != growing.month:
                    place = block.places()[number] if block else 0
                    if growing is not None:
                        segments.append(growing.closed(last, place))
                    growing = _Growing(month, row, place, bool(segments), spare)
            growing.lines.append(row.line)
            last = row.id
            if row.kept:
                last_kept = row.at
        if growing is not None:
            growing.flush()
    if growing is not None:
        segments.append(growing.closed(last, None))
    return segments
