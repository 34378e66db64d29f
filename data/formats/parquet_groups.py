"""Row groups of Parquet in batches that stay small, whatever repeats in them; and no more of it than may come out.

A few bytes of Parquet can stand for as many rows as they like, each of them the one huge value of a dictionary. How
long a dictionary's longest value is tells how many rows may be read at once. Memory: `GROWTH_BYTES` for a batch as
Arrow has it, and the pages that it comes from. Knows nothing of documents.
"""

from collections.abc import Iterable, Iterator, Sequence
from io import RawIOBase
from typing import IO, Any

from data.formats.decompression import BOMB_BYTES, BOMB_RATIO
from data.formats.parquet_pages import dictionary_comes_first
from data.formats.parquet_values import dictionaries, dictionary_bytes, largest_row

BATCH_BYTES = 4_000_000  # handed out at a time: about so many, unless a single row has more
BATCH_ROWS = 1 << 16
GROWTH_BYTES = 128_000_000  # that a batch may have at most before it is handed out in slices
_AT_ONCE_BYTES = 16_000_000  # a row group of no more is read in one go, which is a third quicker
_BUFFER = 1 << 20  # bytes of a column chunk of a larger one that are read at a time
_FEW_ROWS = 10_000  # in a group of more it is worth a look how long the longest value is, so as to read more at once
_ENTRY_BYTES = 64  # that pyarrow needs for one value of a dictionary that it makes
_LISTED_AT_ONCE = 200_000  # values of lists, about, as numbers into a dictionary
_OFFSET_BYTES = 4  # that a value of a list takes even when it is empty
_DICTIONARIES = ("PLAIN_DICTIONARY", "RLE_DICTIONARY")  # encodings in which a long value may be there once
_PREFIXES = "DELTA_BYTE_ARRAY"


class GrowsTooMuchError(Exception):
    """A row group that becomes more bytes than it may; the text says so in one sentence."""


class ParquetTable:
    """Some columns of a Parquet file, nested ones with all that is in them.

    names     of the columns, which it has
    metadata  its footer, where that is known already
    Raises what pyarrow raises, and ValueError for a column that is there twice.
    """

    def __init__(self, content: IO[bytes] | RawIOBase, names: Sequence[str], metadata: Any = None) -> None:
        import pyarrow.parquet as pq

        self._content = content
        self._names = list(names)
        self._how = {"pre_buffer": False, "page_checksum_verification": True}
        self._at_once = pq.ParquetFile(content, metadata=metadata, **self._how)
        self.metadata = self._at_once.metadata
        self._streamed = pq.ParquetFile(content, metadata=self.metadata, buffer_size=_BUFFER, **self._how)
        self._with_dictionaries: Any = None
        schema = self._at_once.schema_arrow
        for name in self._names:
            if len(schema.get_all_field_indices(name)) > 1:
                raise ValueError(f"two of its columns are called {name!r}")
        self._is_odd = any(_is_odd(schema.field(name).type) for name in self._names)
        schema = self.metadata.schema
        leaves = [schema.column(number) for number in range(len(schema))]
        wanted = set(self._names)
        self._leaves = [
            (number, leaf) for number, leaf in enumerate(leaves) if wanted & {leaf.path, leaf.path.split(".", 1)[0]}
        ]
        self._is_nested = any(leaf.max_repetition_level for _, leaf in self._leaves)

    def batches(self, number: int) -> Iterator[Any]:
        """A row group as pyarrow RecordBatches, dictionaries resolved. Raises GrowsTooMuchError, after what may come.

        As everywhere, `BOMB_RATIO` times the compressed bytes may come out, or `BOMB_BYTES` if that is more.
        """
        group = self.metadata.row_group(number)
        chunks = [group.column(leaf) for leaf, _ in self._leaves]
        compressed = sum(chunk.total_compressed_size for chunk in chunks)
        plain = sum(chunk.total_uncompressed_size for chunk in chunks)
        left = max(BOMB_BYTES, BOMB_RATIO * compressed)
        if plain > left:
            raise GrowsTooMuchError(f"{compressed} bytes say that they grow to {plain}; {_allowed()}")
        rows = self._rows_at_once(number, group.num_rows, plain, chunks)
        table = self._at_once if group.total_byte_size <= _AT_ONCE_BYTES else self._streamed
        for batch in self._read(table, rows, [number]):
            for part in _slices(batch):
                left -= part.nbytes
                if left < 0:
                    raise GrowsTooMuchError(f"{compressed} bytes grow to more: {_allowed()}")
                yield part

    def small_groups(self, first: int, end: int) -> Iterator[range]:
        """Row groups from `first` to before `end`, those that are small together; a large one is alone."""
        size = 0
        for number in range(first, end):
            more = self._plain(number)
            if number > first and size + more > BATCH_BYTES:
                yield range(first, number)
                first, size = number, 0
            size += more
        if first < end:
            yield range(first, end)

    def together(self, numbers: range) -> list[Any] | None:
        """The batches of small row groups, read in one go, which is quicker than `batches` of each.

        None where that cannot be: because one of them is damaged, or they grow, or they are not many.
        """
        import pyarrow as pa

        if len(numbers) < 2 or self._is_nested:
            return None
        most = max(1, *map(self._plain, numbers))
        left = 2 * BATCH_BYTES
        found = []
        try:
            for batch in self._read(self._at_once, max(1, min(BATCH_ROWS, GROWTH_BYTES // most)), numbers):
                left -= batch.nbytes
                found.append(batch)
                if left < 0:
                    return None
        except (pa.ArrowException, OSError, ValueError, MemoryError):
            return None
        promised = sum(self.metadata.row_group(number).num_rows for number in numbers)
        return found if sum(batch.num_rows for batch in found) == promised else None

    def _read(self, table: Any, rows: int, numbers: Iterable[int]) -> Iterator[Any]:
        for batch in table.iter_batches(rows, row_groups=[*numbers], columns=self._names, use_threads=False):
            yield _resolved(batch) if self._is_odd else batch

    def _plain(self, number: int) -> int:
        """Bytes of a row group's columns, decompressed, as its footer says."""
        group = self.metadata.row_group(number)
        return sum(int(group.column(leaf).total_uncompressed_size) for leaf, _ in self._leaves)

    def _rows_at_once(self, number: int, rows: int, plain: int, chunks: Sequence[Any]) -> int:
        """So many rows of a group that they are about `BATCH_BYTES`, and in the worst case `GROWTH_BYTES`."""
        wanted = max(1, min(BATCH_ROWS, rows, BATCH_BYTES * rows // max(1, plain)))
        safe = GROWTH_BYTES // max(1, plain)  # no value is longer than all of them together
        if not self._is_nested and safe and (safe >= wanted or rows <= _FEW_ROWS):
            return min(wanted, safe)
        row = 0  # bytes that one row can have
        for (_, leaf), chunk in zip(self._leaves, chunks, strict=True):
            row += self._longest_in_row(number, rows, leaf, chunk)
        return max(1, min(wanted, GROWTH_BYTES // max(1, row)))

    def _longest_in_row(self, number: int, rows: int, leaf: Any, chunk: Any) -> int:
        """Bytes that a column can have in one row though they lie in the file once; 0 where that need not be minded."""
        if not leaf.max_repetition_level:
            return self._longest(number, leaf, chunk)
        values, plain = int(chunk.num_values), int(chunk.total_uncompressed_size)
        most = _OFFSET_BYTES * values
        if most <= GROWTH_BYTES:
            encodings = set(chunk.encodings)
            if chunk.physical_type != "BYTE_ARRAY" or plain * values <= GROWTH_BYTES:
                return 0
            if _PREFIXES not in encodings and not encodings & {*_DICTIONARIES}:
                return 0
            looked = None if _PREFIXES in encodings else self._longest_list(number, leaf, chunk, rows)
            most = (_OFFSET_BYTES + plain) * (values - rows + 1) if looked is None else looked  # the rest has one each
        if most > GROWTH_BYTES:
            raise GrowsTooMuchError(
                f"a list in column {leaf.path} may grow to {most} bytes; {GROWTH_BYTES} bytes are allowed"
            )
        return most

    def _longest_list(self, number: int, leaf: Any, chunk: Any, rows: int) -> int | None:
        """Bytes of the row that has most, its values counted as often as they are in it; None if that cannot be told.

        Read as numbers into the dictionary, so that a list of values which are each huge is small until it is known.
        Raises GrowsTooMuchError where the different values are too many bytes.
        """
        most = longest = entries = 0
        values = int(chunk.num_values)
        is_first: bool | None = None
        try:
            for batch in self._by_number(number, leaf, max(1, rows * _LISTED_AT_ONCE // values)):
                column = batch.column(0)
                del batch
                most = max(most, largest_row(column, _OFFSET_BYTES))
                for dictionary in (one.dictionary for one in dictionaries(column)):
                    different, length = dictionary_bytes(dictionary)
                    if not longest and length:
                        longest, entries = length, len(dictionary)
                        if (longest + _OFFSET_BYTES) * values <= GROWTH_BYTES:
                            return 0  # what is not in the dictionary is in the file as often as it comes out
                    if longest and len(dictionary) > entries:  # here the dictionary was too large for the writer
                        is_first = dictionary_comes_first(self._content, chunk) if is_first is None else is_first
                        if is_first:
                            return most
                        if different + _ENTRY_BYTES * len(dictionary) > GROWTH_BYTES:
                            raise GrowsTooMuchError(f"column {leaf.path} has {different} bytes of different values")
        except OSError as error:
            if "not yet implemented" in str(error).lower():  # an encoding that pyarrow does not have as a dictionary
                return None  # else it is damage, to which the rows before it can be read
        return most

    def _longest(self, number: int, leaf: Any, chunk: Any) -> int:
        """Bytes, at most, of a value that is there once and that many rows can have."""
        if chunk.physical_type == "FIXED_LEN_BYTE_ARRAY":
            return int(leaf.length)
        encodings = set(chunk.encodings)
        if chunk.physical_type != "BYTE_ARRAY" or not encodings & {*_DICTIONARIES, _PREFIXES}:
            return 0
        if _PREFIXES in encodings:
            return int(chunk.total_uncompressed_size)
        try:
            batch = next(self._by_number(number, leaf, 1), None)
        except OSError:  # not an encoding that pyarrow has as a dictionary; if it is damage, the reader will say so
            return int(chunk.total_uncompressed_size)
        found = [] if batch is None else [dictionary_bytes(one.dictionary) for one in dictionaries(batch.column(0))]
        return max((length for _, length in found), default=0)

    def _by_number(self, number: int, leaf: Any, rows: int) -> Iterator[Any]:
        """One column of a group, its values as numbers into a dictionary, which comes as a whole with the first."""
        import pyarrow.parquet as pq

        if self._with_dictionaries is None:
            paths = [leaf.path for _, leaf in self._leaves]
            how = {"metadata": self.metadata, "buffer_size": _BUFFER, **self._how}
            self._with_dictionaries = pq.ParquetFile(self._content, read_dictionary=paths, **how)
        yield from self._with_dictionaries.iter_batches(rows, [number], [leaf.path], use_threads=False)


def _is_odd(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_dictionary(kind) or types.is_string_view(kind) or types.is_binary_view(kind))


def _resolved(batch: Any) -> Any:
    """The batch with every column of text as Arrow has it plainly, each value by itself and one after the other."""
    import pyarrow as pa
    import pyarrow.types as types

    columns = batch.columns
    for number, column in enumerate(columns):
        if types.is_dictionary(column.type):
            columns[number] = column = column.dictionary_decode()
        if types.is_string_view(column.type):
            columns[number] = column.cast(pa.string())
        elif types.is_binary_view(column.type):
            columns[number] = column.cast(pa.binary())
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _slices(batch: Any) -> Iterator[Any]:
    """The batch, in halves of halves of no more than about `BATCH_BYTES`, if it has that many rows."""
    if batch.nbytes <= 2 * BATCH_BYTES or batch.num_rows < 2:
        yield batch
    else:
        half = batch.num_rows // 2
        yield from _slices(batch.slice(0, half))
        yield from _slices(batch.slice(half))


def _allowed() -> str:
    return f"{BOMB_BYTES} bytes or {BOMB_RATIO} times are allowed"
