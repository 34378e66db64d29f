"""One article as the wiki's API gives it: which query brings it, and what its answer says.

The answers are kept as they come, so whatever may stand in them is read here, and nothing of it raises.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from data.sources.base import Problem

MISSING, REFUSED, UNREADABLE = "missing", "refused", "unreadable"
UNANSWERED = "unanswered"  # the wiki failed, time and again; it may give the page another day


def page_query(page_id: str, disambiguations: Collection[str]) -> dict[str, str | int]:
    """The query for the text of one page; the API gives whole extracts one at a time only.

    `disambiguations` are categories, without `Category:`, of which the answer shall say whether the page is in them.
    """
    return {
        "pageids": page_id,
        "prop": "extracts|info|revisions|pageprops|categories",
        "explaintext": 1,
        "exsectionformat": "wiki",
        "inprop": "url",
        "rvprop": "ids|timestamp",
        "ppprop": "disambiguation",
        "clcategories": "|".join(f"Category:{name}" for name in disambiguations),
    }


@dataclass(frozen=True)
class FetchedPage:
    """What an answer says of a page.

    revision     of the extract, or 0 where the answer does not tell
    extract      text with `== headings ==`
    timestamp    of the revision, ISO 8601
    categories   those that were asked for and that the page is in, casefolded
    problem      why it cannot be used, if so
    lost         MISSING, REFUSED, UNANSWERED or UNREADABLE, when the answer does not have the page at all
    """

    title: str = ""
    revision: int = 0
    extract: str = ""
    timestamp: str | None = None
    url: str | None = None
    categories: frozenset[str] = frozenset()
    problem: Problem | None = None
    lost: str | None = None


def refusal(lost: str, why: str) -> bytes:
    """What is kept for a page that is REFUSED or UNANSWERED, in the form of MediaWiki's errors."""
    return json.dumps({"error": {"code": lost, "info": why}}).encode()


def read_page(body: bytes, page_id: str, disambiguations: Collection[str] = ()) -> FetchedPage:
    """Read the answer to `page_query`; recorded answers of single props are read as far as they go."""
    try:
        value = json.loads(body)
        if "error" in value:
            lost = UNANSWERED if value["error"].get("code") == UNANSWERED else REFUSED
            return FetchedPage(problem=Problem(lost, page_id, str(value["error"]["info"])), lost=lost)
        pages = value["query"]["pages"]
        page = pages.get(page_id)
        if page is None and len(pages) == 1:
            page = next(iter(pages.values()))
        if str(page.get("pageid", page_id)) != page_id:
            raise ValueError(f"it is about page {page['pageid']}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        problem = Problem(UNREADABLE, page_id, f"the answer has no such page ({error!r})")
        return FetchedPage(problem=problem, lost=UNREADABLE)
    return _page(page, page_id, disambiguations)


def _page(page: dict[str, Any], page_id: str, disambiguations: Collection[str]) -> FetchedPage:
    title = _text(page.get("title"))
    categories = frozenset(
        _text(one.get("title")).casefold() for one in _list(page.get("categories")) if isinstance(one, dict)
    )
    revisions = [one for one in _list(page.get("revisions")) if isinstance(one, dict)]
    props = page.get("pageprops")
    what, why = "", ""
    if page.get("missing", False) is not False:
        what, why = MISSING, "deleted since it was listed"
    elif isinstance(props, dict) and "disambiguation" in props:
        what, why = "disambiguation", "it lists what its title may mean"
    elif marks := categories & {f"category:{name}".casefold() for name in disambiguations}:
        what, why = "disambiguation", f"it lists what its title may mean ({min(marks)})"
    elif not isinstance(page.get("extract"), str):
        what, why = "no_extract", "the wiki gives no text of it"
    elif not page["extract"].strip():
        what, why = "empty", "the wiki gives no text of it"
    return FetchedPage(
        title=title,
        revision=_number(page.get("lastrevid")) or (_number(revisions[0].get("revid")) if revisions else 0),
        extract=_text(page.get("extract")),
        timestamp=(_text(revisions[0].get("timestamp")) if revisions else "") or None,
        url=_text(page.get("canonicalurl")) or _text(page.get("fullurl")) or None,
        categories=categories,
        problem=Problem(what, f"{page_id} {title}".rstrip(), why) if what else None,
        lost=MISSING if what == MISSING else None,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
