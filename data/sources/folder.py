"""A folder of text files, plain or compressed: one document per file, or several between delimiter lines.

This module ties together what data/sources/listing.py finds, ranges.py cuts, decompression.py unpacks and decoding.py
turns into text; each states its own rules and bounds. Files are fetched as they lie there, compressed ones compressed,
so whatever is wrong inside of one shows up when its slot is read.
"""

import codecs
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from data.facts import Facts, Progress, no_progress
from data.sources.base import Item, Look, Note, Problem, RawDocument, SlotItem, SourceConfig, SourceError, no_note
from data.sources.decoding import CannotDecodeError, Encoding, decode, split
from data.sources.decompression import COMPRESSIONS, CannotDecompressError, decompress
from data.sources.listing import list_files, name_of, path_of
from data.sources.pack import CHUNK, EarlierPacks, PackedItem, PackReader, PackWriter, read_items
from data.sources.ranges import Memo, Range, cut_file

TEXT_KINDS = (".txt", ".md", ".rst", ".text")
_WANTED = tuple(kind + compression for kind in TEXT_KINDS for compression in ("", *COMPRESSIONS))
_MAX_NAMED = 20  # files named in one note
_NO_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}


class FolderConfig(SourceConfig):
    """Text files below a folder: .txt .md .rst .text, also .gz .bz2 .xz .zst of them, in upper or lower case."""

    kind: Literal["folder"] = "folder"
    path: str = Field(min_length=1, description="The folder; a relative path is below the project's root.")
    fallback_encoding: str = Field(
        "cp1252",
        description="Encoding of files that are no UTF-8 and have no byte order mark, by Python's name for it.",
    )
    delimiter: str | None = Field(
        None,
        min_length=1,
        description="A line that equals this separates documents in one file, e.g. <|endoftext|>; null: one per file.",
    )

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        if "\0" in path:
            raise ValueError("a path holds no NUL character")
        return path

    @field_validator("fallback_encoding")
    @classmethod
    def _is_an_encoding(cls, name: str) -> str:
        """The canonical name, so that two names of one encoding make one key."""
        try:
            canonical = codecs.lookup(name).name
            with suppress(UnicodeError):
                b"text".decode(name)  # LookupError for codecs that do not give text, such as rot13
        except (LookupError, ValueError):
            canonical = "undefined"
        if canonical in _NO_CHARSETS:
            raise ValueError(f"Python knows no text encoding {name!r}; try cp1252, iso8859-1, cp1251, shift_jis")
        return canonical

    @field_validator("delimiter")
    @classmethod
    def _is_a_line(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and (delimiter.strip() != delimiter or len(delimiter.splitlines()) != 1):
            raise ValueError("a delimiter is one line without white space at its ends")
        return delimiter

    def location(self) -> str:
        """The path as it is written, so that a project may move together with its store."""
        return os.path.normpath(self.path)

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def reading_identity(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "reader": 1,
            "fallback_encoding": self.fallback_encoding,
            "delimiter": self.delimiter,
        }

    def look(self, root: Path, memo: Any = None) -> Look:
        """One item per file, several for a large one. With a memo, files that were not touched are not read again."""
        folder = self._folder(root)
        known = Memo(memo, time.time_ns())
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
                ranges = known.get(name, status) or _ranges(folder, name, known)
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
        folder = self._folder(root)
        kept = cache(lambda: EarlierPacks(earlier))
        with PackWriter(out, sum(item.size for item in items), progress) as pack:
            for item in items:
                pack.add(item, _content(folder, item, kept))
        return Facts(counts={"items": pack.items, "bytes": pack.bytes}, licences=[self.licence])

    def read(self, raw: Path, note: Note = no_note) -> Iterator[RawDocument | Problem]:
        """The documents of each file; one that cannot be read as text gives a Problem and no document.

        A document's id is the file's name, with `@0002`, `@0003`... in later ranges of a large file; with a delimiter,
        `#n` follows, n being the number of the piece; later parts of a document that is too long end in `~2`, `~3`...
        """
        guessed = []
        with PackReader(raw) as reader:
            for item in read_items(raw):
                try:
                    encoding, texts = decode(partial(_plain, reader, item), self.fallback_encoding)
                    if encoding.guessed:
                        guessed.append(item.native_id)
                    yield from self._documents(item, encoding, texts)
                except (CannotDecodeError, CannotDecompressError) as error:
                    yield Problem(error.what, item.native_id, error.why)
        if guessed:
            more = f" and {len(guessed) - _MAX_NAMED} more" if len(guessed) > _MAX_NAMED else ""
            note(
                f"{len(guessed)} files are no UTF-8 and were read as {self.fallback_encoding} (fallback_encoding): "
                f"{', '.join(guessed[:_MAX_NAMED])}{more}"
            )

    def _documents(self, item: PackedItem, encoding: Encoding, texts: Iterator[str]) -> Iterator[RawDocument]:
        meta = {**item.meta, "look": item.look}
        if encoding.name != "utf-8":
            meta["encoding"] = encoding.name
        for piece, part, text in split(texts, self.delimiter):
            native_id = item.native_id if self.delimiter is None else f"{item.native_id}#{piece}"
            if part > 1:
                native_id += f"~{part}"
            yield RawDocument(
                native_id, text, meta=meta, position={"offset": item.offset, "piece": piece, "part": part}
            )

    def _folder(self, root: Path) -> Path:
        try:
            return (root / Path(self.path).expanduser()).resolve()
        except (OSError, RuntimeError) as error:  # ~somebody who does not exist, links in a circle
            raise SourceError(f"The folder {self.path!r} cannot be found: {error}. Correct the path.") from error


def is_wanted(name: str) -> bool:
    """Whether a file of this name is read."""
    return name.lower().endswith(_WANTED)


def _compression(name: str) -> str | None:
    return next((ending for ending in COMPRESSIONS if name.lower().endswith(ending)), None)


def _ranges(folder: Path, name: str, memo: Memo) -> list[Range]:
    with open(_path(folder, name), "rb") as file:
        status = os.fstat(file.fileno())
        ranges = cut_file(file, is_compressed=_compression(name) is not None)
    memo.put(name, status, ranges)
    return ranges


def _item(name: str, number: int, part: Range) -> Item:
    """The item of a range of a file. The first has the file's name, so that it stays when the file grows."""
    if number == 0:
        return Item(name, part.fingerprint, part.size)
    return Item(f"{name}@{number + 1:04d}", part.fingerprint, part.size, meta={"from_byte": part.start})


def _path(folder: Path, name: str) -> bytes:
    return os.path.join(os.fsencode(folder), path_of(name))


def _nothing_found(folder: Path, problems: Sequence[Problem]) -> str:
    found = "; ".join(str(problem) for problem in problems[:_MAX_NAMED]) or "it is empty"
    kinds = f"{' '.join(TEXT_KINDS)}, also with {' '.join(COMPRESSIONS)} after them"
    return f"The folder {folder} holds no file that can be read ({found}). Put files there that are: {kinds}."


def _content(folder: Path, item: SlotItem, kept: Callable[[], EarlierPacks]) -> Iterator[bytes]:
    """The bytes of an item, from its file or as an earlier slot has them."""
    start = int(item.meta.get("from_byte", 0))
    path = _path(folder, item.native_id.rpartition("@")[0] if start else item.native_id)
    left = item.size  # what has been appended since the look is for the next look
    begun = False
    try:
        with open(path, "rb") as file:
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


def _plain(reader: PackReader, item: PackedItem) -> Iterable[bytes]:
    """The bytes of a fetched item, decompressed if its name says that it is compressed."""
    chunks = reader.chunks(item)
    compression = _compression(item.native_id)
    return decompress(chunks, compression) if compression else chunks
