"""What a store holds of each source: documents artifacts with their rows, raw slots with their items, and lineage."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.corpus import TRAIN_FILE
from data.digests import text_digest
from data.documents import DOCUMENTS_FILE, SIGNATURES_FILE
from data.duplicates import MATCHES_FILE
from data.manifest import Manifest, canonical_json, key_in
from data.near import bands
from data.shards import read_batches
from data.sources.known import KnownSource, known_sources
from data.sources.pack import PackedItem, read_items
from data.store import Store

_LOST = "lost"  # instead of the key of an earlier drop list that is not in the store any more
Row = tuple[str, int]
"""A document: key of its documents artifact, and its row there."""


@dataclass(frozen=True)
class Held:
    """One documents artifact. `owners` are ids of the sources that it is of: mostly one; none where nobody noted it."""

    manifest: Manifest
    folder: Path
    owners: frozenset[str]

    @property
    def key(self) -> str:
        return self.manifest.key

    @property
    def name(self) -> str:
        return str(self.manifest.recipe.config["source"])

    @property
    def owner_ids(self) -> frozenset[str]:
        """Its owners; where nobody noted one, a stand-in that tells its source's name."""
        return self.owners or frozenset([f"name:{self.name}"])

    @property
    def raw(self) -> str:
        """Key of the raw slot behind it."""
        return key_in(self.manifest.inputs[0])

    @property
    def plain_key(self) -> str:
        """The key that it would have if nothing had been forgotten."""
        config = {name: value for name, value in self.manifest.recipe.config.items() if name != "forgotten"}
        return replace(self.manifest.recipe, config=config).key

    def rows(self, *columns: str) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """(row, values of these columns) of every document."""
        path = self.folder / DOCUMENTS_FILE
        row = 0
        for batch in read_batches(path, columns) if path.exists() else ():
            for values in zip(*(batch[name].to_pylist() for name in columns), strict=True):
                yield row, values
                row += 1

    def signatures(self) -> NDArray[np.uint64]:
        """(documents, 2), row i of document i."""
        found: NDArray[np.uint64] = np.load(self.folder / SIGNATURES_FILE, allow_pickle=False)
        return found


class Holdings:
    """The store as it is when this is made."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.sources: dict[str, KnownSource] = {source.id: source for source in known_sources(store.refs)}
        self.manifests = {manifest.key: manifest for manifest in store.manifests()}
        self.children: dict[str, list[str]] = defaultdict(list)
        self._link()
        self.documents = [
            Held(manifest, store.path(manifest.ref), self._owners(manifest)) for manifest in self.of("documents")
        ]
        self._items: dict[str, tuple[PackedItem, ...]] = {}

    def _link(self) -> None:
        """Note what was made from what: as manifests say, and where they name another artifact of equal payload."""
        by_digest: dict[str, list[str]] = defaultdict(list)
        for manifest in self.manifests.values():
            by_digest[manifest.payload_digest].append(manifest.key)
            if TRAIN_FILE in manifest.files:
                by_digest[manifest.files[TRAIN_FILE].logical].append(manifest.key)
        for manifest in self.manifests.values():
            roles = [digests for role, digests in manifest.recipe.inputs.items() if role != "drops"]
            read = [one for digests in roles for one in ([digests] if isinstance(digests, str) else digests)]
            parents = {key_in(text) for text in manifest.inputs} | {
                key for one in read for key in by_digest.get(one, ())
            }
            for parent in parents - {manifest.key}:
                self.children[parent].append(manifest.key)

    def of(self, stage: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests.values() if manifest.recipe.stage == stage]

    def _owners(self, manifest: Manifest) -> frozenset[str]:
        """The sources whose raw slot is behind a documents artifact; else the only one that is called the same."""
        raw, name = key_in(manifest.inputs[0]), manifest.recipe.config["source"]
        owners = frozenset(one.id for one in self.sources.values() if raw in one.raw)
        alike = [one.id for one in self.sources.values() if name in one.names]
        return owners or frozenset(alike if len(alike) == 1 else ())

    @cached_property
    def raw_owners(self) -> dict[str, frozenset[str]]:
        """{key of a raw slot that is there: ids of its sources}"""
        owners: dict[str, set[str]] = defaultdict(set)
        for source in self.sources.values():
            for key in source.raw & self.manifests.keys():
                owners[key].add(source.id)
        for held in self.documents:
            if held.raw in self.manifests:
                owners[held.raw] |= held.owners
        return {key: frozenset(ids) for key, ids in owners.items()}

    def readings(self, raw: str, owner: str, with_half_gone: bool = True) -> list[Mapping[str, Any]]:
        """The settings with which the raw slot with this key was read; if that is not known, its source's others; if
        there are no documents at all, those that were noted when the last ones were forgotten.

        with_half_gone  also those of documents which are perhaps gone, by a forgetting that was not finished
        """
        of_slot = [held.manifest.recipe.config["reading"] for held in self.documents if held.raw == raw]
        if not of_slot:
            return self.readings_of(owner, with_half_gone)
        return of_slot + (self._half_gone(owner) if with_half_gone else [])

    def readings_of(self, owner: str, with_half_gone: bool = True) -> list[Mapping[str, Any]]:
        """The distinct settings with which slots of a source were read."""
        own = [held.manifest.recipe.config["reading"] for held in self.documents if owner in held.owner_ids]
        half_gone = self._half_gone(owner) if with_half_gone else []
        distinct = {canonical_json(one): one for one in own + half_gone}
        noted = self.sources[owner].read if owner in self.sources else ()
        return list(distinct.values()) or list(noted)

    def _half_gone(self, owner: str) -> list[Mapping[str, Any]]:
        """The settings of documents of which some may be gone, as forgetting them was begun and not finished."""
        known = self.sources.get(owner)
        return list(known.read) if known and known.is_being_forgotten else []

    def items(self, raw: str) -> tuple[PackedItem, ...]:
        """The items of the raw slot with this key."""
        if raw not in self._items:
            self._items[raw] = tuple(read_items(self.store.path(self.manifests[raw].ref)))
        return self._items[raw]

    def near_matches(self) -> Iterator[tuple[Row, Row]]:
        """(later, earlier) of all pairs of documents whose later one was dropped as a near copy of the other."""
        lists = [one for one in self.of("duplicates") if one.counts.get("near_duplicates_dropped")]
        if not lists:
            return
        before = self._lists_before()
        for drops in lists:
            chain = [key_in(drops.inputs[0])]
            at = before.get(drops.key, _LOST)
            while at not in (None, _LOST):
                chain.append(key_in(self.manifests[str(at)].inputs[0]))
                at = before.get(str(at), _LOST)
            if at == _LOST:
                continue
            chain.reverse()
            path = self.store.path(drops.ref) / MATCHES_FILE
            for batch in read_batches(path, ["row", "earlier_slot", "earlier_row"]):
                for row, slot, earlier in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield (chain[-1], row), (chain[slot], earlier)

    def _lists_before(self) -> dict[str, str | None]:
        """{key of a drop list: key of the list of the slot before it, None for the first}, as far as both are there.

        A list names only its own documents, but its chain is a digest of the chain before and of their signatures.
        """
        near = [one for one in self.of("duplicates") if "near" in one.recipe.config]
        signed = {}
        for one in near:
            if documents := self.manifests.get(key_in(one.inputs[0])):
                signed[one.key] = "".join(documents.files[name].logical for name in (SIGNATURES_FILE, *bands.FILES))
        chains = {one.key: str(one.recipe.inputs["chain"]) for one in near}
        keys = [one.key for one in near]
        found: dict[str, str | None] = {}
        for place, key in enumerate(keys):
            if key not in signed:
                continue
            if text_digest(signed[key]) == chains[key]:
                found[key] = None
                continue
            for other in (*reversed(keys[:place]), *keys[place + 1 :]):  # mostly the one that was made just before
                if text_digest(chains[other] + signed[key]) == chains[key]:
                    found[key] = other
                    break
        return found


def with_signatures(documents: Sequence[Held], wanted: NDArray[np.uint64]) -> Iterator[tuple[Held, NDArray[np.int64]]]:
    """The rows of each documents artifact whose signature is among `wanted`, (n, 2)."""
    pairs = {(int(high), int(low)) for high, low in wanted}
    for held in documents:
        signatures = held.signatures()
        rows = np.flatnonzero(np.isin(signatures[:, 0], wanted[:, 0]))
        equal = [row for row in rows.tolist() if (int(signatures[row, 0]), int(signatures[row, 1])) in pairs]
        if equal:
            yield held, np.array(equal, np.int64)
