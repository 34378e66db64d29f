"""Rows of JSON lines and CSV, streamed. A broken line costs itself, and a file without the wanted column is given up.

Memory: a batch of rows, and the longest line, which may have `RECORD_BYTES`.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from data.formats.decoding import CannotDecodeError, decode
from data.formats.decompression import CannotDecompressError
from data.sources.hub.rows import Fields, Rows, Unreadable, wrong_column

RECORD_BYTES = 64_000_000  # a longer line, or CSV field, is not read
_BATCH_CHARACTERS = 2_000_000
_BATCH_ROWS = 2_048
_GIVE_UP = 100  # rows without the wanted column and none with it, from the beginning


class _Batch:
    """Rows gathered until they are worth handing on; rows that cannot be read stay in their place between them."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields.names()
        self._text = fields.text
        self._start(0)

    def _start(self, first: int) -> None:
        self.first = first
        self._columns: dict[str, list[Any]] = {name: [] for name in self._fields}
        self._characters = 0

    def add(self, row: int, values: Callable[[str], Any]) -> Iterator[Rows]:
        """Take a row; hands the batch over when it is full, or when rows before this one are missing."""
        if row != self.first + len(self._columns[self._text]):
            yield from self.drain()
            self.first = row
        for name, column in self._columns.items():
            column.append(values(name))
        text = self._columns[self._text][-1]
        self._characters += len(text) if isinstance(text, str) else 0
        if self._characters >= _BATCH_CHARACTERS or len(self._columns[self._text]) >= _BATCH_ROWS:
            yield from self.drain()

    def drain(self) -> Iterator[Rows]:
        """Hand over what there is."""
        number = len(self._columns[self._text])
        if number:
            yield Rows(self.first, self._columns)
        self._start(self.first + number)


def json_rows(chunks: Iterable[bytes], fields: Fields) -> Iterator[Rows | Unreadable]:
    """Rows of JSON lines: one object a line, blank lines passed over; a row's number is that of its line, from 0."""
    batch = _Batch(fields)
    good = lacking = 0
    try:
        for row, line in enumerate(_lines(chunks)):
            if not line.strip():
                continue
            value = _parsed(row, line)
            if isinstance(value, dict) and fields.text not in value:
                lacking += 1
                value = Unreadable("wrong_column", wrong_column([fields.text], list(value)), row, row + 1)
            if isinstance(value, Unreadable):
                yield from batch.drain()
                yield value
                if not good and lacking >= _GIVE_UP:
                    why = f"none of the first {lacking} rows has the column {fields.text!r}: the rest is not read"
                    yield Unreadable("wrong_column", why)
                    return
                continue
            good += 1
            yield from batch.add(row, value.get)
    except CannotDecompressError as error:
        yield from batch.drain()
        yield Unreadable(error.what, error.why)
        return
    yield from batch.drain()


def _parsed(row: int, line: bytes) -> Any:
    """The object of a line, or why it has none."""
    if len(line) > RECORD_BYTES:
        return Unreadable("too_long", f"the line has over {RECORD_BYTES} bytes", row, row + 1)
    try:
        value = json.loads(line)
    except UnicodeDecodeError as error:
        return Unreadable("undecodable", f"not UTF-8: {error.reason} at byte {error.start} of the line", row, row + 1)
    except (ValueError, RecursionError) as error:
        return Unreadable("broken", f"no JSON: {error}", row, row + 1)
    if not isinstance(value, dict):
        return Unreadable("broken", f"not an object with columns, but {type(value).__name__}", row, row + 1)
    return value


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends. Of one that is too long, its beginning, longer than `RECORD_BYTES`."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            yield b"".join([*held, part]) if held else part
            held, size = [], 0
        if rest and size <= RECORD_BYTES:
            held.append(rest)
            size += len(rest)
    if held:
        yield b"".join(held)


def csv_rows(open_file: Callable[[], Iterable[bytes]], fields: Fields, separator: str) -> Iterator[Rows | Unreadable]:
    """Rows of a CSV file whose first row names the columns; a row's number counts the rows after that, from 0."""
    csv.field_size_limit(RECORD_BYTES)
    batch = _Batch(fields)
    row = -1
    try:
        _, texts = decode(open_file, "utf-8")
        reader = csv.reader(_text_lines(texts), delimiter=separator)
        names: list[str] = next(reader, [])
        if missing := [name for name in fields.names() if name not in names]:
            yield Unreadable("wrong_column", wrong_column(missing, names))
            return
        places = {name: names.index(name) for name in fields.names()}
        while True:
            row += 1
            try:
                values = next(reader)
            except csv.Error as error:
                yield from batch.drain()
                yield Unreadable("broken", f"no CSV: {error}", row, row + 1)
                continue
            if len(values) != len(names):
                if values:  # else a blank line
                    yield from batch.drain()
                    why = f"{len(values)} fields, but {len(names)} columns"
                    yield Unreadable("broken", why, row, row + 1)
                continue
            yield from batch.add(row, lambda name, values=values: values[places[name]])  # type: ignore[misc]
    except StopIteration:
        yield from batch.drain()
    except (CannotDecodeError, CannotDecompressError, csv.Error) as error:
        yield from batch.drain()
        yield Unreadable(getattr(error, "what", "broken"), getattr(error, "why", str(error)))


def _text_lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines with their ends; one that is too long comes in parts, which the reader refuses as a field."""
    held = ""
    for text in texts:
        *ended, held = (held + text).split("\n")
        yield from (f"{line}\n" for line in ended)
        if len(held) > RECORD_BYTES:
            yield held
            held = ""
    if held:
        yield held
