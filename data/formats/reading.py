"""Reading any file: its name says which reader is right, and everything that can go wrong becomes a Problem.

This is the one way in for sources: make a `File` of what they have, and take documents and problems from `read_file`.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from importlib import import_module

from data.formats.base import UNREADABLE, File, Found, Reading, Tally
from data.formats.budget import Budget
from data.formats.decompression import decompress
from data.formats.kinds import ARCHIVES, Kind, kind_of
from data.sources.base import Problem
from data.sources.pack import PackedItem, PackReader

Reader = Callable[[File, Reading, Tally], Found]
_READERS = {
    "text": "text.read_text",
    "lines": "json_lines.read_json_lines",
    "json": "json_values.read_json",
    "csv": "tables.read_csv",
    "tsv": "tables.read_tsv",
    "parquet": "parquet.read_parquet",
    "html": "html.read_html",
    "epub": "epub.read_epub",
    "pdf": "pdf.read_pdf",
    "docx": "docx.read_docx",
    "warc": "warc.read_warc",
    "zip": "archives.read_zip",
    "tar": "archives.read_tar",
}
_loaded: dict[str, Reader] = {}


def read_file(file: File, reading: Reading, tally: Tally) -> Found:
    """The documents of a file, and a Problem for whatever of it cannot be read; raises nothing that its bytes cause.

    Ids are the file's name, or begin with it and `#` (a row, a piece, a record) or `/` (a member of an archive).
    Memory: a few buffers and one document, of `DOCUMENT_CHARACTERS` at most; a page or PDF as a whole.
    """
    kind = kind_of(file.kind_name or file.name, file.content_type)
    if kind is None:
        yield Problem("unknown_format", file.name, f"neither its name nor {file.content_type} says what it is")
        return
    try:
        yield from _reader(kind.reader)(_plain(file, kind), reading, tally)
    except UNREADABLE as error:
        yield Problem(error.what, file.name, error.why)


def packed_file(
    reader: PackReader, item: PackedItem, kind_name: str | None = None, content_type: str | None = None
) -> File:
    """An item of a fetched slot as a file."""
    return File(
        item.native_id,
        partial(reader.chunks, item),
        kind_name,
        content_type=content_type,
        url=item.url,
        created=item.created,
        meta={**item.meta, "look": item.look},
        position={"offset": item.offset},
        seekable=partial(reader.open, item),
    )


def _plain(file: File, kind: Kind) -> File:
    """The file as it is without its compression; an archive with a budget for what comes out of it."""
    is_outermost = file.budget is None and kind.reader in ARCHIVES.values()
    if kind.compression is None and not is_outermost:
        return file
    budget = Budget() if is_outermost else file.budget
    chunks = budget.reads(file.chunks) if budget and is_outermost else file.chunks
    if kind.compression is None:
        return replace(file, chunks=chunks, budget=budget)
    chunks = partial(_decompressed, chunks, kind.compression)
    if budget and not is_outermost:
        chunks = budget.grows(chunks)
    return replace(file, chunks=chunks, seekable=None, budget=budget)


def _decompressed(chunks: Callable[[], Iterable[bytes]], compression: str) -> Iterable[bytes]:
    return decompress(chunks(), compression)


def _reader(name: str) -> Reader:
    """The reader of this name; its module, and the libraries that it needs, are imported when it is first used."""
    if name not in _loaded:
        module, _, function = _READERS[name].partition(".")
        _loaded[name] = getattr(import_module(f"data.formats.{module}"), function)
    return _loaded[name]
