"""What must go for something to be forgotten: which documents, items and artifacts of a store, and what is tainted.

From what is wanted (ids, an author, a URL, a source) follow the documents, all their versions in the store, their exact
duplicates, and the near ones that drop lists name: those that were dropped for it, the one it was dropped for, and the
others dropped for that one. A raw item that is one forgotten document goes as a whole; of an item that holds several,
the documents are sifted out on reading and its bytes stay, unless whole items are to go. Nothing is changed here: see
data/purging.py. What was begun earlier and not finished is part of every plan.
"""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice

import numpy as np

from data.corpus import TRAIN_FILE, VALIDATION_FILE
from data.drops import DROPS_FILE
from data.errors import TextmillError
from data.holdings import Held, Holdings, Row, key_in, with_signatures
from data.manifest import Manifest
from data.shards import read_batches
from data.tombstones import Tombstones, author_hash, is_of, of_document, read_tombstones

# Stages that hold or show text, or hashes and ids of it, last first
REMOVED = ("report", "overlap", "tokens", "corpus", "duplicates", "documents", "raw")
_SEPARATORS = re.compile(r"[#/@;~]")  # between an item's id and the rest of its documents' ids
_MANY = 200_000  # ids among which a mistyped one is looked for


class NotHeldError(TextmillError):
    """The store holds nothing of the kind that is to be forgotten."""


@dataclass(frozen=True)
class Wanted:
    """What shall be forgotten. `names` are all spellings of the author; `source` alone means all of it, else limits."""

    documents: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    url: str | None = None
    source: str | None = None

    @property
    def is_whole_source(self) -> bool:
        return self.source is not None and not (self.documents or self.names or self.url)

    def __str__(self) -> str:
        said = [f"document {one!r}" for one in sorted(self.documents)] + (["that author"] if self.names else [])
        said += [f"url {self.url!r}"] if self.url else []
        return ", ".join(said) or f"source {self.source!r}"


@dataclass
class Gone:
    """What is forgotten of one source: native ids of documents and of items; `whole` when it is all of it.

    kept_in  {item: documents} that are forgotten, but whose bytes stay in a raw item with others
    clear    keys of documents artifacts that hold none of the documents
    """

    documents: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    whole: bool = False
    kept_in: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    clear: set[str] = field(default_factory=set)

    def holds_item(self, native_id: str) -> bool:
        return self.whole or native_id in self.items or Tombstones(items=frozenset(self.items)).holds_item(native_id)

    def sifted(self) -> set[str]:
        """The documents that are in no item that goes."""
        return set() if self.whole else {one for one in self.documents if not _is_in(one, self.items)}


@dataclass(frozen=True)
class Plan:
    """What forgetting comes to. Rows are documents in all versions; `removed` and `tainted` are in the order to act."""

    by_source: Mapping[str, Gone]  # by source id; one without an id, as "name:NAME", cannot be kept from coming back
    rows: int
    duplicates: int
    removed: tuple[Manifest, ...]
    tainted: tuple[Manifest, ...]
    holdings: Holdings


def plan(holdings: Holdings, wanted: Wanted, drop_items: bool = False) -> Plan:
    """Work out what must go. Raises NotHeldError, with near names, when there is nothing of what is wanted."""
    return _Planner(holdings, wanted).plan(drop_items)


class _Planner:
    def __init__(self, holdings: Holdings, wanted: Wanted) -> None:
        self.holdings, self.wanted = holdings, wanted
        self.by_key = {held.key: held for held in holdings.documents}
        self.sources = self._sources()
        self.gone: dict[str, Gone] = defaultdict(Gone)
        self.buried = {one: read_tombstones(holdings.store.refs, one) for one in holdings.sources}

    def plan(self, drop_items: bool) -> Plan:
        seeds = self._seeds()
        self._refuse_several()
        if not (seeds or self.gone or self._is_buried()):
            raise NotHeldError(f"Nothing of {self.wanted} is in {self.holdings.store.root}. {self._near_names()}")
        found = seeds | self._near(seeds)
        rows = found | self._copies(found)
        for row, native_id in self._ids(rows):
            for owner in _owners(self.by_key[row[0]]):
                self.gone[owner].documents.add(native_id)
        for owner, buried in self.buried.items():
            if buried.documents or buried.items or buried.whole:
                gone = self.gone[owner]
                gone.documents |= buried.documents
                gone.items |= buried.items
                gone.whole = gone.whole or buried.whole is not None
        for owner in self.gone:
            self._settle_items(owner, drop_items)
        touched = self._touched()
        for owner, gone in self.gone.items():
            gone.clear = {one.plain_key for one in self.holdings.documents
                          if owner in _owners(one) and one.key not in touched}  # fmt: skip
        removed = self._removed(touched)
        tainted = self._tainted(removed)
        return Plan(
            dict(self.gone),
            len(rows),
            len(rows - seeds),
            tuple(sorted((self.holdings.manifests[key] for key in removed), key=_order)),
            tuple(self.holdings.manifests[key] for key in self.holdings.manifests if key in tainted),
            self.holdings,
        )

    def _sources(self) -> frozenset[str] | None:
        """Ids of the sources that are meant; None: any."""
        if (name := self.wanted.source) is None:
            return None
        known = self.holdings.sources.values()
        found = {one.id for one in known if name in one.names or (len(name) >= 6 and one.id.startswith(name))}
        found |= {owner for held in self.holdings.documents if held.name == name for owner in _owners(held)}
        if not found:
            names = sorted({name for one in known for name in one.names})
            near = get_close_matches(name, names, 3) or names
            raise NotHeldError(
                f"No source {name!r} was ever run into {self.holdings.store.root}; there are: {', '.join(near)}."
            )
        if self.wanted.is_whole_source and len(found) > 1:
            raise NotHeldError(
                f"{len(found)} sources are called {name!r}: {self._shown(found)}. Name one by its id, --source ID."
            )
        return frozenset(found)

    def _meant(self, held: Held) -> bool:
        return self.sources is None or bool(self.sources & _owners(held))

    def _seeds(self) -> set[Row]:
        """The documents that are wanted themselves; items that are wanted are noted as gone."""
        wanted = self.wanted
        for raw, owners in self.holdings.raw_owners.items():
            for owner in owners if self.sources is None else owners & self.sources:
                for item in self.holdings.items(raw):
                    named = bool(wanted.documents) and is_of(item.native_id, wanted.documents)
                    if named or (wanted.url is not None and item.url == wanted.url):
                        self.gone[owner].items.add(item.native_id)
        found = set()
        if wanted.is_whole_source:
            for owner in self.sources or ():
                self.gone[owner].whole = True
        for held in filter(self._meant, self.holdings.documents):
            items = set().union(*(self.gone[one].items for one in _owners(held) if one in self.gone))
            for row, (native_id, url, authors) in held.rows("native_id", "url", "authors"):
                if (
                    wanted.is_whole_source
                    or (wanted.documents and is_of(native_id, wanted.documents))
                    or _is_in(native_id, items)
                    or (wanted.url is not None and url == wanted.url)
                    or (wanted.names and not wanted.names.isdisjoint(one.strip() for one in authors))
                ):
                    found.add((held.key, row))
                    for owner in _owners(held):
                        _ = self.gone[owner]
        return found

    def _refuse_several(self) -> None:
        """An id that two sources have is not meant in both, unless it is said so."""
        if self.wanted.documents and self.sources is None and len(self.gone) > 1:
            raise NotHeldError(
                f"{self.wanted} is in {len(self.gone)} sources: {self._shown(self.gone)}. Name the one that is meant, "
                "--source NAME or --source ID."
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
            for owner in _owners(self.by_key[key]):
                ids[owner].add(native_id)
        for held in self.holdings.documents:
            known = set().union(*(ids[owner] for owner in _owners(held)))
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

    def _settle_items(self, owner: str, drop_items: bool) -> None:
        """Which items of a source go as a whole, and which keep bytes of forgotten documents."""
        gone = self.gone[owner]
        raws = [raw for raw, owners in self.holdings.raw_owners.items() if owner in owners]
        items = {item.native_id for raw in raws for item in self.holdings.items(raw)}
        if gone.whole:
            gone.items |= items
            return
        alone = {of_document(one) for one in gone.documents} & items
        for held in self.holdings.documents if alone else ():
            if owner in _owners(held):
                for _, (native_id,) in held.rows("native_id"):
                    if native_id not in gone.documents:
                        alone -= set(_beginnings(native_id))
        gone.items |= alone
        for native_id in gone.sifted():
            for item in _holding(native_id, items):
                gone.kept_in[item].add(native_id)
        if drop_items:
            gone.items |= gone.kept_in.keys()
            gone.kept_in.clear()

    def _raw_gone(self) -> set[str]:
        """Raw slots that hold an item which goes, whatever version of it."""
        found = set()
        contents = set()
        for raw, owners in self.holdings.raw_owners.items():
            for item in self.holdings.items(raw):
                if any(self.gone[owner].holds_item(item.native_id) for owner in owners & self.gone.keys()):
                    found.add(raw)
                    contents.add((item.native_id, item.fingerprint))
        for manifest in self.holdings.of("raw"):
            same = ((item.native_id, item.fingerprint) in contents for item in self.holdings.items(manifest.key))
            if manifest.key not in found and manifest.key not in self.holdings.raw_owners and any(same):
                found.add(manifest.key)
        return found

    def _touched(self) -> set[str]:
        """Artifacts that hold what goes: raw slots, documents, and corpus slots whose documents are not there."""
        raw = self._raw_gone()
        found = set(raw)
        for held in self.holdings.documents:
            gone = [self.gone[one] for one in _owners(held) if one in self.gone]
            if held.raw in raw or any(one.whole for one in gone):
                found.add(held.key)
                continue
            ids = set().union(*(one.documents for one in gone))
            items = set().union(*(one.items for one in gone))
            shown = (one for (one,) in (values for _, values in held.rows("native_id"))) if gone else iter(())
            if any(one in ids or _is_in(one, items) for one in (*shown, *(_shown_drops(held) if gone else ()))):
                found.add(held.key)
        for manifest in self.holdings.of("corpus"):
            if "index" not in manifest.recipe.config and key_in(manifest.inputs[0]) not in self.by_key:
                name = manifest.name.rpartition("-")[0]
                gone = [one for key, one in self.gone.items() if name in self._names(key)]
                if any(self._is_in_shard(manifest, file, gone) for file in (TRAIN_FILE, VALIDATION_FILE)):
                    found.add(manifest.key)
        checked = {child for corpus in self.holdings.of("corpus") for child in self.holdings.children[corpus.key]}
        names = {name for key, one in self.gone.items() if one.documents or one.items for name in self._names(key)}
        for manifest in self.holdings.of("tokens"):  # whose text is not there to be looked into any more
            if manifest.key not in checked and manifest.name.rpartition("-")[0] in names:
                found.add(manifest.key)
        return found

    def _names(self, owner: str) -> Collection[str]:
        known = self.holdings.sources.get(owner)
        return known.names if known and known.names else [owner.removeprefix("name:")]

    def _is_in_shard(self, manifest: Manifest, file: str, gone: Collection[Gone]) -> bool:
        """Whether a corpus slot holds a document that goes."""
        path = self.holdings.store.path(manifest.ref) / file
        for batch in read_batches(path, ["native_id"]) if gone and path.exists() else ():
            for native_id in batch["native_id"].to_pylist():
                if any(one.whole or native_id in one.documents or _is_in(native_id, one.items) for one in gone):
                    return True
        return False

    def _removed(self, touched: set[str]) -> set[str]:
        """`touched` and what was made of it that holds or shows text."""
        removed = set()
        waiting = list(touched)
        while waiting:
            key = waiting.pop()
            if key not in removed and self.holdings.manifests[key].recipe.stage in REMOVED:
                removed.add(key)
                waiting += self.holdings.children[key]
        return removed

    def _tainted(self, removed: set[str]) -> set[str]:
        """What was made of anything removed and stays; a tokenizer only if it was trained on what goes."""
        tainted: set[str] = set()
        waiting = [key for one in removed for key in self.holdings.children[one]]
        while waiting:
            key = waiting.pop()
            manifest = self.holdings.manifests[key]
            if key in removed or key in tainted:
                continue
            if manifest.recipe.stage == "tokenizer" and not self._has_learnt(manifest, removed):
                continue
            tainted.add(key)
            waiting += self.holdings.children[key]
        return tainted

    def _has_learnt(self, tokenizer: Manifest, removed: set[str]) -> bool:
        if not tokenizer.recipe.inputs.get("train"):
            return False  # GPT-2's own
        gone = list(self.gone.values())
        slots = [self.holdings.manifests[key] for key in removed if tokenizer.key in self.holdings.children[key]]
        return any(self._is_in_shard(slot, TRAIN_FILE, gone) for slot in slots)


def _owners(held: Held) -> frozenset[str]:
    return held.owners or frozenset([f"name:{held.name}"])


def _beginnings(native_id: str) -> Iterator[str]:
    """The ids that an item may have in which a document of this id lies, longest first."""
    yield native_id
    for separator in reversed(list(_SEPARATORS.finditer(native_id))):
        yield native_id[: separator.start()]


def _is_in(native_id: str, items: Collection[str]) -> bool:
    """Whether a document lies in one of the items, as far as its id tells."""
    return bool(items) and any(one in items for one in _beginnings(native_id))


def _holding(native_id: str, items: Collection[str]) -> list[str]:
    """The items that hold a document: the one whose id its own begins with; else those that share its first part, such
    as the months of a channel; else all."""
    for one in _beginnings(native_id):
        if one in items:
            return [one]
    first = native_id.partition("/")[0]
    return sorted(one for one in items if one.partition("/")[0] == first) or sorted(items)


def _shown_drops(held: Held) -> Iterator[str]:
    """Ids of dropped documents whose beginnings lie in a documents artifact as examples."""
    examples = json.loads((held.folder / DROPS_FILE).read_text())["examples"]
    yield from (one["native_id"] for shown in examples.values() for one in shown)


def _order(manifest: Manifest) -> tuple[int, str]:
    return REMOVED.index(manifest.recipe.stage), manifest.key
