"""The answer that holds one page: from a fetch that was killed, or from the wiki, patiently where that lags."""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from data.sources.base import SlotItem
from data.sources.pack import ChangedSinceLookError
from data.sources.wiki.mediawiki import MediaWiki, QueryError, WikiError
from data.sources.wiki.pages import REFUSED, UNANSWERED, UNREADABLE, FetchedPage, page_query, read_page, refusal

_TRIES = 3  # for a page that seems older than the look saw it


def fetch_page(
    wiki: MediaWiki, item: SlotItem, disambiguations: Collection[str], work: Path
) -> tuple[bytes, FetchedPage]:
    """The body of an answer and what it says. It has the revision that the look saw or a newer one, or no page.

    A wiki's database copies may be behind the one that the look saw, so what seems older or missing gets a moment.
    work  keeps the answers

    Raises ChangedSinceLookError when the page stays older, WikiError when the wiki cannot be asked.
    """
    place = work / f"{item.native_id}-{item.fingerprint}.json"
    with suppress(OSError):
        body = place.read_bytes()
        if (page := read_page(body, item.native_id)).revision:
            return body, page
    for attempt in range(_TRIES):
        if attempt:
            wiki.pause()
        body = _answer(wiki, item, disambiguations)
        page = read_page(body, item.native_id)
        if page.lost in (REFUSED, UNANSWERED) or (page.lost is None and page.revision >= int(item.fingerprint)):
            break
    if page.lost == UNREADABLE or (page.lost is None and page.revision < int(item.fingerprint)):
        raise ChangedSinceLookError(
            f"{wiki.url} gave revision {page.revision} of page {item.native_id}, but had {item.fingerprint} when this "
            f"run looked. {page.problem or ''} Run again when its copies agree."
        )
    partial = place.with_suffix(".partial")
    partial.write_bytes(body)
    partial.replace(place)
    return body, page


def _answer(wiki: MediaWiki, item: SlotItem, disambiguations: Collection[str]) -> bytes:
    """The answer to the query for a page. One page that always fails is no reason to do without the others."""
    try:
        return wiki.query(**page_query(item.native_id, disambiguations)).body
    except WikiError as error:
        wiki.query(meta="siteinfo")  # fails, too, when it is not this page
        return refusal(REFUSED if isinstance(error, QueryError) else UNANSWERED, str(error))
