"""What must go for something to be forgotten: which documents, items and artifacts of a store, and what is tainted.

From what is wanted (ids, an author, a URL, a source) follow the documents, all their versions in the store, their exact
duplicates, and the near ones that drop lists name: those that were dropped for it, the one it was dropped for, and the
others dropped for that one. A raw item that is one forgotten document goes as a whole; of an item that holds several,
the documents are sifted out on reading and its bytes stay, unless whole items are to go. Nothing is changed here: see
data/forgetting/purging.py. What was begun earlier and not finished is part of every plan.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from data.corpus import TRAIN_FILE, VALIDATION_FILE
from data.drops import DROPS_FILE
from data.forgetting.chats import REALMS, SECRET
from data.forgetting.gone import REMOVED, Gone, in_order
from data.forgetting.holdings import Held, Holdings
from data.forgetting.ids import beginnings, holding, is_in
from data.forgetting.search import search
from data.forgetting.sifting import Searched, items_with
from data.forgetting.tombstones import of_document, read_tombstones
from data.forgetting.wanted import Wanted
from data.manifest import Manifest, key_in
from data.shards import read_batches


@dataclass(frozen=True)
class Plan:
    """What forgetting comes to. Rows are documents in all versions; `removed` and `tainted` are in the order to act."""

    by_source: Mapping[str, Gone]  # by source id; one without an id, as "name:NAME", cannot be kept from coming back
    rows: int
    duplicates: int
    removed: tuple[Manifest, ...]
    tainted: tuple[Manifest, ...]
    holdings: Holdings
    searched: Mapping[tuple[str, str], Searched]  # slots of chats, see `Found`


def plan(holdings: Holdings, wanted: Wanted, drop_items: bool = False, secret: str = SECRET) -> Plan:
    """Work out what must go. Raises NotHeldError, with near names, when there is nothing of what is wanted.

    secret  name of the one that authors' names are made with
    """
    return _Planner(holdings, wanted, secret).plan(drop_items)


class _Planner:
    def __init__(self, holdings: Holdings, wanted: Wanted, secret: str) -> None:
        self.holdings = holdings
        self.by_key = {held.key: held for held in holdings.documents}
        self.buried = {one: read_tombstones(holdings.store.refs, one) for one in holdings.sources}
        self.secret = secret
        self.found = search(holdings, wanted, self.buried, secret)
        self.gone: dict[str, Gone] = defaultdict(Gone)

    def plan(self, drop_items: bool) -> Plan:
        for owner, ids in self.found.documents.items():
            self.gone[owner].documents |= ids
        for owner, ids in self.found.items.items():
            self.gone[owner].items |= ids
        for owner, messages in self.found.messages.items():
            self.gone[owner].documents |= set().union(*messages.values())
        for owner in self.found.whole:
            self.gone[owner].whole = True
        for owner in self.found.meant:
            self.gone.setdefault(owner, Gone())
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
                          if owner in one.owner_ids and one.key not in touched}  # fmt: skip
        removed = self._removed(touched)
        tainted = self._tainted(removed)
        return Plan(
            dict(self.gone),
            len(self.found.rows),
            self.found.copies,
            tuple(sorted((self.holdings.manifests[key] for key in removed), key=in_order)),
            tuple(self.holdings.manifests[key] for key in self.holdings.manifests if key in tainted),
            self.holdings,
            self.found.searched,
        )

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
            if owner in held.owner_ids:
                for _, (native_id,) in held.rows("native_id"):
                    if native_id not in gone.documents:
                        alone -= set(beginnings(native_id))
        gone.items |= alone
        for native_id in gone.sifted():
            for item in holding(native_id, items):
                gone.kept_in[item].add(native_id)
        for item, documents in self.found.messages.get(owner, {}).items():
            gone.kept_in[item] |= set(documents)
        for item in [one for one in gone.kept_in if gone.holds_item(one)]:
            del gone.kept_in[item]
        if drop_items:
            gone.items |= gone.kept_in.keys() - self._without_any(owner, raws)
            gone.kept_in.clear()

    def _without_any(self, owner: str, raws: Collection[str]) -> set[str]:
        """Items of a chat, such as the months of a channel, that keep nothing of what is forgotten, as they are read.

        An id alone does not tell in which of them a conversation is.
        """
        gone = self.gone[owner]
        known = self.holdings.sources.get(owner)
        if known is None or known.kind not in REALMS:
            return set()
        wanted = set().union(*gone.kept_in.values())
        there = set(self.found.messages.get(owner, {}))
        for raw in raws:
            folder = self.holdings.store.path(self.holdings.manifests[raw].ref)
            there |= items_with(known.kind, folder, wanted, self.holdings.readings(raw, owner), self.secret)
        return gone.kept_in.keys() - there

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
            gone = [self.gone[one] for one in held.owner_ids if one in self.gone]
            if held.raw in raw or any(one.whole for one in gone) or self._may_quote(held) or self._is_stale(held):
                found.add(held.key)
                continue
            ids = set().union(*(one.documents for one in gone))
            items = set().union(*(one.items for one in gone))
            shown = (one for (one,) in (values for _, values in held.rows("native_id"))) if gone else iter(())
            if any(one in ids or is_in(one, items) for one in (*shown, *(_shown_drops(held) if gone else ()))):
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

    def _may_quote(self, held: Held) -> bool:
        """Whether its raw slot is a chat's that has messages of the author, or quotes of them."""
        wanted = {item for owner in held.owner_ids for item in self.found.messages.get(owner, ())}
        there = held.raw in self.holdings.manifests
        return bool(wanted) and there and any(item.native_id in wanted for item in self.holdings.items(held.raw))

    def _is_stale(self, held: Held) -> bool:
        """Whether an earlier forgetting would have removed it, had it not been killed."""
        if len(held.owner_ids) > 1:
            return False
        sieves = [self.buried[one].concerning(held.plain_key) for one in held.owner_ids if one in self.buried]
        return any(one and one.digest() != held.manifest.recipe.config.get("forgotten") for one in sieves)

    def _names(self, owner: str) -> Collection[str]:
        known = self.holdings.sources.get(owner)
        return known.names if known and known.names else [owner.removeprefix("name:")]

    def _is_in_shard(self, manifest: Manifest, file: str, gone: Collection[Gone]) -> bool:
        """Whether a corpus slot holds a document that goes."""
        path = self.holdings.store.path(manifest.ref) / file
        for batch in read_batches(path, ["native_id"]) if gone and path.exists() else ():
            for native_id in batch["native_id"].to_pylist():
                if any(one.whole or native_id in one.documents or is_in(native_id, one.items) for one in gone):
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


def _shown_drops(held: Held) -> Iterator[str]:
    """Ids of dropped documents whose beginnings lie in a documents artifact as examples."""
    examples = json.loads((held.folder / DROPS_FILE).read_text())["examples"]
    yield from (one["native_id"] for shown in examples.values() for one in shown)
