"""Tables as text: .csv and .tsv with a header line, quoted as Python's csv module reads them."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import BinaryIO

from data.formats.base import RECORD_BYTES, CannotReadError, File, Found, Reading, Tally
from data.formats.documents import KNOWN_FIELDS, TEXT_FIELDS, Records
from data.formats.text import decoded
from data.sources.base import Problem

DELIMITERS = ",;\t|"


def read_csv(file: File, reading: Reading, tally: Tally) -> Found:
    """A document's id is the file's name and `#n`, n being the number of the row, from 1, the header not counted."""
    return _read(file, reading, tally, DELIMITERS)


def read_tsv(file: File, reading: Reading, tally: Tally) -> Found:
    """As `read_csv`, with tabs between the fields."""
    return _read(file, reading, tally, "\t")


def _read(file: File, reading: Reading, tally: Tally, delimiters: str) -> Found:
    texts, meta = decoded(file, reading, tally)
    header, rows = open_table(lines_of(texts), delimiters)
    fields = (reading.text_field,) if reading.text_field else TEXT_FIELDS
    if not set(fields) & set(header):
        there = ", ".join(map(repr, header[:10])) or "none"
        raise CannotReadError("no_text", f"no column {' or '.join(fields)} (text_field); its columns are: {there}")
    wanted = {*fields, *KNOWN_FIELDS, reading.id_field}
    places = [(at, name) for at, name in enumerate(header) if name in wanted]
    records = Records(replace(file, meta=meta), reading, tally)
    row = 0
    while True:
        try:
            values = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            where = f"{file.name}#{row + 1}"
            yield Problem("broken", where, f"not CSV, and nothing after it can be read: {error}")
            return
        if not values:
            continue  # an empty line
        row += 1
        if len(values) == len(header):
            yield from records.read(row, {name: values[at] for at, name in places})
        else:
            yield Problem("broken", f"{file.name}#{row}", f"{len(values)} fields where the header has {len(header)}")


def open_table(lines: Iterator[str], delimiters: str) -> tuple[list[str], Iterator[list[str]]]:
    """The header of a table, and its rows.

    delimiters  what may stand between fields: of these, that which makes the most of the first line
    """
    csv.field_size_limit(RECORD_BYTES)
    first = next(lines, "")
    delimiter = delimiter_of(first, delimiters)
    rows = csv.reader(chain([first], lines), delimiter=delimiter)
    try:
        return next(rows, []), rows
    except csv.Error as error:
        raise CannotReadError("broken", f"the header is not CSV: {error}") from error


def delimiter_of(first: str, delimiters: str) -> str:
    """What stands between the fields of a table whose first line that is."""
    return max(delimiters, key=lambda one: len(_fields(first, one)))  # the first of equals


def row_ends(file: BinaryIO, delimiters: str) -> Iterator[int]:
    """Where the rows of a table end, in bytes, the header's first; up to one that cannot be told from the next."""
    at = 0

    def lines() -> Iterator[str]:
        nonlocal at
        while line := file.readline(RECORD_BYTES):
            at += len(line)
            yield line.decode("latin-1")

    try:
        _, rows = open_table(lines(), delimiters)
        yield at
        for _ in rows:
            yield at
    except (csv.Error, CannotReadError):
        return


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def lines_of(texts: Iterable[str]) -> Iterator[str]:
    r"""Lines with their `\n`, which is the only thing that ends one. Raises CannotReadError when one is too long."""
    held = ""
    for text in texts:
        for line in io.StringIO(held + text, newline="\n"):
            if line.endswith("\n"):
                yield line
            else:
                break
        else:
            line = ""
        held = line
        if len(held) > RECORD_BYTES:
            raise CannotReadError("too_long", f"a line over {RECORD_BYTES} characters")
    if held:
        yield held
