"""Rows into documents: one each, or runs of consecutive rows joined where a row is no document but a sentence.

A row's document is called by its id column, else by its file and the row's number in it, which cutting the file in
another way does not change. Runs are counted from the beginning of an item and never cross its end.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from data.formats.base import Tally
from data.formats.decoding import DOCUMENT_CHARACTERS, split
from data.formats.ids import UniqueIds
from data.sources.base import Problem, RawDocument
from data.sources.hub.joining import gathered, join
from data.sources.hub.rows import Fields, Rows, Unreadable


@dataclass(frozen=True)
class Origin:
    """Where rows come from, and what their documents carry.

    name  of the rows' file, or of the part of it that their numbers count from
    rows  read so many, no more; None: all
    """

    name: str
    url: str | None
    created: str | None
    meta: Mapping[str, Any]
    offset: int
    rows: int | None = None


def limited(found: Iterable[Rows | Unreadable], rows: int | None) -> Iterator[Rows | Unreadable]:
    """The first so many rows, those that cannot be read among them."""
    left = rows
    for one in found:
        if left is None:
            yield one
            continue
        if isinstance(one, Rows):
            number = len(one)
            if number > left:
                one = one.some(0, left)
        else:
            number = 0 if one.first is None or one.end is None else one.end - one.first
        if left > 0:
            yield one
        left -= number
        if left <= 0:
            return


def documents(
    found: Iterable[Rows | Unreadable], fields: Fields, origin: Origin, ids: UniqueIds, tally: Tally
) -> Iterator[RawDocument | Problem]:
    """A document for each row.

    ids, tally  of all rows that may have the same ids; used where the rows bring ids
    """
    for rows in limited(found, origin.rows):
        if isinstance(rows, Unreadable):
            yield _problem(rows, origin)
            continue
        none = [None] * len(rows)
        columns = (rows.values(name) if name else none for name in (fields.text, fields.id, fields.url, fields.date))
        for number, (text, row_id, url, day) in enumerate(zip(*columns, strict=True), rows.first):
            reason = None if type(text) is str else _no_text(text, f"{origin.name}#{number}")
            if reason:
                yield reason
                continue
            name = place = f"{origin.name}#{number}"
            if fields.id:
                wanted = _plain(row_id) or place
                name = ids.unique(wanted, place)
                if name != wanted:
                    tally.count("repeated_id", name)
            made = RawDocument(
                name,
                text,
                url=(_plain(url) if url is not None else None) or origin.url,
                created=(_day(day) if day is not None else None) or origin.created,
                meta=origin.meta,
                position={"offset": origin.offset, "row": number},
            )
            yield from (made,) if len(text) <= DOCUMENT_CHARACTERS else _parts(made)


def joined_documents(
    found: Iterable[Rows | Unreadable], fields: Fields, origin: Origin, run: int, separator: str
) -> Iterator[RawDocument | Problem]:
    """A document for each run of so many rows; it is called by the first, and has the url and date of the first.

    Rows that cannot be read, are null or blank are left out of their run; all but the blank ones give a Problem.
    """
    named = (fields.url, fields.date)
    begin: int | None = None  # the item's first row, from which runs are counted
    open_run: _Run | None = None
    for rows in gathered(limited(found, origin.rows)):
        begin = rows.first if begin is None else begin
        if isinstance(rows, Unreadable):
            yield _problem(rows, origin)
            continue
        behind = (rows.first - (begin or 0)) % run  # rows of the first run that came before
        starts = [0, *range(run - behind, len(rows), run)]
        joined = join(rows, fields.text, starts, separator)
        for number, value in joined.no_text:
            yield _no_text(value, f"{origin.name}#{rows.first + number}")
        for start, text, number in zip(starts, joined.texts, joined.rows, strict=True):
            first = rows.first + (start or -behind)
            if open_run is None or open_run.first != first:
                if open_run is not None:
                    yield from open_run.documents(origin, separator)
                url, day = (rows.some(start, start + 1).values(name)[0] if name else None for name in named)
                open_run = _Run(first, url, day)
            if number:
                open_run.texts.append(text)
                open_run.rows += number
    if open_run is not None:
        yield from open_run.documents(origin, separator)


@dataclass
class _Run:
    """Rows that become one document.

    first  number of the first, whether or not it could be read
    texts  joined already as far as they came in one batch
    rows   how many are in the texts
    """

    first: int
    url: Any
    date: Any
    texts: list[str] = field(default_factory=list)
    rows: int = 0

    def documents(self, origin: Origin, separator: str) -> Iterator[RawDocument]:
        """The document, in parts if it is too long; none where all rows are blank."""
        if self.texts:
            made = RawDocument(
                f"{origin.name}#{self.first}",
                separator.join(self.texts),
                url=_plain(self.url) or origin.url,
                created=_day(self.date) or origin.created,
                meta=origin.meta,
                position={"offset": origin.offset, "row": self.first, "rows": self.rows},
            )
            yield from (made,) if len(made.text) <= DOCUMENT_CHARACTERS else _parts(made)


def _problem(one: Unreadable, origin: Origin) -> Problem:
    where = origin.name
    if one.first is not None and one.end is not None:
        where += f"#{one.first}" if one.end - one.first == 1 else f"#{one.first}-{one.end - 1}"
    lost = f" ({one.end - one.first} rows)" if one.first is not None and one.end and one.end - one.first > 1 else ""
    return Problem(one.what, where, one.why + lost)


def _no_text(value: Any, where: str) -> Problem:
    if value is None:
        return Problem("null", where, "the row has no text")
    if isinstance(value, bytes):
        return Problem("undecodable", where, "the row is not UTF-8")
    return Problem("not_text", where, f"the row's text is {type(value).__name__}")


def _parts(document: RawDocument) -> Iterator[RawDocument]:
    """A document that is too long, in several, as data/formats/decoding.py cuts them."""
    for _, part, text in split([document.text], None):
        name = document.native_id if part == 1 else f"{document.native_id}~{part}"
        yield replace(document, native_id=name, text=text, position={**document.position, "part": part})


def _plain(value: Any) -> str | None:
    """A value as text; None when there is nothing in it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace") or None
    return None if value is None else str(value) or None


def _day(value: Any) -> str | None:
    """A date or time in ISO 8601, or None when it is not one."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if not isinstance(value, str):
        return None
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return None
    return value
