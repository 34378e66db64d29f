"""Books of Project Gutenberg: by number from a mirror, or a folder of its files as they came. One document per book.

What surrounds a book is taken off by data/sources/books/text.py, and its lines are joined to paragraphs by
unwrapping.py; where books lie on a mirror is known to mirror.py.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from data.facts import Facts, Progress, counted, no_progress
from data.formats.base import Tally
from data.formats.decoding import CannotDecodeError, split
from data.formats.decompression import COMPRESSIONS, CannotDecompressError, decompress
from data.sources.base import Item, Look, Note, Problem, RawDocument, SlotItem, SourceConfig, SourceError, no_note
from data.sources.books import mirror as gutenberg_mirror
from data.sources.books.decoding import text_of
from data.sources.books.text import Book, parse
from data.sources.books.unwrapping import unwrap
from data.sources.folder import FolderConfig
from data.sources.listing import list_files, path_of
from data.sources.pack import PackedItem, PackReader, read_items
from data.sources.ranges import Memo, cut_file
from data.sources.remote_items import bring_from_web, fetch_items
from data.sources.settings import LocalPath, ServerAddress, UserAgent
from data.web.client import Web
from data.web.errors import ChangedOnServerError, NotThereError

_WANTED = (".txt", *(f".txt{compression}" for compression in COMPRESSIONS))
_MAX_NAMED = 20
_MAIN_SITE = ("gutenberg.org", "www.gutenberg.org")


class GutenbergConfig(SourceConfig):
    """Books of Project Gutenberg, without what surrounds them, from a mirror or from a folder."""

    needs: ClassVar[str] = "network, or a folder of books"
    rights: ClassVar[str] = "public domain in the USA; books under copyright are skipped; check the law where you are"
    example: ClassVar[Mapping[str, Any]] = {"kind": "gutenberg", "ids": [1342, 1661]}

    kind: Literal["gutenberg"] = "gutenberg"
    licence: str = Field(
        "LicenseRef-PublicDomain-USA", min_length=1, description="Licence of the text, as an SPDX identifier."
    )
    ids: tuple[int, ...] = Field((), description="Numbers of books, fetched from `mirror_url`.")
    path: LocalPath | None = Field(
        None, description="A folder of files as they came, instead of `ids`; relative to the project."
    )
    mirror_url: ServerAddress = Field(
        "https://gutenberg.pglaf.org", description="A mirror's address; the main site asks machines to use one."
    )
    unwrap: bool = Field(True, description="Whether the lines of prose are joined to paragraphs; verse always stays.")
    requests_per_second: float = Field(1.0, gt=0, le=20, description="To the mirror, one request at a time.")
    recheck_hours: float = Field(
        24.0,
        ge=0,
        description="A book that was asked for within this time is not asked for again; one that was there is gone "
        "when it is found missing for so long.",
    )
    user_agent: UserAgent = Field("Textmill/0.1", min_length=5)

    @field_validator("ids")
    @classmethod
    def _are_numbers(cls, ids: tuple[int, ...]) -> tuple[int, ...]:
        if wrong := [number for number in ids if number < 1]:
            raise ValueError(f"the books of Project Gutenberg are numbered from 1; {wrong[0]} is none")
        return tuple(dict.fromkeys(ids))

    @field_validator("mirror_url")
    @classmethod
    def _is_a_mirror(cls, url: str) -> str:
        host = urlsplit(url).hostname
        if host in _MAIN_SITE:
            raise ValueError(f"{host} blocks machines; use a mirror, such as https://gutenberg.pglaf.org")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _has_one_origin(self) -> "GutenbergConfig":
        if bool(self.ids) == (self.path is not None):
            raise ValueError("set either ids, the numbers of books, or path, a folder of books")
        return self

    def reaches_network(self) -> bool:
        return self.path is None

    def location(self) -> str:
        """The folder; or the source's name, for its list of books may grow, and the mirror may change."""
        if self.path is not None:
            return os.path.normpath(self.path)
        return self.name or ",".join(map(str, self.ids))

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def reading_identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "reader": 1, "unwrap": self.unwrap}

    def look(self, root: Path, memo: Any = None) -> Look:
        """One item per book, or per file of the folder."""
        if self.path is not None:
            return self._look_at_folder(FolderConfig(path=self.path).place(root), memo)
        with self._web() as web:
            found = gutenberg_mirror.look(web, self.mirror_url, self.ids, memo, time.time(), self.recheck_hours * 3600)
        if not found.items:
            said = "; ".join(str(problem) for problem in found.problems[:_MAX_NAMED])
            raise SourceError(f"None of the {len(self.ids)} books is there. Correct ids or mirror_url. {said}")
        items = sorted(found.items, key=lambda item: item.native_id)
        return Look(tuple(items), tuple(found.problems), found.complete, found.memo)

    def _look_at_folder(self, folder: Path, memo: Any) -> Look:
        known = Memo(memo, time.time_ns())
        try:
            listing = list_files(folder, lambda name: name.lower().endswith(_WANTED))
        except OSError as error:
            raise SourceError(
                f"The folder {folder} (path: {self.path!r}) cannot be listed: {error.strerror}. Correct the path."
            ) from error
        items: list[Item] = []
        problems = list(listing.problems)
        for name, status in sorted(listing.files.items()):
            try:
                ranges = known.get(name, status)
                if ranges is None:
                    with open(os.path.join(os.fsencode(folder), path_of(name)), "rb") as file:
                        status = os.fstat(file.fileno())
                        ranges = cut_file(file, "whole")  # never cut: a book is one item
                    known.put(name, status, ranges)
                items.append(Item(name, ranges[0].fingerprint, ranges[0].size))
            except OSError as error:
                problems.append(Problem("unreadable", name, f"{error.strerror}"))
        if not items:
            said = "; ".join(str(problem) for problem in problems[:_MAX_NAMED]) or "it is empty"
            raise SourceError(f"The folder {folder} holds no book ({said}). Put files there that end in .txt.")
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
        """Bring the files as they are."""
        if self.path is not None:
            return FolderConfig(path=self.path, licence=self.licence).fetch(items, root, out, work, progress, earlier)
        with self._web() as web:
            facts = fetch_items(partial(self._bring, web), items, out, work, progress, earlier)
        facts.licences = [self.licence]
        return facts

    def read(self, raw: Path, note: Note = no_note) -> Iterator[RawDocument | Problem]:
        """One document per book. Its id is the item's: the book's number, in a folder the file's name."""
        whole: list[str] = []
        endless: list[str] = []
        tally = Tally()
        with PackReader(raw) as reader:
            for item in read_items(raw):
                try:
                    encoding, text = text_of(partial(_plain, reader, item))
                    tally.encoding(item.native_id, encoding)
                    book = parse(text)
                except (CannotDecodeError, CannotDecompressError) as error:
                    yield Problem(error.what, item.native_id, error.why)
                    continue
                if book.copyrighted:
                    yield Problem("copyrighted", item.native_id, f"{book.title or 'a book'}: still under copyright")
                    continue
                if not book.text:
                    yield Problem("empty", item.native_id, "there is nothing between its header and its end")
                    continue
                if not book.has_header:
                    whole.append(item.native_id)
                elif not book.has_end:
                    endless.append(item.native_id)
                yield from self._documents(item, book)
        tally.tell(note, None)
        _tell(note, whole, "without a header of Project Gutenberg, taken whole")
        _tell(note, endless, "without an end marker; what stands after the book, if anything, is still there")

    def _documents(self, item: PackedItem, book: Book) -> Iterator[RawDocument]:
        known = {"title": book.title, "book": book.number, "language": book.language}
        meta = {**item.meta, **{name: value for name, value in known.items() if value is not None}, "look": item.look}
        url = item.url or (gutenberg_mirror.PAGE.format(book.number) if book.number else None)
        text = unwrap(book.text) if self.unwrap else book.text
        for _, part, piece in split([text], None):
            yield RawDocument(
                item.native_id if part == 1 else f"{item.native_id}~{part}",
                piece,
                authors=book.authors,
                url=url,
                created=item.created,
                meta=meta,
                position={"offset": item.offset, "part": part},
            )

    def _bring(self, web: Web, item: SlotItem, into: Path, progress: Progress) -> None:
        try:
            bring_from_web(web, f"{self.mirror_url}/{item.meta['file']}", item, into, progress)
        except (ChangedOnServerError, NotThereError) as error:
            raise SourceError(
                f"{error} That look was up to {self.recheck_hours:g} hours ago: set recheck_hours to 0 for one run, or "
                f"take book {item.native_id} out of ids."
            ) from error

    def _web(self) -> Web:
        return Web(self.user_agent, self.requests_per_second, parallel=1)


def _plain(reader: PackReader, item: PackedItem) -> Iterable[bytes]:
    """The bytes of a fetched file, decompressed if its name says that it is compressed."""
    compression = next((ending for ending in COMPRESSIONS if item.native_id.lower().endswith(ending)), None)
    chunks = reader.chunks(item)
    return decompress(chunks, compression) if compression else chunks


def _tell(note: Note, names: Sequence[str], what: str) -> None:
    if names:
        more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
        note(f"{counted(len(names), 'book')} {what}: {', '.join(names[:_MAX_NAMED])}{more}")
