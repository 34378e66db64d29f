"""A folder of files with text: plain, tables, pages, books, archives; also compressed.

This module ties together what data/sources/listing.py finds, ranges.py cuts and data/formats reads; each states its own
rules and bounds. Files are fetched as they lie there, compressed ones compressed, so whatever is wrong inside of one
shows up when its slot is read.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from data.facts import Facts, Progress, no_progress
from data.formats.base import Tally
from data.formats.config import FilesConfig
from data.formats.decompression import COMPRESSIONS
from data.formats.kinds import READERS, Kind, is_wanted, kind_of
from data.formats.reading import packed_file, read_file
from data.sources.base import Item, Look, Note, Problem, RawDocument, SlotItem, SourceError, no_note
from data.sources.listing import list_files, name_of, path_of
from data.sources.pack import CHUNK, EarlierPacks, PackReader, PackWriter, read_items
from data.sources.ranges import Memo, Range, Way, cut_file
from data.sources.settings import PathSettings

_CUT: dict[Kind | None, Way] = {
    Kind("text"): "lines",
    Kind("lines"): "lines",
    Kind("csv"): "csv",
    Kind("tsv"): "tsv",
}
_BUFFER_BYTES = 1 << 16
_MAX_NAMED = 20  # problems named in one error


class FolderConfig(PathSettings, FilesConfig):
    """Files below a folder: .txt .md .rst .text .jsonl .ndjson .json .csv .tsv .parquet .html .epub .pdf .docx .warc,
    archives of them (.zip .tar), and .gz .bz2 .xz .zst of all of these, in upper or lower case.
    """

    needs: ClassVar[str] = "a folder of yours; .pdf and .docx need: pip install -c constraints.txt -e '.[pdf,docx]'"
    example: ClassVar[Mapping[str, Any]] = {"kind": "folder", "path": "texts"}

    kind: Literal["folder"] = "folder"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def reading_identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "reader": 4, **self.files_reading_identity()}

    def look(self, root: Path, memo: Any = None) -> Look:
        """One item per file, several for a large one. With a memo, files that were not touched are not read again."""
        folder = self.place(root)
        known = Memo(memo, time.time_ns())
        base = os.fsencode(folder)
        try:
            listing = list_files(folder, is_wanted)
        except FileNotFoundError:
            raise SourceError(
                f"The folder {folder} (path: {self.path!r}) does not exist. Create it, or correct the path."
            ) from None
        except NotADirectoryError:
            raise SourceError(f"{folder} (path: {self.path!r}) is a file. Name the folder in which it lies.") from None
        except OSError as error:
            raise SourceError(f"The folder {folder} cannot be listed: {error.strerror}.") from error
        items: list[Item] = []
        problems = list(listing.problems)
        for name, status in sorted(listing.files.items()):
            try:
                ranges = known.get(name, status) or _ranges(base, name, known)
            except OSError as error:
                problems.append(Problem("unreadable", name, f"{error.strerror}"))
                continue
            items += [_item(name, number, part) for number, part in enumerate(ranges)]
        if not items:
            raise SourceError(_nothing_found(folder, problems))
        items.sort(key=lambda item: item.native_id)
        return Look(tuple(items), tuple(problems), listing.complete, known.entries)

    def fetch(
        self,
        items: Sequence[SlotItem],
        root: Path,
        out: Path,
        work: Path,
        progress: Progress = no_progress,
        earlier: Sequence[Path] = (),
    ) -> Facts:
        """Copy the files as they are."""
        folder = os.fsencode(self.place(root))
        kept = cache(lambda: EarlierPacks(earlier))
        with PackWriter(out, sum(item.size for item in items), progress, kept) as pack:
            for item in items:
                pack.add(item, _content(folder, item, kept))
        return Facts(counts={"items": pack.items, "bytes": pack.bytes}, licences=[self.licence])

    def read(self, raw: Path, note: Note = no_note) -> Iterator[RawDocument | Problem]:
        """The documents of each file, and a Problem for whatever cannot be read.

        A document's id begins with the file's name, with `@0002`, `@0003`... in later ranges of a large file; what
        follows is the reader's matter (see data/formats).
        """
        tally, reading = Tally(), self.reading()
        with PackReader(raw) as reader:
            for item in read_items(raw):
                kind_name = _file_of(item)
                yield from read_file(packed_file(reader, item, kind_name), reading, tally)
        tally.tell(note, reading.fallback_encoding)


def _ranges(folder: bytes, name: str, memo: Memo) -> list[Range]:
    with open(_path(folder, name), "rb", _BUFFER_BYTES) as file:
        status = os.fstat(file.fileno())
        ranges = cut_file(cast(BufferedReader, file), _CUT.get(kind_of(name), "whole"))
    memo.put(name, status, ranges)
    return ranges


def _item(name: str, number: int, part: Range) -> Item:
    """The item of a range of a file. The first has the file's name, so that it stays when the file grows."""
    if number == 0:
        return Item(name, part.fingerprint, part.size)
    meta = {"from_byte": part.start} | ({"header_bytes": part.header} if part.header else {})
    return Item(f"{name}@{number + 1:04d}", part.fingerprint, part.header + part.size, meta=meta)


def _file_of(item: Item) -> str:
    """The name of the file that an item is, or is a range of."""
    return item.native_id.rpartition("@")[0] if "from_byte" in item.meta else item.native_id


def _path(folder: bytes, name: str) -> bytes:
    return folder + b"/" + path_of(name)


def _nothing_found(folder: Path, problems: Sequence[Problem]) -> str:
    found = "; ".join(str(problem) for problem in problems[:_MAX_NAMED]) or "it is empty"
    kinds = f"{' '.join(READERS)}, also with {' '.join(COMPRESSIONS)} after them"
    return f"The folder {folder} holds no file that can be read ({found}). Put files there that are: {kinds}."


def _content(folder: bytes, item: SlotItem, kept: Callable[[], EarlierPacks]) -> Iterator[bytes]:
    """The bytes of an item, from its file or as an earlier slot has them."""
    start = int(item.meta.get("from_byte", 0))
    path = _path(folder, _file_of(item))
    header = int(item.meta.get("header_bytes", 0))
    left = item.size - header  # what has been appended since the look is for the next look
    begun = False
    try:
        with open(path, "rb", 0) as file:
            if header:
                begun = True
                yield file.read(header)
            file.seek(start)
            while left and (chunk := file.read(min(left, CHUNK))):
                begun = True
                left -= len(chunk)
                yield chunk
    except OSError as error:
        chunks = None if begun else kept().chunks(item)
        if chunks is None:
            raise SourceError(
                f"{name_of(path)} cannot be read any more ({error.strerror}), and no slot fetched earlier has it as it "
                "was seen. Put it back; or, if it is gone for good, set mirror to true for its source. Then run again."
            ) from error
        yield from chunks
