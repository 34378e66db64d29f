"""Rows of tables as a source's files have them: batches of the few columns that matter, and what could not be read.

Parquet is read here, row group by row group; JSON lines and CSV in data/sources/hub/text_rows.py. Memory: one batch,
and the pages that it comes from. Knows nothing of documents.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from data.formats.parquet_groups import GrowsTooMuchError, ParquetTable
from data.formats.parquet_values import python_values
from data.sources.hub.parquet_pieces import (
    FOOTER_TAIL,
    DamagedParquetError,
    PieceFile,
    footer_length,
    groups_of,
    parse_footer,
)


@dataclass(frozen=True)
class Fields:
    """Names of the columns that matter; None: there is no such column."""

    text: str
    id: str | None = None
    url: str | None = None
    date: str | None = None

    def names(self) -> list[str]:
        """The columns to fetch and to read, without repeats."""
        return list(dict.fromkeys(name for name in (self.text, self.id, self.url, self.date) if name is not None))


@dataclass(frozen=True)
class Rows:
    """Rows one after the other: the number of the first in its file, from 0, and the columns, by name.

    A column is a list or, as it comes from Parquet, a pyarrow Array, which `values` makes a list of.
    """

    first: int
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def values(self, name: str) -> list[Any]:
        """A column as Python values, as `python_values` makes them."""
        column = self.columns[name]
        return column if isinstance(column, list) else python_values(column)

    def some(self, start: int, end: int) -> "Rows":
        """The rows from the `start`-th to before the `end`-th of these, counted from 0."""
        return Rows(self.first + start, {name: column[start:end] for name, column in self.columns.items()})


@dataclass(frozen=True)
class Unreadable:
    """Rows, or a whole file, that could not be read; `first` and `end` (one after the last) where that is known."""

    what: str
    why: str
    first: int | None = None
    end: int | None = None


def wrong_column(missing: Sequence[str], columns: Sequence[str]) -> str:
    """The sentence about columns that a file does not have."""
    return f"has no column {' and no column '.join(map(repr, missing))} of plain values; its columns are " + ", ".join(
        columns
    )


def parquet_rows(content: BinaryIO, offset: int, size: int, fields: Fields) -> Iterator[Rows | Unreadable]:
    """Rows of a Parquet file, or of a piece of one, that lies in `content` at `offset`."""
    import pyarrow as pa

    try:
        file = PieceFile(content, offset, size)
        end = file.seek(0, 2)
        file.seek(max(0, end - FOOTER_TAIL))
        footer = footer_length(file.read(FOOTER_TAIL))
        if footer > end:
            raise DamagedParquetError(f"its footer claims {footer} bytes, but it has {end}")
        file.seek(end - footer)
        metadata = parse_footer(file.read(footer))
        groups = groups_of(metadata, footer, fields.names())
        schema = metadata.schema.to_arrow_schema()
        if groups.missing:
            yield Unreadable("wrong_column", wrong_column(groups.missing, groups.columns))
            return
        table = ParquetTable(file, fields.names(), metadata)
        kind = schema.field(fields.text).type
        if not _is_text(kind):
            types = ", ".join(f"{field.name}: {field.type}" for field in schema)
            yield Unreadable("wrong_column", f"column {fields.text!r} holds {kind}, not text; its columns are {types}")
            return
    except (DamagedParquetError, pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        yield Unreadable("damaged", str(error).strip() or type(error).__name__)
        return
    first, end_group = file.groups or (0, metadata.num_row_groups)
    at = sum(groups.rows[:first])
    if not sum(groups.rows[first:end_group]):
        yield Unreadable("empty", "it has no rows")
    last = min(end_group, metadata.num_row_groups)
    for numbers in table.small_groups(first, last):
        for batch in table.together(numbers) or ():
            yield _rows(at, batch)
            at += batch.num_rows
            numbers = range(0)
        for number in numbers:
            yield from _read_group(table, number, at)
            at += groups.rows[number]


def _rows(first: int, batch: Any) -> Rows:
    return Rows(first, dict(zip(batch.schema.names, batch.columns, strict=True)))


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    return any(test(kind) for test in (*tests, types.is_binary, types.is_large_binary, types.is_binary_view))


def _read_group(table: ParquetTable, number: int, first: int) -> Iterator[Rows | Unreadable]:
    """The rows of one row group; when a part of it is damaged, those before it."""
    import pyarrow as pa

    at = first
    end = first + table.metadata.row_group(number).num_rows
    try:
        for batch in table.batches(number):
            yield _rows(at, batch)
            at += batch.num_rows
    except GrowsTooMuchError as error:
        yield Unreadable("decompression_bomb", str(error), at, end)
        return
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        yield Unreadable("damaged", " ".join(str(error).split()) or type(error).__name__, at, end)
        return
    if at < end:
        yield Unreadable("damaged", f"{end - first} rows were promised, {at - first} came", at, end)
