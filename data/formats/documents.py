"""From what a reader has found to documents: ids, parts of what is too long, repair, provenance.

A record is a row of a table or an object of JSON. Its text is in the field that was set, else in the first of
`TEXT_FIELDS` that it has; title, url, date, authors and licence are taken from the fields that usually hold them, and
other fields are left.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from data.formats.base import File, Found, Reading, Tally
from data.formats.decoding import DOCUMENT_CHARACTERS, split
from data.formats.ids import UniqueIds
from data.formats.mojibake import repair
from data.sources.base import Problem, RawDocument

TEXT_FIELDS = ("text", "content", "body")
TITLE_FIELDS = ("title",)
URL_FIELDS = ("url", "link")
CREATED_FIELDS = ("created", "date", "created_at", "published", "timestamp")
AUTHOR_FIELDS = ("authors", "author")
LICENCE_FIELDS = ("licence", "license")
KNOWN_FIELDS = (*TITLE_FIELDS, *URL_FIELDS, *CREATED_FIELDS, *AUTHOR_FIELDS, *LICENCE_FIELDS)


def mended(text: str, name: str, reading: Reading, tally: Tally) -> str:
    """`text` without mojibake, if that is wanted."""
    if not reading.repair_mojibake or text.isascii():
        return text
    repaired = repair(text)
    if repaired is not text:
        tally.repaired(name)
    return repaired


def document(
    file: File,
    native_id: str,
    text: str,
    reading: Reading,
    tally: Tally,
    position: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
    authors: Sequence[str] = (),
    url: str | None = None,
    created: str | None = None,
    licence: str | None = None,
) -> Iterator[RawDocument]:
    """A text as a document, or as several, `~2`, `~3`..., when it is longer than `DOCUMENT_CHARACTERS`."""
    known = {**file.meta, **meta} if meta else file.meta
    where = {**file.position, **position} if position else file.position
    url, created = url or file.url, created or file.created
    if len(text) <= DOCUMENT_CHARACTERS:
        text = mended(text, native_id, reading, tally)
        yield RawDocument(native_id, text, authors, url, created, licence, known, where)
        return
    for _, part, piece in split([text], None):
        name = native_id if part == 1 else f"{native_id}~{part}"
        piece = mended(piece, name, reading, tally)
        yield RawDocument(name, piece, authors, url, created, licence, known, {**where, "part": part})


class Records:
    """Turns the records of one file, in their order, into documents."""

    def __init__(self, file: File, reading: Reading, tally: Tally) -> None:
        self._file = file
        self._reading = reading
        self._tally = tally
        self._fields = (reading.text_field,) if reading.text_field else TEXT_FIELDS
        self._ids = UniqueIds()

    def read(self, row: int, record: Any, place: Mapping[str, Any] | None = None) -> Found:
        """The document of a record, or what is wrong with it.

        row    its number in the file, from 1; its id when no field gives one
        place  where it was found; its row by default
        """
        if not isinstance(record, dict):
            if isinstance(record, str):  # a list of texts
                record = {self._fields[0]: record}
            else:
                yield Problem("no_record", self._name(row, {}), f"a {_kind(record)} where an object should be")
                return
        name = self._name(row, record)
        for field in self._fields:
            text = record.get(field)
            if text is not None:
                break
        if not isinstance(text, str):
            yield Problem(*self._why_no_text(name, record, text))
            return
        title, url, licence = (_first(record, fields) for fields in (TITLE_FIELDS, URL_FIELDS, LICENCE_FIELDS))
        yield from document(
            self._file,
            name,
            text,
            self._reading,
            self._tally,
            place or {"row": row},
            {"title": title} if title else None,
            _authors(record),
            url,
            _created(record),
            licence,
        )

    def _why_no_text(self, name: str, record: Mapping[str, Any], text: Any) -> tuple[str, str, str]:
        wanted = " or ".join(self._fields)
        if text is not None:
            return "no_text", name, f"{wanted} is a {_kind(text)}, not a text"
        if any(field in record for field in self._fields):
            return "null", name, f"{wanted} is null"
        there = ", ".join(map(repr, list(record)[:10])) or "none"
        return "no_text", name, f"no field {wanted} (text_field); its fields are: {there}"

    def _name(self, row: int, record: Mapping[str, Any]) -> str:
        """The file's name and the record's id, or its row where it has none; no two records are called the same."""
        field = self._reading.id_field
        if not field:
            return f"{self._file.name}#{row}"
        key = record.get(field)
        has_key = isinstance(key, str | int) and not isinstance(key, bool) and key != ""
        wanted = str(key if has_key else row)
        found = self._ids.unique(wanted, row)
        name = f"{self._file.name}#{found}"
        if found != wanted:
            self._tally.count("repeated_id", name)
        return name


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", bool: "truth value", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _first(record: Mapping[str, Any], fields: Sequence[str]) -> str | None:
    for field in fields:
        value = record.get(field)
        if isinstance(value, str) and value and len(value) < 10_000:
            return value
    return None


def _created(record: Mapping[str, Any]) -> str | None:
    """The first date among the fields that usually hold one, in ISO 8601."""
    for field in CREATED_FIELDS:
        value = record.get(field)
        if isinstance(value, date):  # or datetime
            return value.isoformat()
        if isinstance(value, str) and (found := iso_date(value)):
            return found
    return None


def iso_date(text: str) -> str | None:
    """`text` if it is a date or time in ISO 8601, else None."""
    text = text.strip()
    if not 10 <= len(text) <= 40:
        return None
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return None
    return text


def _authors(record: Mapping[str, Any]) -> Sequence[str]:
    for field in AUTHOR_FIELDS:
        value = record.get(field)
        if isinstance(value, str) and value:
            return (value,)
        if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            return tuple(value)
    return ()
