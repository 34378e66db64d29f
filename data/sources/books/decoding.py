"""The text of a file of Project Gutenberg: UTF-8 if it is that, else in the encoding that its header declares."""

import re
from collections.abc import Callable, Iterable

from data.formats.decoding import CannotDecodeError, Encoding, decode

_BOOK_CHARACTERS = 50_000_000  # the largest book has 30 million; what is larger is not a book
_HEAD_BYTES = 20_000  # within which the encoding is declared


def text_of(open_file: Callable[[], Iterable[bytes]]) -> tuple[Encoding, str]:
    """A file's encoding and text.

    Raises CannotDecodeError and CannotDecompressError.
    """
    head = b""
    for chunk in open_file():
        head += chunk[:_HEAD_BYTES]
        if len(head) >= _HEAD_BYTES:
            break
    encoding, texts = decode(open_file, None, declared_charset(head))
    return encoding, _whole(texts)


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
    """The encoding that a file's beginning declares, as far as it can be told; None when it declares none."""
    found = re.search(rb"Character set encoding:[ \t]*([^\r\n]*)", head)
    if found is None:
        return None
    name = re.sub(r"\(.*\)|^unicode\b", "", found[1].decode("ascii", "replace").lower()).strip()
    name = re.sub(r"^(?:windows|cp|dos)?[ -]?code ?page[ -]?|^windows[ -]", "cp", name).replace("cp-", "cp")
    name = re.sub(r"^iso[ -]latin", "latin", name)
    return f"cp{name}" if name.isdecimal() else name or None
