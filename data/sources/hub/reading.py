"""The rows of a fetched item, whatever kind of file it was cut from."""

from collections.abc import Callable, Iterator
from pathlib import Path

from data.formats.decompression import decompress
from data.sources.hub.files import kind_of
from data.sources.hub.items import PART
from data.sources.hub.rows import Fields, Rows, Unreadable, parquet_rows
from data.sources.hub.text_rows import csv_rows, json_rows
from data.sources.pack import CONTENT_FILE, DamagedPackError, PackedItem, PackReader


def item_rows(reader: PackReader, raw: Path, item: PackedItem, fields: Fields) -> Iterator[Rows | Unreadable]:
    """The rows of one item of the slot in `raw`. Raises DamagedPackError for a kind that nobody here reads."""
    kind = kind_of(item.meta[PART]["path"])
    if kind == ("parquet", None):
        with (raw / CONTENT_FILE).open("rb") as content:
            yield from parquet_rows(content, item.offset, item.size, fields)
    elif kind is not None:
        yield from text_rows(kind, lambda: reader.chunks(item), item.meta[PART]["path"], fields)
    else:
        raise DamagedPackError(f"{raw}: {item.native_id} is of no kind that this version reads.")


def text_rows(
    kind: tuple[str, str | None], chunks: Callable[[], Iterator[bytes]], path: str, fields: Fields
) -> Iterator[Rows | Unreadable]:
    """The rows of a JSONL or CSV file, or of a part of one.

    kind    as `kind_of` gives it: format and compression
    chunks  gives the file's bytes from its beginning, each time it is called
    path    on the hub
    """

    def plain() -> Iterator[bytes]:
        return decompress(chunks(), kind[1]) if kind[1] else chunks()

    if kind[0] == "jsonl":
        return json_rows(plain(), fields)
    return csv_rows(plain, fields, "\t" if ".tsv" in path.lower()[-8:] else ",")
