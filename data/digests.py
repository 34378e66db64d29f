"""Digests: what a payload says, told apart from how a library happened to write it down.

A file has two digests. `file_digest` is over its bytes and answers "is this still what was published?".
`logical_digest` is over what the file means and answers "would a reader see the same?": for Parquet that is the
schema and the values, whatever the row groups, pages, encodings and writer's version; for everything else (arrays,
weights, JSON) it is the bytes again. Only logical digests enter the keys of later stages.
"""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CHUNK = 1 << 20  # bytes read at a time


def file_digest(path: Path) -> str:
    """sha256 of the file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(text: str) -> str:
    """sha256 of a text's UTF-8 bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def logical_digest(path: Path) -> str:
    """Digest of what a file says: schema and values for `.parquet`, the bytes for any other file."""
    return _parquet_digest(path) if path.suffix == ".parquet" else file_digest(path)


def payload_digest(logical: dict[str, str]) -> str:
    """Digest of a whole payload from its files' logical digests, {path inside the artifact: digest}."""
    lines = (f"{path}\0{digest}\n" for path, digest in sorted(logical.items()))
    return text_digest("".join(lines))


class _ColumnDigest:
    """Digest of one column, fed array by array; blind to where one array ends and the next begins.

    Validity, lengths and values are hashed as three streams and joined at the end, recursively for lists.
    """

    def __init__(self, kind: pa.DataType) -> None:
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not (is_list or is_text or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise TypeError(f"No digest is defined for columns of {kind}: write numbers, text or lists of them.")
        self.validity, self.lengths, self.values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        self.items = _ColumnDigest(kind.value_type) if is_list else None
        self.is_text = is_text

    def update(self, column: pa.Array) -> None:
        import pyarrow.compute as pc  # takes a tenth of a second, and most who import this module digest no table

        self.validity.update(_plain(pc.cast(pc.is_valid(column), pa.uint8())))
        if self.items is not None:
            self.lengths.update(_plain(pc.cast(pc.fill_null(pc.list_value_length(column), 0), pa.int64())))
            self.items.update(column.flatten())
        elif self.is_text:
            binary = pc.fill_null(column, "").cast(pa.large_binary())
            self.lengths.update(_plain(pc.cast(pc.binary_length(binary), pa.int64())))
            self.values.update(_string_bytes(binary))
        else:
            self.values.update(_plain(pc.fill_null(column, pa.scalar(0, column.type))))

    def digest(self) -> bytes:
        own = self.validity.digest() + self.lengths.digest() + self.values.digest()
        return hashlib.sha256(own + (self.items.digest() if self.items else b"")).digest()


def _plain(column: pa.Array) -> memoryview | bytes:
    """The values of a primitive column without nulls, little-endian, one after the other."""
    return memoryview(column.to_numpy(zero_copy_only=False)).cast("B") if len(column) else b""


def _string_bytes(column: pa.LargeBinaryArray) -> memoryview | bytes:
    """The bytes of a string column without nulls, joined; no copy."""
    if not len(column):
        return b""
    _, offsets, values = column.buffers()
    bounds = memoryview(offsets).cast("q")[column.offset : column.offset + len(column) + 1]
    return memoryview(values)[bounds[0] : bounds[-1]] if values is not None else b""


def _parquet_digest(path: Path) -> str:
    """Digest of a Parquet file's schema and values; memory is bounded by one row group.

    Raises TypeError for columns that are not numbers, text or lists of them.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        schema = file.schema_arrow
        columns = [_ColumnDigest(field.type) for field in schema]
        rows = 0
        for batch in file.iter_batches():
            rows += batch.num_rows
            for digest, column in zip(columns, batch.columns, strict=True):
                digest.update(column)
    whole = hashlib.sha256(f"{[(field.name, str(field.type), field.nullable) for field in schema]} {rows}".encode())
    for digest in columns:
        whole.update(digest.digest())
    return whole.hexdigest()
