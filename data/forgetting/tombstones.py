"""What was forgotten of a source: ids that no later look or reading may bring back, in the store's refs.

A tombstone is the native id of an item or of a document, a hash of an author's name, or a date for a whole source;
never a text. Requests are kept apart, as each knows of which documents artifacts it was seen that nothing in them is
concerned ("clear"): their keys stay as they were, and whatever is read later, or cleaned in another way, is sifted.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from data.digests import text_digest
from data.errors import TextmillError
from data.manifest import canonical_json
from data.refs import Refs
from data.sources.base import RawDocument

FORMAT = 1  # of a source's tombstones; raised when a reader of the older one would misread them
FOLDER = "tombstones"
_LATER_RANGE = re.compile(r"@\d{4,}$")  # of a file that is cut, as data/sources/folder.py and hub/items.py name them
_LATER_PART = re.compile(r"~\d+$")  # of a document that is too long for one


@dataclass(frozen=True)
class Request:
    """What was forgotten at once, besides whole items.

    documents  native ids
    authors    hashes, see `author_hash`
    clear      keys of documents artifacts that hold none of these, as they are without this request
    """

    date: str
    documents: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    clear: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Tombstones:
    """All that was forgotten of one source. `whole` is the date when all of it was; `items` are native ids."""

    whole: str | None = None
    items: frozenset[str] = frozenset()
    requests: tuple[Request, ...] = ()

    @property
    def documents(self) -> frozenset[str]:
        return frozenset().union(*(request.documents for request in self.requests))

    @property
    def authors(self) -> frozenset[str]:
        return frozenset().union(*(request.authors for request in self.requests))

    def holds_item(self, native_id: str) -> bool:
        """Whether an item is forgotten; with a file go the ranges that it is cut into."""
        return self.whole is not None or native_id in self.items or _LATER_RANGE.sub("", native_id) in self.items

    def concerning(self, key: str) -> "Sieve | None":
        """What the documents with this key must be sifted by; None when nothing of it is concerned."""
        requests = [request for request in self.requests if key not in request.clear]
        if not requests:
            return None
        return Sieve(
            frozenset().union(*(request.documents for request in requests)),
            frozenset().union(*(request.authors for request in requests)),
        )

    def with_more(self, items: Collection[str], request: Request) -> "Tombstones":
        """These and more. What is known already is not noted twice."""
        fresh = Request(request.date, request.documents - self.documents, request.authors - self.authors, request.clear)
        requests = (*self.requests, fresh) if fresh.documents or fresh.authors else self.requests
        return Tombstones(self.whole, self.items | frozenset(items), requests)


@dataclass(frozen=True)
class Sieve:
    """Tells the documents of a slot that are forgotten."""

    documents: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    _known: dict[str, bool] = field(default_factory=dict, compare=False)

    def digest(self) -> str:
        """Enters the key of the documents that are sifted."""
        return text_digest(canonical_json([sorted(self.documents), sorted(self.authors)]))

    def holds(self, document: RawDocument) -> bool:
        if document.native_id in self.documents:
            return True
        return bool(self.authors) and any(self._holds_author(author) for author in document.authors)

    def clear_cache(self) -> None:
        self._known.clear()

    def _holds_author(self, author: str) -> bool:
        known = self._known.get(author)
        if known is None:
            known = self._known[author] = author_hash(author) in self.authors
        return known


def author_hash(author: str) -> str:
    """What stands for an author: not to be read, though whoever knows a name can see whether it is there."""
    return hashlib.blake2b(
        author.strip().encode("utf-8", "surrogatepass"), digest_size=16, person=b"forgotten"
    ).hexdigest()


def of_document(native_id: str) -> str:
    """The id of the document that `native_id` is, or is a later part of."""
    return _LATER_PART.sub("", native_id)


def is_of(native_id: str, wanted: Collection[str]) -> bool:
    """Whether an id is one of the wanted, or a later part of one, or of a later range of the file that it names."""
    whole = of_document(native_id)
    return native_id in wanted or whole in wanted or _LATER_RANGE.sub("", whole) in wanted


def read_tombstones(refs: Refs, source: str) -> Tombstones:
    """The tombstones of the source with this id. Raises TextmillError when they cannot be read."""
    return from_json(refs.read(f"{FOLDER}/{source}").value, source)


def bury(refs: Refs, source: str, change: Callable[[Tombstones], Tombstones]) -> Tombstones:
    """Replace the tombstones of a source by `change` of them."""
    return from_json(refs.update(f"{FOLDER}/{source}", lambda value: to_json(change(from_json(value, source)))), source)


def to_json(tombstones: Tombstones) -> dict[str, Any]:
    requests = [
        {
            "date": one.date,
            "documents": sorted(one.documents),
            "authors": sorted(one.authors),
            "clear": sorted(one.clear),
        }
        for one in tombstones.requests
    ]
    return {"format": FORMAT, "whole": tombstones.whole, "items": sorted(tombstones.items), "requests": requests}


def from_json(value: Mapping[str, Any] | None, where: str) -> Tombstones:
    if value is None:
        return Tombstones()
    try:
        if value["format"] != FORMAT:
            raise ValueError(f"format {value['format']!r}, this version reads {FORMAT}")
        requests = tuple(
            Request(
                str(one["date"]),
                *(frozenset(map(str, one[name])) for name in ("documents", "authors", "clear")),
            )
            for one in value["requests"]
        )
        whole = None if value["whole"] is None else str(value["whole"])
        return Tombstones(whole, frozenset(map(str, value["items"])), requests)
    except (KeyError, TypeError, ValueError) as error:
        raise TextmillError(
            f"The tombstones of source {where} cannot be read ({error}). Do not delete them, or what was forgotten "
            "comes back: restore an earlier snapshot, or use the version of Textmill that wrote them."
        ) from error
