"""Files of several documents without the bytes of those that are forgotten, while every other one stays what it was.

A forgotten row, line or piece is left empty in its place, so that the numbers of the others stay. Before anything is
replaced, both versions are read and compared: where another document would change by it, or the format is none that can
be written here (archives, compressed files, JSON in one piece), the file is left as it is. Chats: see chats.py.
"""

import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from data.forgetting.ids import holding
from data.formats.base import Reading, Tally
from data.formats.kinds import kind_of
from data.formats.reading import packed_file, read_file
from data.formats.tables import DELIMITERS, delimiter_of, row_ends
from data.sources.base import RawDocument, SlotItem
from data.sources.pack import PackedItem, PackReader, PackWriter, read_items

MAX_BYTES = 256_000_000  # of an item that is taken into memory
KIND = "folder"  # of the sources whose items are files as they lie there
_BOM = b"\xef\xbb\xbf"


@dataclass
class Blanked:
    """Items of which documents were taken out, and items that were left as they are, by native id; `why`: as far as
    their files themselves were in the way, {item: how}."""

    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    why: Mapping[str, str] = field(default_factory=dict)


def may_blank(kind: str, native_id: str, is_cut: bool = True) -> bool:
    """Whether an item of a source of this kind is a file of a format that documents can be taken out of."""
    found = kind_of(_file_name(native_id, is_cut))
    return kind == KIND and found is not None and found.compression is None and found.reader in _WAYS


def readings_of(identities: Sequence[Mapping[str, Any]]) -> list[Reading]:
    """The settings with which files were read, as documents artifacts name them; none of sources of other kinds."""
    names = [field.name for field in fields(Reading)]
    chosen = {Reading(**{name: one[name] for name in names}) for one in identities if one.get("kind") == KIND}
    return sorted(chosen, key=repr)


def blank_slot(raw: Path, out: Path, documents: Collection[str], readings: Sequence[Reading]) -> Blanked:
    """Copy the raw slot in the folder `raw` into `out`, without the bytes of documents.

    documents  native ids
    readings   all settings with which the slot was, or will be, read
    """
    items = {item.native_id for item in read_items(raw)}
    concerned = {item for one in documents for item in holding(one, items)} if items else set()
    found = Blanked()
    with PackReader(raw) as reader, PackWriter(out) as pack:
        for item in read_items(raw):
            content = _blanked(reader, item, documents, readings) if item.native_id in concerned else b""
            if content is None:
                found.left += (item.native_id,)
            elif content:
                found.done += (item.native_id,)
            chunks = [content] if content else reader.chunks(item)
            pack.add(item, chunks, check=False, sifted=bool(content) or item.sifted is not None)
    return found


def concerns(documents: Collection[str], items: Sequence[SlotItem]) -> bool:
    """Whether any of the documents may lie in an item that documents can be taken out of."""
    names = {item.native_id for item in items if may_blank(KIND, item.native_id, "from_byte" in item.meta)}
    return bool(names) and any(one in names for document in documents for one in holding(document, names))


def _file_name(native_id: str, is_cut: bool) -> str:
    name, _, number = native_id.rpartition("@")
    return name if is_cut and name and number.isdecimal() else native_id


def _blanked(
    reader: PackReader, item: PackedItem, documents: Collection[str], readings: Sequence[Reading]
) -> bytes | None:
    """The item's bytes without those of the documents; b"" where they hold none of them, None where that fails."""
    name = _file_name(item.native_id, "from_byte" in item.meta)
    if not may_blank(KIND, item.native_id, "from_byte" in item.meta) or item.size > MAX_BYTES or not readings:
        return None
    content = b"".join(reader.chunks(item))
    read = partial(_documents, reader, item, name)
    places = {
        int(one.position.get("row") or one.position.get("piece"))
        for reading in readings
        for one in read(content, reading)
        if one.native_id in documents
    }
    kind = kind_of(name)
    if not places or kind is None:
        return b""
    new = _WAYS[kind.reader](content, places, readings)
    if new is None or not all(_agree(read, content, new, documents, reading) for reading in readings):
        return None
    return b"" if new == content else new


def _documents(
    reader: PackReader, item: PackedItem, name: str, content: bytes, reading: Reading
) -> Iterator[RawDocument]:
    """What a version of an item's bytes is read as."""
    file = packed_file(reader, item, name)
    own = type(file)(
        file.name, lambda: iter([content]), name, meta=file.meta, seekable=lambda: io.BytesIO(content)
    )  # fmt: skip
    return (one for one in read_file(own, reading, Tally()) if isinstance(one, RawDocument))


def _agree(
    read: Callable[[bytes, Reading], Iterator[RawDocument]],
    before: bytes,
    after: bytes,
    documents: Collection[str],
    reading: Reading,
) -> bool:
    """Whether nothing but the documents differs, and nothing is left of these."""
    others = [(one for one in read(content, reading) if one.native_id not in documents) for content in (before, after)]
    gone = (one for one in read(after, reading) if one.native_id in documents)
    return all(_said(a) == _said(b) for a, b in zip_longest(*others)) and not any(
        one.text.strip() or one.authors for one in gone
    )


def _said(document: RawDocument | None) -> Any:
    if document is None:
        return None
    return (document.native_id, document.text, tuple(document.authors), document.url, document.created,
            document.licence, dict(document.meta))  # fmt: skip


def _lines(content: bytes, rows: Collection[int], _: Sequence[Reading]) -> bytes:
    lines = content.split(b"\n")
    for row in rows:
        lines[row - 1] = _BOM if row == 1 and content.startswith(_BOM) else b""
    return b"\n".join(lines)


def _pieces(content: bytes, pieces: Collection[int], readings: Sequence[Reading]) -> bytes | None:
    (delimiter, *others) = {reading.delimiter for reading in readings}
    if delimiter is None or others:
        return None
    kept, piece = [], 1
    for line in content.split(b"\n"):
        if line.rstrip() == delimiter.rstrip().encode():
            piece += 1
            kept.append(line)
        elif piece not in pieces:
            kept.append(line)
    return b"\n".join(kept)


def _table(delimiters: str, content: bytes, rows: Collection[int], _: Sequence[Reading]) -> bytes | None:
    ends = list(row_ends(io.BytesIO(content), delimiters))
    if not ends:
        return None
    delimiter = delimiter_of(content.partition(b"\n")[0].decode("latin-1"), delimiters)
    header = io.StringIO(content[: ends[0]].decode("latin-1"), newline="")
    empty = delimiter.join(['""'] * len(next(csv.reader(header, delimiter=delimiter)))).encode()
    parts, row = [content[: ends[0]]], 0
    for begin, end in zip(ends, [*ends[1:], len(content)], strict=True):
        part = content[begin:end]
        row += bool(part.strip(b"\r\n"))
        blank = row in rows and part.strip(b"\r\n")
        parts.append(empty + (b"\n" if part.endswith(b"\n") else b"") if blank else part)
    return b"".join(parts)


def _parquet(content: bytes, rows: Collection[int], _: Sequence[Reading]) -> bytes | None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    out = io.BytesIO()
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        schema, first = file.schema_arrow, 1
        codec = file.metadata.row_group(0).column(0).compression
        with pq.ParquetWriter(out, schema, compression="none" if codec == "UNCOMPRESSED" else codec) as writer:
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group)
                gone = pa.array([first + at in rows for at in range(table.num_rows)])
                nothing = [pa.scalar("" if pa.types.is_string(one.type) else None, one.type) for one in schema]
                columns = [pc.if_else(gone, none, column) for none, column in zip(nothing, table.columns, strict=True)]
                writer.write_table(pa.table(columns, schema=schema), row_group_size=max(1, table.num_rows))
                first += table.num_rows
    except (pa.ArrowException, OSError, ValueError, IndexError):
        return None
    return out.getvalue()


_WAYS: dict[str, Callable[[bytes, Collection[int], Sequence[Reading]], bytes | None]] = {
    "lines": _lines,
    "text": _pieces,
    "csv": partial(_table, DELIMITERS),
    "tsv": partial(_table, "\t"),
    "parquet": _parquet,
}
