"""From the bytes of a text file to its documents: find the encoding, decode, cut at delimiter lines.

The encoding is that of the byte order mark if there is one; else UTF-8 if every byte agrees; else a stated fallback.
Whether a file is UTF-8 is known only at its end, so a large one is read twice, and no more than a document of it is
ever held. Knows nothing of folders and slots.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

WHOLE_BYTES = 16_000_000  # a file up to this size is held as a whole instead of being read twice
DOCUMENT_CHARACTERS = 8_000_000  # a longer document is cut into several, at the end of a paragraph if it has any

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

Open = Callable[[], Iterator[bytes]]
"""Starts reading a file from its beginning."""


class CannotDecodeError(Exception):
    """Bytes that are no text: `what` in one word, `why` in a sentence."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(why)
        self.what = what
        self.why = why


@dataclass(frozen=True)
class Encoding:
    """How a file is decoded. `skip` is the length of its byte order mark; `guessed` says that it is the fallback."""

    name: str
    skip: int = 0
    guessed: bool = False


def find_encoding(open_file: Open, fallback: str) -> Encoding:
    """The encoding of a file, which is read to its end. Raises CannotDecodeError when it is none or cannot be it."""
    chunks = open_file()
    head, chunks = _head(chunks, 4)
    for mark, name in _MARKS:
        if head.startswith(mark):
            _check(chunks, name, len(mark))
            return Encoding(name, len(mark))
    is_utf8 = codecs.getincrementaldecoder("utf-8")()
