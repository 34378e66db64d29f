"""Which documents and items of a store are meant when something is to be forgotten, their copies included."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

import numpy as np

from data.forgetting.chats import SECRET
from data.forgetting.holdings import Held, Holdings, Row, with_signatures
from data.forgetting.ids import is_in
from data.forgetting.people import refuse_numbered, require_names, spelt
from data.forgetting.sifting import Searched, search_slot
from data.forgetting.tombstones import Tombstones, author_hash, is_of
from data.forgetting.wanted import NotHeldError, Wanted

_KEPT_BYTES = 200_000_000  # of what was found in slots of chats
_MANY = 200_000  # ids among which a mistyped one is looked for


@dataclass(frozen=True)
class Found:
    """What a store holds of what is wanted.

    rows       the documents, in all versions, with copies
    copies     how many of the rows are not wanted themselves
    documents  {source id: native ids of these rows}
    items      {source id: native ids of items that are wanted themselves}
    whole      ids of sources that are wanted as a whole
    messages   {source id: {item: documents}} of chats: items with messages of a wanted author, and the documents in
               which these are as far as they were not dropped; cleaning may have dropped them
    meant      ids of the sources into which nothing of a wanted author shall come later
    searched   {(source id, payload digest of a raw slot): what was found in it}, of chats, as far as memory allows
    """

    rows: frozenset[Row]
    copies: int
    documents: Mapping[str, frozenset[str]]
    items: Mapping[str, frozenset[str]]
    whole: frozenset[str]
    messages: Mapping[str, Mapping[str, Collection[str]]]
    meant: frozenset[str]
    searched: Mapping[tuple[str, str], Searched]


def search(holdings: Holdings, wanted: Wanted, buried: Mapping[str, Tombstones], secret: str = SECRET) -> Found:
    """Look for it; raises NotHeldError, with near names, when there is nothing and nothing of it was forgotten before.

    buried  what was forgotten of each source, by its id
    secret  name of the one that authors' names are made with
    """
    return _Search(holdings, wanted, buried, secret).find()


class _Search:
    """`concerned` are ids of sources that hold something of what is wanted."""

    def __init__(self, holdings: Holdings, wanted: Wanted, buried: Mapping[str, Tombstones], secret: str) -> None:
        self.holdings, self.wanted, self.buried = holdings, wanted, buried
        self.secret = secret
        self.by_key = {held.key: held for held in holdings.documents}
        self.sources = self._sources()
        self.items: dict[str, set[str]] = defaultdict(set)
        self.concerned: set[str] = set()
        self.messages: dict[str, dict[str, set[str]]] = {}
        self.searched: dict[tuple[str, str], Searched] = {}

    def find(self) -> Found:
        seeds = self._seeds()
        self.messages = self._messages()
        self.concerned |= self.messages.keys()
        self._refuse_several()
        if not (self.concerned or self._is_buried()):
            raise NotHeldError(f"Nothing of {self.wanted} is in {self.holdings.store.where}. {self._near_names()}")
        found = seeds | self._near(seeds)
        rows = found | self._copies(found)
        documents: dict[str, set[str]] = defaultdict(set)
        for row, native_id in self._ids(rows):
            for owner in self.by_key[row[0]].owner_ids:
                documents[owner].add(native_id)
        return Found(
            frozenset(rows),
            len(rows - seeds),
            {owner: frozenset(ids) for owner, ids in documents.items()},
            {owner: frozenset(ids) for owner, ids in self.items.items()},
            self.sources or frozenset() if self.wanted.is_whole_source else frozenset(),
            self.messages,
            self._meant_for_good(),
            self.searched,
        )

    def _sources(self) -> frozenset[str] | None:
        """Ids of the sources that are meant; None: any."""
        if (name := self.wanted.source) is None:
            return None
        known = self.holdings.sources.values()
        found = {one.id for one in known if name in one.names or (len(name) >= 6 and one.id.startswith(name))}
        found |= {owner for held in self.holdings.documents if held.name == name for owner in held.owner_ids}
        if not found:
            names = sorted({name for one in known for name in one.names})
            near = get_close_matches(name, names, 3) or names
            raise NotHeldError(
                f"No source {name!r} was ever run into {self.holdings.store.where}; there are: {', '.join(near)}."
            )
        if self.wanted.is_whole_source and len(found) > 1:
            raise NotHeldError(
                f"{len(found)} sources are called {name!r}: {self._shown(found)}. Name one by its id, --source ID."
            )
        return frozenset(found)

    def _meant_for_good(self) -> frozenset[str]:
        if not self.wanted.names:
            return frozenset()
        known = frozenset(self.holdings.sources)
        return known if self.sources is None else known & self.sources

    def _meant(self, held: Held) -> bool:
        return self.sources is None or bool(self.sources & held.owner_ids)

    def _seeds(self) -> set[Row]:
        """The documents that are wanted themselves; notes items that are, and sources."""
        wanted = self.wanted
        for raw, owners in self.holdings.raw_owners.items():
            for owner in owners if self.sources is None else owners & self.sources:
                for item in self.holdings.items(raw):
                    named = bool(wanted.documents) and is_of(item.native_id, wanted.documents)
                    if named or (wanted.url is not None and item.url == wanted.url):
                        self.items[owner].add(item.native_id)
        found = set()
        self.concerned = {*self.items, *(self.sources or () if wanted.is_whole_source else ())}
        for held in filter(self._meant, self.holdings.documents):
            items = set().union(*(self.items[one] for one in held.owner_ids if one in self.items))
            for row, (native_id, url, authors) in held.rows("native_id", "url", "authors"):
                if (
                    wanted.is_whole_source
                    or (wanted.documents and is_of(native_id, wanted.documents))
                    or is_in(native_id, items)
                    or (wanted.url is not None and url == wanted.url)
                    or (wanted.names and not wanted.names.isdisjoint(one.strip() for one in authors))
                ):
                    found.add((held.key, row))
                    self.concerned |= held.owner_ids
        return found

    def _messages(self) -> dict[str, dict[str, set[str]]]:
        """What chats hold of the author in raw, by source and item."""
        found: dict[str, dict[str, set[str]]] = defaultdict(dict)
        hashes = self._wanted_authors()
        kept = 0
        for raw, owners in self.holdings.raw_owners.items() if hashes else ():
            manifest = self.holdings.manifests[raw]
            folder = self.holdings.store.path(manifest.ref)
            for owner in owners if self.sources is None else owners & self.sources:
                readings = self.holdings.readings(raw, owner)
                if owner not in self.holdings.sources:
                    continue
                known = self.holdings.sources[owner]
                sure = self.holdings.readings(raw, owner, with_half_gone=False)
                require_names(known, sure, self.wanted.author, self.secret)
                searched = search_slot(known.kind, folder, hashes | self._as_written(known.kind), readings, self.secret)
                if searched is None:
                    continue
                if searched.concerned:
                    refuse_numbered(known, sure)
                if kept + (size := searched.bytes()) < _KEPT_BYTES:  # else it is searched again when its turn comes
                    self.searched[owner, manifest.payload_digest] = searched
                    kept += size
                for item, documents in searched.items().items():
                    found[owner].setdefault(item, set()).update(documents)
        return dict(found)

    def _as_written(self, kind: str) -> frozenset[str]:
        """Hashes of the wanted names as chats of a kind have them, where people are given in other ways, too."""
        return frozenset(author_hash(spelt(name, kind)) for name in self.wanted.names)

    def _refuse_several(self) -> None:
        """An id that two sources have is not meant in both, unless it is said so."""
        if self.wanted.documents and self.sources is None and len(self.concerned) > 1:
            raise NotHeldError(
                f"{self.wanted} is in {len(self.concerned)} sources: {self._shown(self.concerned)}. Name the one "
                "that is meant, --source NAME or --source ID."
            )

    def _shown(self, owners: Iterable[str]) -> str:
        return "; ".join(str(self.holdings.sources.get(one, one)) for one in sorted(owners))

    def _is_buried(self) -> bool:
        """Whether what is wanted was forgotten already, so that there is only to finish it."""
        buried = [one for owner, one in self.buried.items() if self.sources is None or owner in self.sources]
        return any(
            one.whole is not None
            or any(is_of(id_, self.wanted.documents) for id_ in one.items | one.documents)
            or not one.authors.isdisjoint(self._wanted_authors())
            for one in buried
        )

    def _wanted_authors(self) -> frozenset[str]:
        return frozenset(author_hash(name) for name in self.wanted.names)

    def _near_names(self) -> str:
        wanted = [*self.wanted.documents, *self.wanted.names, *([self.wanted.url] if self.wanted.url else [])]
        column = "native_id" if self.wanted.documents else "authors" if self.wanted.names else "url"
        known: dict[str, None] = {}
        for held in filter(self._meant, self.holdings.documents):
            for _, (value,) in islice(held.rows(column), _MANY):
                known.update(dict.fromkeys(value if isinstance(value, list) else [value] if value else []))
        near = [one for text in wanted for one in get_close_matches(text, islice(known, _MANY), 5, 0.6)]
        return f"Did you mean {', '.join(near)}?" if near else "`textmill ls documents` lists what there is."

    def _near(self, seeds: set[Row]) -> set[Row]:
        """Those that were dropped for one of the documents, the one it was dropped for, and others dropped for that."""
        pairs = list(self.holdings.near_matches())
        heads = seeds | {earlier for later, earlier in pairs if later in seeds}
        return heads | {later for later, earlier in pairs if earlier in heads}

    def _copies(self, rows: set[Row]) -> set[Row]:
        """All documents of the store with the signature of one of `rows`, and all versions of any of them."""
        found = set(rows)
        by_held: dict[str, list[int]] = defaultdict(list)
        for key, row in rows:
            if key in self.by_key:
                by_held[key].append(row)
        if not by_held:
            return set()
        signatures = [self.by_key[key].signatures()[sorted(at)] for key, at in by_held.items()]
        for held, equal in with_signatures(self.holdings.documents, np.concatenate(signatures)):
            found |= {(held.key, int(row)) for row in equal}
        ids: dict[str, set[str]] = defaultdict(set)
        for (key, _), native_id in self._ids(found):
            for owner in self.by_key[key].owner_ids:
                ids[owner].add(native_id)
        for held in self.holdings.documents:
            known = set().union(*(ids[owner] for owner in held.owner_ids))
            found |= {(held.key, row) for row, (native_id,) in held.rows("native_id") if native_id in known}
        return found

    def _ids(self, rows: Collection[Row]) -> Iterator[tuple[Row, str]]:
        wanted: dict[str, set[int]] = defaultdict(set)
        for key, row in rows:
            wanted[key].add(row)
        for key, numbers in wanted.items():
            for row, (native_id,) in self.by_key[key].rows("native_id") if key in self.by_key else ():
                if row in numbers:
                    yield (key, row), native_id
