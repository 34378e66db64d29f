"""Rows of tables as a source's files have them: batches of the few columns that matter, and what could not be read.

Parquet is read here, row group by row group; JSON lines and CSV in data/sources/hub/text_rows.py. Memory: one batch,
and the pages that it comes from. Knows nothing of documents.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from data.formats.decompression import BOMB_BYTES, BOMB_RATIO
from data.sources.hub.parquet_pieces import (
    FOOTER_TAIL,
    DamagedParquetError,
    PieceFile,
    footer_length,
    groups_of,
    parse_footer,
)

BATCH_BYTES = 4_000_000  # text held as Python strings at a time, by the average row of a row group
BATCH_ROWS = 8_192
_AT_ONCE_BYTES = 16_000_000  # a row group of no more is read in one go, which is a third quicker
_BUFFER = 1 << 20  # bytes of a column chunk of a larger one that are read at a time


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
    """Rows one after the other: the number of the first in its file, from 0, and the columns, by name."""

    first: int
    columns: dict[str, list[Any]]


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
    import pyarrow.parquet as pq

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
        kind = schema.field(fields.text).type
        if not _is_text(kind):
            types = ", ".join(f"{field.name}: {field.type}" for field in schema)
            yield Unreadable("wrong_column", f"column {fields.text!r} holds {kind}, not text; its columns are {types}")
            return
        how = {"metadata": metadata, "pre_buffer": False, "page_checksum_verification": True}
        at_once, streamed = pq.ParquetFile(file, **how), pq.ParquetFile(file, buffer_size=_BUFFER, **how)
    except (DamagedParquetError, pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        yield Unreadable("damaged", str(error).strip() or type(error).__name__)
        return
    first, end_group = file.groups or (0, metadata.num_row_groups)
    at = sum(groups.rows[:first])
    if not sum(groups.rows[first:end_group]):
        yield Unreadable("empty", "it has no rows")
    for number in range(first, min(end_group, metadata.num_row_groups)):
        is_small = metadata.row_group(number).total_byte_size <= _AT_ONCE_BYTES
        yield from _read_group(at_once if is_small else streamed, metadata, number, at, fields)
        at += groups.rows[number]


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    return any(test(kind) for test in (*tests, types.is_binary, types.is_large_binary, types.is_binary_view))


def _read_group(table: Any, metadata: Any, number: int, first: int, fields: Fields) -> Iterator[Rows | Unreadable]:
    """The rows of one row group; when a part of it is damaged, those before it."""
    import pyarrow as pa

    group = metadata.row_group(number)
    end = first + group.num_rows
    sizes = [_size_of(group, name) for name in fields.names()]
    compressed, plain = (sum(side) for side in zip(*sizes, strict=True))
    limit = max(BOMB_BYTES, BOMB_RATIO * compressed)
    if plain > limit:
        why = f"{compressed} bytes say that they grow to {plain}; {BOMB_BYTES} bytes or {BOMB_RATIO} times are allowed"
        yield Unreadable("decompression_bomb", why, first, end)
        return
    batch_rows = max(1, min(BATCH_ROWS, BATCH_BYTES * group.num_rows // max(1, plain)))
    at = first
    try:
        names = fields.names()
        for batch in table.iter_batches(batch_rows, row_groups=[number], columns=names, use_threads=False):
            limit -= batch.nbytes
            if limit < 0:
                why = f"{compressed} bytes grow to more than {BOMB_BYTES} bytes and {BOMB_RATIO} times"
                yield Unreadable("decompression_bomb", why, at, end)
                return
            columns = dict(zip(batch.schema.names, map(_values, batch.columns), strict=True))
            yield Rows(at, columns)
            at += batch.num_rows
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        yield Unreadable("damaged", " ".join(str(error).split()) or type(error).__name__, at, end)
        return
    if at < end:
        yield Unreadable("damaged", f"{end - first} rows were promised, {at - first} came", at, end)


def _size_of(group: Any, name: str) -> tuple[int, int]:
    """Bytes of a column chunk, compressed and not."""
    chunks = (group.column(number) for number in range(group.num_columns))
    return next(
        (one.total_compressed_size, one.total_uncompressed_size) for one in chunks if one.path_in_schema == name
    )


def _values(column: Any) -> list[Any]:
    """A column as Python values; text that is no UTF-8 stays bytes, so that its row can be named."""
    import pyarrow as pa
    import pyarrow.types as types

    kind = column.type
    if types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)  # what Python's datetime can hold
    if types.is_dictionary(kind) and _is_text(kind):
        column = column.dictionary_decode()
    values: list[Any]
    if not _is_text(column.type):
        values = column.to_pylist()
        return values
    if types.is_string(column.type) or types.is_large_string(column.type):
        with suppress(UnicodeDecodeError, pa.ArrowException):
            values = column.to_numpy(zero_copy_only=False).tolist()  # several times as quick as to_pylist
            return values
    return [_decoded(value) for value in column.cast(pa.large_binary()).to_pylist()]


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value
