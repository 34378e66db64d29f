"""Books in .epub: a zip archive of XHTML pages, read in the order of the book's spine."""

import posixpath
from collections.abc import Iterator
from functools import partial
from urllib.parse import unquote
from zipfile import ZipFile

from data.formats.base import PAGE_BYTES, UNREADABLE, CannotReadError, File, Found, Reading, Tally
from data.formats.budget import Budget
from data.formats.documents import document, iso_date
from data.formats.html import page_text, whole
from data.formats.markup import parse_xml, text_of_page
from data.formats.spool import opened
from data.formats.zips import open_zip, zip_chunks
from data.sources.base import Problem

_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_BOOK_BYTES = 100_000_000  # of pages


class _Book:
    """The package of a book: what it says of itself, and where its pages are."""

    def __init__(self, archive: ZipFile, budget: Budget, name: str) -> None:
        self._archive = archive
        self._budget = budget
        self._name = name
        container = parse_xml(self.bytes("META-INF/container.xml"))
        places = container.xpath("//*[local-name()='rootfile']/@full-path")
        if not places:
            raise CannotReadError("damaged", "no book: its container names no package")
        self._folder = posixpath.dirname(places[0])
        self._package = parse_xml(self.bytes(places[0]))

    def bytes(self, member: str) -> bytes:
        """A member of the archive. Raises CannotReadError."""
        try:
            info = self._archive.getinfo(member)
        except KeyError:
            raise CannotReadError("damaged", f"no book, or an incomplete one: it has no {member}") from None
        if info.flag_bits & 1:
            raise CannotReadError("encrypted", "it can be read with a password only")
        chunks = self._budget.grows(partial(zip_chunks, self._archive, info))
        return whole(File(self._name, chunks), PAGE_BYTES)

    def said(self, name: str) -> list[str]:
        """What its metadata say under a name of Dublin Core."""
        found = self._package.xpath("//*[local-name()=$name]/text()", name=name)
        return [" ".join(text.split()) for text in found if text.strip()]

    def pages(self) -> Iterator[str]:
        """The members that hold its pages, in order."""
        manifest = {
            item.get("id"): item.get("href", "")
            for item in self._package.xpath("//*[local-name()='manifest']/*[local-name()='item']")
            if item.get("media-type") in _PAGES
        }
        for reference in self._package.xpath("//*[local-name()='spine']/*[local-name()='itemref']/@idref"):
            if reference in manifest:
                path = unquote(manifest[reference].partition("#")[0])
                yield posixpath.normpath(posixpath.join(self._folder, path))

    def encrypted(self) -> set[str]:
        """Members that only a reading system with a key can read (fonts are often among them)."""
        member = "META-INF/encryption.xml"
        if member not in self._archive.NameToInfo:
            return set()
        return set(parse_xml(self.bytes(member)).xpath("//*[local-name()='CipherReference']/@URI"))


def read_epub(file: File, reading: Reading, tally: Tally) -> Found:
    """The book as one document, whose id is the file's name; a Problem for a page that cannot be read."""
    with opened(file) as content:
        archive = open_zip(content)
        budget = file.budget or Budget()
        budget.has_read(content.seek(0, 2))
        book = _Book(archive, budget, file.name)
        locked = book.encrypted()
        texts: list[str] = []
        size = number = 0
        for number, member in enumerate(book.pages(), 1):
            name = f"{file.name}#{number}"
            try:
                if member in locked:
                    raise CannotReadError("encrypted", f"{member} can be read with a key only")
                data = book.bytes(member)
                size += len(data)
                if size > _BOOK_BYTES:
                    raise CannotReadError("too_large", f"more than {_BOOK_BYTES} bytes of pages")
                page = File(name, lambda data=data: [data])  # type: ignore[misc]
                texts.append(text_of_page(page_text(data, page, reading, tally)[0]))
            except UNREADABLE as error:
                yield Problem(error.what, name, error.why)
        text = "\n\n".join(text for text in texts if text)
        if not text:
            raise CannotReadError("no_text", f"no text on its {number} pages")
        title, created = book.said("title"), book.said("date")
        yield from document(
            file,
            file.name,
            text,
            reading,
            tally,
            meta={"title": title[0]} if title else None,
            authors=tuple(book.said("creator")),
            created=iso_date(created[0]) if created else None,
        )
