"""Which pages of a wiki are wanted: titles resolved 50 at a time, and categories crawled, both to page and revision.

Redirects, other spellings and pages named twice end at one page id. Nothing of a page's text is asked for here.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from data.sources.base import Problem
from data.sources.wiki.mediawiki import MediaWiki, QueryError, WikiError

TITLES = 50  # in one request, as many as the API takes from a client without special rights
TITLE_BYTES = 5000  # of all of them as they stand in the URL: servers take about 8,000
MEMBERS = 500  # of a category in one request
_MAX_REDIRECTS = 10  # followed one after the other; MediaWiki follows one
ARTICLES, CATEGORIES = 0, 14  # namespaces

Flag = Annotated[bool, BeforeValidator(lambda value: value is not False and value is not None)]
"""An API flag: there, if only as an empty string, means true."""


class Page(BaseModel):
    """What `prop=info` says of a page; it has no id where it is missing, invalid or not a page at all."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    pageid: int = 0
    ns: int = 0
    title: str = ""
    lastrevid: int = 0
    length: int = Field(0, ge=0)  # bytes of wikitext
    missing: Flag = False
    invalid: Flag = False
    invalidreason: str = ""
    special: Flag = False


class _Renaming(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    before: str = Field(alias="from")
    after: str = Field(alias="to")


class _Interwiki(BaseModel):
    title: str


class _Query(BaseModel):
    """The part `query` of an answer; where there is nothing to say, MediaWiki leaves it out, or has [] for {}."""

    model_config = ConfigDict(extra="ignore")

    pages: Annotated[dict[str, Page], BeforeValidator(lambda value: value or {})] = {}
    normalized: list[_Renaming] = []
    converted: list[_Renaming] = []
    redirects: list[_Renaming] = []
    interwiki: list[_Interwiki] = []


@dataclass
class Listing:
    """Pages by id, what could not be found, and whether everything that was asked for has been listed."""

    pages: dict[int, Page] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    others: int = 0  # members of categories that are neither articles nor categories
    members: dict[str, list[int | bool]] = field(default_factory=dict)  # of a category, and whether with categories

    def lack(self, what: str, where: str, why: str) -> None:
        self.problems.append(Problem(what, where, why))


def list_titles(wiki: MediaWiki, titles: Iterable[str], into: Listing) -> None:
    """Resolve titles to pages. What is missing or no title is a Problem, and gone: the listing stays complete."""
    wanted = []
    for title in dict.fromkeys(unicodedata.normalize("NFC", title.replace("_", " ")).strip() for title in titles):
        if not title or "|" in title or not title.isprintable():
            into.lack("invalid_title", title, "a title holds no | and no control characters")
        else:
            wanted.append(title)
    for batch in _batches(wanted):
        query = _merged(wiki, titles="|".join(batch), redirects=1, converttitles=1, prop="info")
        by_title = {page.title: page for page in query.pages.values()}
        elsewhere = {one.title for one in query.interwiki}
        for title in batch:
            _take(title, _target(title, query), by_title, elsewhere, into)


def list_category(wiki: MediaWiki, category: str, depth: int, into: Listing) -> None:
    """Collect the articles of a category and, down to `depth`, of the categories below it; circles end by themselves.

    A category that cannot be listed, or has nothing in it, is a Problem and makes the listing incomplete: its name may
    be wrong, and its pages must not count as deleted for that.
    """
    level, seen = [category], {category}
    for below in range(depth + 1):
        following: dict[str, None] = {}
        for title in level:
            try:
                members = _members(wiki, title, with_categories=below < depth)
            except QueryError as error:
                into.complete = False
                into.lack("category_refused", title, str(error))
                continue
            into.members[title] = [len(members), below < depth]
            if not members and below == 0:
                into.complete = False
                into.lack("empty_category", title, "no such category, or nothing in it: is its name right?")
            for page in members:
                if page.ns == CATEGORIES:
                    following[page.title] = None
                elif page.ns == ARTICLES and page.pageid > 0 and page.lastrevid > 0:
                    into.pages[page.pageid] = page
                elif not page.missing:
                    into.others += 1
        level = [title for title in following if title not in seen]
        seen.update(level)


def doubt_losses(found: Listing, memo: Any) -> dict[str, Any]:
    """Leave a listing incomplete where a category has lost most of its members since the look that `memo` is of.

    The answer may be a faulty one, and whatever lay in and below that category would count as deleted. The next look,
    whose memo is returned, believes what it finds the same.
    """
    known = memo.get("members") if isinstance(memo, dict) else None
    before: dict[str, Any] = known if isinstance(known, dict) else {}
    for category, (now, with_categories) in found.members.items():
        match before.get(category):
            case [int(then), bool(same)] if same is with_categories and 2 * now < then:
                why = f"{then} members at the look before, {now} now: nothing goes for that until a look finds the same"
                found.lack("shrunk_category", category, why)
                found.complete = False
    return {"members": found.members if found.complete else before | found.members}


def _members(wiki: MediaWiki, category: str, with_categories: bool) -> Sequence[Page]:
    query = _merged(
        wiki,
        generator="categorymembers",
        gcmtitle=category,
        gcmtype="page|subcat" if with_categories else "page",
        gcmlimit=MEMBERS,
        redirects=1,
        prop="info",
    )
    return list(query.pages.values())


def _merged(wiki: MediaWiki, **params: str | int) -> _Query:
    """A query and its continuations as one; pages by title, since those that are missing share their ids."""
    whole = _Query()
    for value in wiki.answers(**params):
        part = read_query(value)
        for page in part.pages.values():  # a continuation names all pages again, and only some with what was asked
            if page.lastrevid or page.title not in whole.pages:
                whole.pages[page.title] = page
        whole.normalized += part.normalized
        whole.converted += part.converted
        whole.redirects += part.redirects
        whole.interwiki += part.interwiki
    return whole


def read_query(value: Any) -> _Query:
    """The part `query` of an answer. Raises WikiError when it has another shape than MediaWiki's."""
    try:
        return _Query.model_validate((value.get("query") if isinstance(value, dict) else value) or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise WikiError(f"An answer of the wiki cannot be read: {where}: {first['msg']}. Is it a MediaWiki?") from error


def _batches(titles: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for title in titles:
        length = len(quote(title, safe="")) + 3
        if batch and (len(batch) == TITLES or size + length > TITLE_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(title)
        size += length
    if batch:
        yield batch


def _target(title: str, query: _Query) -> str:
    """The title under which the answer has the page that was asked for."""
    for renamings in (query.normalized, query.converted):
        title = {one.before: one.after for one in renamings}.get(title, title)
    redirects = {one.before: one.after for one in query.redirects}
    for _ in range(_MAX_REDIRECTS):
        if title not in redirects:
            break
        title = redirects[title]
    return title


def _take(asked: str, title: str, by_title: dict[str, Page], elsewhere: set[str], into: Listing) -> None:
    page = by_title.get(title)
    if title in elsewhere or asked in elsewhere:
        into.lack("other_wiki", asked, "this title leads to another wiki: make that a source of its own")
    elif page is None:
        into.complete = False
        into.lack("unresolved", asked, f"the wiki's answer has no page {title!r}, and does not say that it is missing")
    elif page.invalid:
        into.lack("invalid_title", asked, page.invalidreason or "the wiki takes it for no title")
    elif page.special or page.ns < 0:
        into.lack("special", asked, "this page is made up whenever somebody reads it")
    elif page.missing or page.pageid <= 0 or page.lastrevid <= 0:
        into.lack("missing", asked, "there is no such page" + (f" ({title})" if title != asked else ""))
    else:
        into.pages[page.pageid] = page
