"""Where a mirror of Project Gutenberg keeps a book, and whether it is there: one small request per book.

Book 1661 lies in the folder 1/6/6/1661, and its newest edition in cache/epub/1661. The names in it tell the encoding:
`-0` is UTF-8, `-8` an 8-bit one, none is ASCII. UTF-8 is preferred.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from data.sources.base import Item, Problem, SourceError
from data.sources.remote_items import fingerprint, is_sure, size_of
from data.web.client import Remote, Web
from data.web.errors import NotThereError, UnreachableError, shown

PAGE = "https://www.gutenberg.org/ebooks/{}"  # where a reader finds a book
_GIVE_UP = 3  # books in a row that could not be asked for


@dataclass
class Found:
    """What a look at a mirror has found. `complete` says whether every book could be asked for."""

    items: list[Item] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    memo: dict[str, Any] = field(default_factory=dict)


def names(number: int) -> list[str]:
    """Where a book may lie below a mirror's address, in the order in which to try."""
    digits = str(number)
    folder = "/".join([*digits[:-1], digits] if len(digits) > 1 else ["0", digits])
    return [
        f"{folder}/{digits}-0.txt",
        f"cache/epub/{digits}/pg{digits}.txt",
        f"{folder}/{digits}-8.txt",
        f"{folder}/{digits}.txt",
    ]


def look(web: Web, mirror: str, books: Iterable[int], memo: Any, now: float, settled_seconds: float) -> Found:
    """Ask a mirror for books.

    mirror           its address, without a slash at the end
    memo             of an earlier look at the same mirror, or anything else
    now              seconds since the epoch
    settled_seconds  a book that was asked for within this time is not asked for again; one that was there is gone when
                     it is found missing for longer than that, since a mirror at work on its files may lack some
    """
    found = Found()
    failures: list[UnreachableError] = []
    for number in sorted(set(books)):
        known = _Known.of(memo, mirror, number)
        try:
            if known is None or not 0 <= now - known.asked < settled_seconds:
                known = _ask(web, mirror, number, known, now, settled_seconds)
            failures.clear()
        except UnreachableError as error:
            failures.append(error)
            if len(failures) == _GIVE_UP:
                raise SourceError(f"{_GIVE_UP} books, one after the other, could not be asked for: {error}") from error
            found.problems.append(Problem("unreachable", str(number), str(error)))
            found.complete = False
            continue
        found.memo[str(number)] = known.json(mirror)
        _note(found, mirror, number, known)
    if failures and not found.items:
        raise failures[-1]
    return found


def _note(found: Found, mirror: str, number: int, known: "_Known") -> None:
    if known.name is None:
        tried = ", ".join(names(number))
        found.problems.append(Problem("missing", str(number), f"{shown(mirror)} has none of {tried}"))
        return
    if known.missing_since is not None:
        why = f"{shown(mirror)} had it and has it no more; it stays until that has been so for long enough"
        found.problems.append(Problem("missing_now", str(number), why))
    mark = fingerprint(known.remote)
    if not is_sure(mark):
        why = "the mirror tells neither ETag nor date, so a change that keeps the size goes unnoticed"
        found.problems.append(Problem("unmarked", str(number), why))
    found.items.append(Item(str(number), mark, size_of(known.remote), PAGE.format(number), meta={"file": known.name}))


def _ask(web: Web, mirror: str, number: int, known: "_Known | None", now: float, settled_seconds: float) -> "_Known":
    before = [known.name] if known is not None and known.name is not None else []
    for name in dict.fromkeys([*before, *names(number)]):
        try:
            return _Known(now, name, web.look(f"{mirror}/{name}"))
        except NotThereError:
            continue
    if known is not None and known.name is not None:
        since = now if known.missing_since is None else known.missing_since
        if now - since < settled_seconds:
            return replace(known, missing_since=since)
    return _Known(now, None, Remote("", None, None, None, False))


@dataclass(frozen=True)
class _Known:
    """What was found for a book, and when; `name` is None when there was nothing.

    missing_since  when what was found was first found missing, if it is; then it is asked for at every look
    """

    asked: float
    name: str | None
    remote: Remote
    missing_since: float | None = None

    def json(self, mirror: str) -> Sequence[Any]:
        found = self.remote
        return [mirror, self.asked, self.name, found.size, found.etag, found.last_modified, self.missing_since]

    @classmethod
    def of(cls, memo: Any, mirror: str, number: int) -> "_Known | None":
        """What a memo has of a book, if it is one and of this mirror."""
        entry = memo.get(str(number)) if isinstance(memo, Mapping) else None
        if not isinstance(entry, list) or len(entry) != 7 or entry[0] != mirror:
            return None
        _, asked, name, size, etag, modified, since = entry
        right = (
            isinstance(asked, int | float)
            and (since is None or isinstance(since, int | float))
            and (size is None or isinstance(size, int))
            and all(one is None or isinstance(one, str) for one in (name, etag, modified))
            and (name is None or name in names(number))
        )
        return cls(asked, name, Remote("", size, etag, modified, False), since) if right else None
