"""Pieces of a Parquet file that lies elsewhere: some row groups, some columns, with their bytes as they came.

A piece is a header in JSON, the byte ranges ("spans") of the wanted column chunks, and the file's own footer, all
verbatim. To the reader it looks like the whole file with holes where nobody reads. It is not written anew as a small
Parquet file, because that would decode and encode the text while it is fetched, make the bytes depend on the writer's
version, and let a damaged page stop the fetch, where now it costs the row group that holds it when the piece is read.
Knows nothing of where the bytes come from.
"""

import bisect
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

MAGIC = b"PAR1"
FOOTER_TAIL = 8  # bytes: the footer's length, and the magic
MAX_FOOTER = 128_000_000  # bytes; the largest seen in the wild have some ten million
_HEADER_MAGIC = b"TMPIECE1"

Span = tuple[int, int]
"""First byte in the file, number of bytes."""


class DamagedParquetError(Exception):
    """A file that is no Parquet, or contradicts itself; the text says why in one sentence."""


@dataclass(frozen=True)
class Groups:
    """What a footer says of the wanted columns, by row group.

    columns  all columns of the file, in their order
    missing  wanted columns that it does not have as plain columns
    rows     rows of each group
    bytes    bytes of each group's wanted columns, as they lie in the file
    footer   bytes of the footer, its length and the magic included
    """

    columns: tuple[str, ...]
    missing: tuple[str, ...]
    rows: tuple[int, ...]
    bytes: tuple[int, ...]
    footer: int


def footer_length(tail: bytes) -> int:
    """Length of the whole footer, from the last 8 bytes of a file. Raises DamagedParquetError."""
    if len(tail) < FOOTER_TAIL or tail[-4:] != MAGIC:
        raise DamagedParquetError(f"it does not end as a Parquet file does, but in {tail[-4:]!r}")
    length = int.from_bytes(tail[-8:-4], "little") + FOOTER_TAIL
    if length > MAX_FOOTER:
        raise DamagedParquetError(f"its footer claims {length} bytes; {MAX_FOOTER} are allowed")
    return length


def parse_footer(footer: bytes) -> Any:
    """A pyarrow FileMetaData, from the footer alone. Raises DamagedParquetError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _named_errors():
        return pq.read_metadata(pa.BufferReader(MAGIC + footer))


@contextmanager
def _named_errors() -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, IndexError, MemoryError) as error:
        raise DamagedParquetError(f"its footer cannot be read: {_first_line(error)}") from error


def groups_of(metadata: Any, footer: int, wanted: Sequence[str]) -> Groups:
    """The row groups of a file. `footer` is the footer's length. Raises DamagedParquetError."""
    with _named_errors():
        return _groups_of(metadata, footer, wanted)


def _groups_of(metadata: Any, footer: int, wanted: Sequence[str]) -> Groups:
    leaves = _leaves(metadata)
    found = [leaves[name] for name in wanted if name in leaves]
    rows, sizes = [], []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        rows.append(group.num_rows)
        sizes.append(sum(size for _, size in _spans_of(group, found)))
    missing = tuple(name for name in wanted if name not in leaves)
    return Groups(_columns(metadata), missing, tuple(rows), tuple(sizes), footer)


def _leaves(metadata: Any) -> dict[str, int]:
    """Numbers of the plain columns, those that are neither lists nor structures, by name."""
    schema = metadata.schema
    columns = (schema.column(number) for number in range(len(schema)))
    return {one.path: number for number, one in enumerate(columns) if one.path == one.name}


def _columns(metadata: Any) -> tuple[str, ...]:
    schema = metadata.schema
    return tuple(dict.fromkeys(schema.column(number).path.split(".")[0] for number in range(len(schema))))


def _spans_of(group: Any, leaves: Iterable[int]) -> list[Span]:
    spans = []
    for leaf in leaves:
        chunk = group.column(leaf)
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
            start = chunk.dictionary_page_offset
        spans.append((start, chunk.total_compressed_size))
    return spans


def cut(groups: Groups, piece_bytes: int, max_rows: int | None = None) -> list[tuple[int, int]]:
    """Cut a file's row groups into pieces of about so many bytes: (first group, one after the last) of each.

    A piece closes before the group that would overfill it. Groups without rows belong to a piece and open none; groups
    after `max_rows` rows are left out.
    """
    pieces: list[tuple[int, int]] = []
    first, size, seen = 0, 0, 0
    for number, (rows, bytes_) in enumerate(zip(groups.rows, groups.bytes, strict=True)):
        if max_rows is not None and seen >= max_rows:
            break
        if size and rows and size + bytes_ > piece_bytes:
            pieces.append((first, number))
            first, size = number, 0
        seen += rows
        size += bytes_ if rows else 0
        end = number + 1
    return [*pieces, (first, end)] if size else pieces


def spans_of(metadata: Any, groups: tuple[int, int], wanted: Sequence[str], file_bytes: int) -> list[Span]:
    """Where the wanted columns of the groups lie, in file order, adjoining ones joined. Raises DamagedParquetError."""
    with _named_errors():
        leaves = _leaves(metadata)
        found = [leaves[name] for name in wanted if name in leaves]
        last = min(groups[1], metadata.num_row_groups)
        all_groups = [metadata.row_group(number) for number in range(groups[0], last)]
        spans = sorted(span for group in all_groups if group.num_rows for span in _spans_of(group, found))
    joined: list[Span] = []
    for start, size in spans:
        if start < len(MAGIC) or size < 0 or start + size > file_bytes:
            raise DamagedParquetError(f"its footer points to bytes {start} to {start + size} of {file_bytes}")
        if joined and start <= joined[-1][0] + joined[-1][1]:
            begin = joined[-1][0]
            joined[-1] = (begin, max(joined[-1][1], start + size - begin))
        elif size:
            joined.append((start, size))
    return joined


def header_of(file_bytes: int, groups: tuple[int, int], spans: Sequence[Span], footer: int) -> bytes:
    """What a piece begins with; the spans and the footer follow."""
    record = {"file_bytes": file_bytes, "footer": footer, "groups": groups, "spans": spans}
    text = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    return _HEADER_MAGIC + len(text).to_bytes(8, "little") + text


def is_piece(beginning: bytes) -> bool:
    """Whether content is a piece, by its first 8 bytes, rather than a whole file."""
    return beginning.startswith(_HEADER_MAGIC)


class PieceFile(io.RawIOBase):
    """The file of which `content` holds a piece, or all, at `offset`; reading where nothing was fetched is an error.

    groups  the row groups that are there; None: all
    """

    def __init__(self, content: BinaryIO, offset: int, size: int) -> None:
        super().__init__()
        self._content = content
        self._at = 0
        content.seek(offset)
        self.groups: tuple[int, int] | None = None
        if not is_piece(content.read(len(_HEADER_MAGIC))):
            self._bytes, spans, begin = size, [(0, size)], offset
        else:
            length = int.from_bytes(content.read(8), "little")
            begin = offset + len(_HEADER_MAGIC) + 8 + length
            if begin > offset + size:
                raise DamagedParquetError("the piece ends in its header")
            try:
                header = json.loads(content.read(length))
                self._bytes, footer = int(header["file_bytes"]), int(header["footer"])
                first, end = header["groups"]
                self.groups = (int(first), int(end))
                spans = [*((int(start), int(size)) for start, size in header["spans"]), (self._bytes - footer, footer)]
            except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
                raise DamagedParquetError(f"the piece's header is damaged: {error!r}") from error
        self._starts = [start for start, _ in spans]
        self._ends = [start + size for start, size in spans]
        self._places = list(accumulate((size for _, size in spans[:-1]), initial=begin))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._bytes}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes; what one span ends with and another goes on with is read in one."""
        end = self._bytes if size is None or size < 0 else min(self._bytes, self._at + size)
        parts = []
        while self._at < end:
            span = bisect.bisect_right(self._starts, self._at) - 1
            if span < 0 or self._at >= self._ends[span]:
                raise OSError(f"bytes {self._at} to {end} were not fetched")
            self._content.seek(self._places[span] + self._at - self._starts[span])
            part = self._content.read(min(end, self._ends[span]) - self._at)
            if not part:
                raise OSError("the slot ends early")
            self._at += len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
