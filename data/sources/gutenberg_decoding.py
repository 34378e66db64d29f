"""The text of a file of Project Gutenberg: UTF-8 if it is that, else in the encoding that its header declares."""

import codecs
import re
from collections.abc import Callable, Iterable

from data.sources.decoding import CannotDecodeError, decode

_BOOK_CHARACTERS = 50_000_000  # the largest book has 30 million; what is larger is not a book
_HEAD_BYTES = 20_000  # within which the encoding is declared
_CHARSETS = {"": None, "us-ascii": "ascii", "latin-1": "iso8859-1", "latin1": "iso8859-1", "iso latin-1": "iso8859-1"}


def text_of(open_file: Callable[[], Iterable[bytes]]) -> str:
    """A file's text: UTF-8 if it is, else as it declares, else as most files of their time were written.

    Raises CannotDecodeError and CannotDecompressError.
    """
    head = b""
    for chunk in open_file():
        head += chunk[:_HEAD_BYTES]
        if len(head) >= _HEAD_BYTES:
            break
    failure: CannotDecodeError | None = None
    for charset in dict.fromkeys((_known_charset(declared_charset(head)) or "cp1252", "cp1252", "iso8859-1")):
        try:
            _, texts = decode(open_file, charset)
        except CannotDecodeError as error:
            if error.what == "binary":
                raise
            failure = error
            continue
        return _whole(texts)
    raise failure or CannotDecodeError("undecodable", "no encoding fits")


def _known_charset(name: str | None) -> str | None:
    """The declared encoding if Python has it; ASCII and Latin-1 are read as the larger set that is meant by it."""
    try:
        canonical = codecs.lookup(name or "").name
        b"text".decode(canonical)
    except (LookupError, ValueError):
        return None
    return {"ascii": "cp1252", "iso8859-1": "cp1252", "utf-8": "cp1252"}.get(canonical, canonical)


def _whole(texts: Iterable[str]) -> str:
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size > _BOOK_CHARACTERS:
            raise CannotDecodeError("too_large", f"it has more than {_BOOK_CHARACTERS} characters")
    if held and held[0].lstrip("\ufeff \n")[:15].lower().startswith(("<!doctype html", "<html")):
        raise CannotDecodeError("html", "a page of HTML, not a book's plain text")
    return "".join(held)


def declared_charset(head: bytes) -> str | None:
    """The encoding that a file's beginning declares, as it may be looked up; None when it declares none."""
    found = re.search(rb"Character set encoding:[ \t]*([^\r\n]*)", head)
    if found is None:
        return None
    name = re.sub(r"\(.*\)|^unicode|^codepage\s*", "", found[1].decode("ascii", "replace").lower()).strip()
    name = re.sub(r"^(?:windows|cp)[ -]?code ?page[ -]?|^windows-", "cp", name).replace("cp-", "cp")
    return _CHARSETS.get(name, f"cp{name}" if name.isdecimal() else name)
