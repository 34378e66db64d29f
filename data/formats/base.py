"""What the readers of all formats share: the file they are given, the settings they obey, the counts they keep.

A reader turns one `File` into RawDocument and Problem, streaming. Where the bytes come from (a slot, an archive, a
download) is the caller's matter; which reader is right for a file is that of data/formats/kinds.py.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from data.facts import counted
from data.formats.decoding import CannotDecodeError, Encoding
from data.formats.decompression import CannotDecompressError
from data.sources.base import Note, Problem, RawDocument

if TYPE_CHECKING:
    from data.formats.budget import Budget

MAX_NAMED = 20  # files named in one note
RECORD_BYTES = 32_000_000  # a line, a JSON value or a CSV field longer than this is not read
PAGE_BYTES = 5_000_000  # a page longer than this is not read: as a tree it takes sixty times that, and 20 s

Found = Iterator[RawDocument | Problem]


class CannotReadError(Exception):
    """A file, or the rest of it, that cannot be read: `what` in one word, `why` in a sentence."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(why)
        self.what = what
        self.why = why


UNREADABLE = (CannotReadError, CannotDecodeError, CannotDecompressError)  # each with `what` and `why`


@dataclass(frozen=True, slots=True)
class File:
    """One file to read.

    name          native id of what it holds; its ending says of which kind it is, and how it is compressed
    chunks        starts reading it from its beginning, as often as it is called; one reading at a time
    kind_name     the name to tell its kind by where `name` has none, e.g. the path of a URL
    content_type  as declared where it came from: `text/html; charset=koi8-r`; counts when the ending says nothing
    meta          what every document of it shall carry, `look` at least
    position      what every position shall carry, JSON-able
    seekable      opens it for reading at random, where that costs nothing; else readers that need it make a copy
    budget        of the archive that it lies in
    depth         of an archive: how many archives it lies in
    """

    name: str
    chunks: Callable[[], Iterable[bytes]]
    kind_name: str | None = None
    content_type: str | None = None
    url: str | None = None
    created: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    position: Mapping[str, Any] = field(default_factory=dict)
    seekable: Callable[[], BinaryIO] | None = None
    budget: "Budget | None" = None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """Settings of the readers; what they mean is said where they are set, in data/formats/config.py."""

    text_field: str | None = None
    id_field: str | None = None
    fallback_encoding: str | None = None
    delimiter: str | None = None
    repair_mojibake: bool = True


class Tally:
    """What was done to documents that were read, counted for the report; one for all files of a slot."""

    def __init__(self) -> None:
        self._guessed: dict[str, list[str]] = {}  # encoding -> the first names
        self._latest: dict[str, str] = {}  # encoding -> the last name
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def encoding(self, name: str, encoding: Encoding) -> None:
        """Note how a file, or a line of it, was decoded; only guesses are told."""
        if encoding.guessed and self._latest.get(encoding.name) != name:
            self._latest[encoding.name] = name
            self._count(self._guessed, encoding.name, name)

    def repaired(self, name: str) -> None:
        """Count a document in which mojibake was repaired."""
        self.count("repaired", name)

    def count(self, what: str, name: str) -> None:
        """Count something under `what`, with a few names."""
        self._count(self._examples, what, name)

    def _count(self, examples: dict[str, list[str]], what: str, name: str) -> None:
        self._counts[what] += 1
        if self._counts[what] <= MAX_NAMED:
            examples.setdefault(what, []).append(name)

    def tell(self, note: Note, fallback: str | None) -> None:
        """Say it all, a sentence each.

        fallback  the encoding that was set for files that are no UTF-8; None where it was detected
        """
        for name, files in sorted(self._guessed.items()):
            how = f"not in UTF-8, read as {name} ({'fallback_encoding' if name == fallback else 'detected'})"
            number = self._counts[name]
            note(f"{counted(number, 'file')} {how}: {_named(files, number)}")
        for what, (thing, done) in _SENTENCES.items():
            if number := self._counts[what]:
                note(f"{counted(number, thing)} {done}: {_named(self._examples[what], number)}")


_SENTENCES = {
    "repaired": ("document", "with text decoded wrongly by whoever wrote it (mojibake), repaired"),
    "repeated_id": ("row", "with the id of an earlier row, told apart by the row number after it"),
}


def _named(names: list[str], number: int) -> str:
    more = f" and {number - MAX_NAMED} more" if number > MAX_NAMED else ""
    return f"{', '.join(names[:MAX_NAMED])}{more}"
