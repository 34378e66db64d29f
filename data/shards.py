"""Parquet shards: the schemas of documents and corpus, a writer of bounded row groups, a reader that trusts no page.

Every page carries a checksum that is verified when it is read, because a damaged page without one can come
back as wrong text and no error. A shard never holds zero rows: a side with nothing on it has no file. This
module knows columns and rows; what the columns mean is settled by the stages that fill them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.errors import TextmillError

ROW_GROUP_BYTES = 8_000_000  # UTF-8 bytes of text in one row group, which is also what a reader holds at once
ROW_GROUP_ROWS = 65_536  # the same limit for shards of very short texts
MAX_TEXT_BYTES = 1_000_000_000  # UTF-8 bytes of one document: Parquet pages and Arrow strings end at 2**31

DOCUMENTS = pa.schema(
    [
        pa.field("native_id", pa.string(), nullable=False),
        pa.field("authors", pa.list_(pa.string()), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("created", pa.string()),  # ISO 8601
        pa.field("licence", pa.string(), nullable=False),
        pa.field("meta", pa.string(), nullable=False),  # a JSON object
    ]
)
CORPUS = pa.schema(
    [
        *DOCUMENTS,
        pa.field("passage", pa.int32(), nullable=False),  # number of the row's first passage in its document
        pa.field("passages", pa.int32(), nullable=False),  # how many passages the row holds
    ]
)
MATCHES = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("earlier_slot", pa.int32(), nullable=False),  # index in the chain of slots
        pa.field("earlier_row", pa.int64(), nullable=False),
    ]
)

NEAR_MATCHES = pa.schema([*MATCHES, pa.field("similarity", pa.float32())])  # estimated; null: the two are equal


class DamagedShardError(TextmillError):
    """A Parquet file that cannot be read back as it was written."""


class TextTooLongError(TextmillError):
    """One document that no Parquet page could hold."""


class ShardWriter:
    """Writes tables of one schema into one Parquet file, in row groups of bounded size.

    The file is created with the first row group; a writer that got no rows leaves no file. Rows keep their
    order. If the block ends with an error, the file goes.
    """

    def __init__(self, path: Path, schema: pa.Schema, row_group_bytes: int = ROW_GROUP_BYTES) -> None:
        self.path = path
        self.rows = 0
        self._schema = schema
        self._limit = row_group_bytes
        self._file: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0

    def write(self, table: pa.Table) -> None:
        """Append rows; what does not fill a row group yet is kept until `close`."""
        sizes = text_sizes(table) if "text" in self._schema.names else np.ones(table.num_rows, np.int64)
        start = 0
        while start < table.num_rows:
            ends = self._waiting_bytes + np.cumsum(sizes[start : start + ROW_GROUP_ROWS - self._waiting_rows])
            taken = int(np.searchsorted(ends, self._limit, side="right"))
            if taken == 0 and self._waiting_rows == 0:
                taken = 1  # one text over the limit: a row group of its own
            if taken:
                self._waiting.append(table.slice(start, taken))
                self._waiting_rows += taken
                self._waiting_bytes = int(ends[taken - 1])
                start += taken
            if start < table.num_rows or self._waiting_bytes >= self._limit:
                self._flush()

    def close(self) -> None:
        """Write what is waiting and the footer."""
        self._flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _flush(self) -> None:
        if not self._waiting_rows:
            return
        if self._file is None:
            repetitive = [name for name in ("source", "licence", "meta") if name in self._schema.names]
            self._file = pq.ParquetWriter(
                self.path, self._schema, compression="zstd", use_dictionary=repetitive, write_page_checksum=True
            )
        rows = pa.concat_tables(self._waiting).combine_chunks()
        self._file.write_table(rows, row_group_size=rows.num_rows)
        self.rows += rows.num_rows
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif self._file is not None:
            with suppress(OSError):  # closing writes the footer, and a full disk refuses that, too
                self._file.close()
            self.path.unlink(missing_ok=True)


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield a shard's rows in order, one row group at a time; `columns` None means all of them.

    Raises DamagedShardError when a page's checksum, the footer or the coding of a page is wrong.
    """
    with _opened(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=None if columns is None else list(columns))
            yield from table.combine_chunks().to_batches()


def pick_rows(path: Path, rows: Iterable[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Some rows of a shard by number, as {row: {column: value}}; only the row groups that hold them are read.

    Raises DamagedShardError as `read_batches` does, and where the shard has fewer rows.
    """
    wanted = np.unique(np.array(list(rows), np.int64))
    found: dict[int, dict[str, Any]] = {}
    with _opened(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            begin, end = np.searchsorted(wanted, [first, first + file.metadata.row_group(group).num_rows])
            if begin < end:
                table = file.read_row_group(group, columns=list(columns))
                values = table.take(pa.array(wanted[begin:end] - first)).to_pylist()
                found.update(zip(wanted[begin:end].tolist(), values, strict=True))
            first += file.metadata.row_group(group).num_rows
    if len(found) < len(wanted):
        raise DamagedShardError(
            f"{path} has {first:,} rows, but row {int(wanted[-1]):,} was asked for (the first is 0). "
            "Delete its artifact and run again: it will be rebuilt."
        )
    return found


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file is missing or the disk fails: the message names both already
        raise DamagedShardError(
            f"{path} is damaged: {_first_line(error)}. Delete its artifact and run again: it will be rebuilt."
        ) from error


def read_texts(path: Path, column: str = "text") -> Iterator[list[str]]:
    """Yield the texts of a shard in row order, as one list per row group (about `ROW_GROUP_BYTES` of text)."""
    for batch in read_batches(path, [column]):
        yield batch.column(0).to_pylist()


def text_sizes(table: pa.Table | pa.RecordBatch) -> NDArray[np.int64]:
    """UTF-8 bytes of each text, (rows,) int64."""
    chunks = table["text"].chunks if isinstance(table, pa.Table) else [table["text"]]
    parts = [np.diff(text_buffer(chunk)[0]) for chunk in chunks]
    return np.concatenate([np.empty(0, np.int64), *parts])


def text_buffer(texts: pa.StringArray) -> tuple[NDArray[np.int64], pa.Buffer]:
    """The UTF-8 bytes behind `texts` without a copy: text i lies in bytes [offsets[i], offsets[i+1]) of the buffer.

    offsets  (rows + 1,) int64
    """
    _, offsets, data = texts.buffers()
    start, stop = texts.offset, texts.offset + len(texts) + 1
    if offsets is None or len(texts) == 0:
        return np.zeros(1, np.int64), data or pa.py_buffer(b"")
    return np.frombuffer(offsets, np.int32)[start:stop].astype(np.int64), data or pa.py_buffer(b"")


def table_of(schema: pa.Schema, columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """A table of Python values; texts may be given as UTF-8. Raises TextTooLongError for one that Parquet could not
    hold.

    Strings are not handed to pyarrow as Python values: that makes it import pandas, which takes a third of a second.
    """
    texts = [text if isinstance(text, bytes) else text.encode() for text in columns["text"]]
    for native_id, text in zip(columns["native_id"], texts, strict=True):
        if len(text) > MAX_TEXT_BYTES:
            raise TextTooLongError(
                f"Document {native_id!r} holds {len(text):,} bytes of text, and the limit is "
                f"{MAX_TEXT_BYTES:,}. Split it, for example on a delimiter line."
            )
    arrays = [_array(texts if one.name == "text" else columns[one.name], one.type) for one in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values as an array; strings may be given as UTF-8."""
    if pa.types.is_list(kind):
        bounds = _bounds([len(value) for value in values])
        items = _array([item for value in values for item in value], kind.value_type)
        return pa.Array.from_buffers(kind, len(values), [None, bounds], children=[items])
    if not pa.types.is_string(kind):
        return pa.array(values, kind)
    coded = [value.encode() if isinstance(value, str) else b"" if value is None else value for value in values]
    some = np.array([value is not None for value in values], np.bool_)
    mask = None if some.all() else pa.py_buffer(np.packbits(some, bitorder="little"))
    return pa.Array.from_buffers(kind, len(coded), [mask, _bounds(map(len, coded)), pa.py_buffer(b"".join(coded))])


def _bounds(lengths: Iterable[int]) -> pa.Buffer:
    """Where values of these lengths begin, and where the last ends, as Arrow keeps them."""
    bounds = np.cumsum([0, *lengths])
    if bounds[-1] > np.iinfo(np.int32).max:
        raise OverflowError(f"A column of {bounds[-1]:,} bytes is more than an array of Arrow's can hold.")
    return pa.py_buffer(bounds.astype(np.int32))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
