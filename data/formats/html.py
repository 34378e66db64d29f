"""Pages of HTML: the text that they are about, without navigation and other boilerplate, by trafilatura."""

import logging
import re
from typing import Any

from data.formats.base import PAGE_BYTES, CannotReadError, File, Found, Reading, Tally
from data.formats.decoding import decode
from data.formats.documents import document, iso_date
from data.formats.kinds import charset_of

_DECLARED = re.compile(
    rb"""(?:<meta[^>]{0,500}?charset|<\?xml[^>]{0,200}?encoding)\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE
)
_HEAD_BYTES = 4096  # where a declaration is looked for
_DATES = {"original_date": True, "extensive_search": False, "max_date": "2100-01-01", "min_date": "1995-01-01"}


def read_html(file: File, reading: Reading, tally: Tally) -> Found:
    """The page as one document, whose id is the file's name; its title is in `meta`."""
    data = whole(file, PAGE_BYTES)
    text, meta = page_text(data, file, reading, tally)
    title, author, created, url, body = extract(text)
    if not body.strip():
        raise CannotReadError("no_text", "a page without text")
    yield from document(
        file,
        file.name,
        body,
        reading,
        tally,
        meta={**meta, "title": title} if title else meta,
        authors=(author,) if author else (),
        url=file.url or url,
        created=created,
    )


def whole(file: File, limit: int) -> bytes:
    """All bytes of a file. Raises CannotReadError when they are more than `limit`."""
    held: list[bytes] = []
    size = 0
    for chunk in file.chunks():
        size += len(chunk)
        if size > limit:
            raise CannotReadError("too_large", f"more than {limit} bytes, which is what is read at once of its kind")
        held.append(chunk)
    return b"".join(held)


def page_text(data: bytes, file: File, reading: Reading, tally: Tally) -> tuple[str, dict[str, str]]:
    """The characters of a page, markup and all, and what is to be said of its encoding."""
    match = _DECLARED.search(data[:_HEAD_BYTES])
    declared = charset_of(file.content_type) or (match[1].decode("ascii") if match else None)
    encoding, texts = decode(lambda: [data], reading.fallback_encoding, declared)
    tally.encoding(file.name, encoding)
    return "".join(texts), {} if encoding.name == "utf-8" else {"encoding": encoding.name}


def extract(page: str) -> tuple[str | None, str | None, str | None, str | None, str]:
    """(title, author, date in ISO 8601, canonical url, text) of a page."""
    for library in ("trafilatura", "htmldate", "courlan"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # they tell of every page that is odd
    from trafilatura import bare_extraction
    from trafilatura.baseline import baseline

    try:
        found: Any = bare_extraction(
            page, include_comments=False, with_metadata=True, date_extraction_params=_DATES, deduplicate=False
        )
        if found is not None and found.text and found.text.strip():
            return found.title, found.author, iso_date(found.date or ""), found.url, found.text
        return None, None, None, None, baseline(page)[1]
    except (RecursionError, MemoryError) as error:
        raise CannotReadError("too_deep", "its markup is nested too deeply") from error
    except Exception as error:  # whatever a parser of other people's pages may come upon
        raise CannotReadError("damaged", f"its markup cannot be read: {type(error).__name__}: {error}"[:200]) from error
