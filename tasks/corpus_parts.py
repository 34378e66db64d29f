"""What a corpus consists of: for each of its slots the documents, the drop list and the shards, in slot order.

A corpus names its shards, and these what they were made from; but shards are reused where a longer chain of slots gave
the same drop list, and then they name the older list, whose matches count other slots. So the list of a slot is found
by what it was made from: the chain of signatures of the slots up to it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.boilerplate import tables
from data.clusters import Links, read_links
from data.digests import text_digest
from data.documents import DOCUMENTS_FILE, SIGNATURES_FILE
from data.duplicates import DROPS_FILE
from data.errors import TextmillError
from data.manifest import ArtifactRef, Manifest
from data.near import bands
from data.store import Store
from tasks.report_facts import INDEX_FILE, read_json

SIGNED = {
    (near, lines): (SIGNATURES_FILE, *(bands.FILES if near else ()), *(tables.FILES if lines else ()))
    for near in (False, True)
    for lines in (False, True)
}
"""The files of documents that a drop list depends on, by whether it is of near copies and of frequent lines, too."""


@dataclass(frozen=True)
class Part:
    """One slot of a corpus. `drops` and `shards` are None where the store has none that belong to it."""

    source: str
    number: int  # of the slot in its source, from 0
    documents: Manifest
    drops: Manifest | None = None
    shards: Manifest | None = None

    @property
    def label(self) -> str:
        return f"{self.source}-{self.number:04d}"


@dataclass(frozen=True)
class Corpus:
    """The parts of a corpus in slot order, and which of them are meant; `index` is None for documents in no corpus."""

    index: ArtifactRef | None
    parts: tuple[Part, ...]
    chosen: tuple[int, ...]

    def __str__(self) -> str:
        if len(self.chosen) == len(self.parts) and self.index:
            return str(self.index)
        labels = " ".join(self.parts[number].label for number in self.chosen)
        return f"{labels} of {self.index}" if self.index else labels


def chained(chain: str, documents: Manifest, signed: Sequence[str]) -> str:
    """The digest of a chain of slots with one more; the empty chain is `""`."""
    return text_digest(chain + "".join(documents.files[name].logical for name in signed))


def indexes(store: Store) -> list[Manifest]:
    """Every corpus in the store, oldest first."""
    return [manifest for manifest in store.manifests("corpus") if INDEX_FILE in manifest.files]


def find_corpus(store: Store, text: str | None = None) -> Corpus:
    """The corpus that a user means by a reference to it or to documents, a drop list or shards of one of its slots.

    The newest corpus of all if there is none, else the newest with that slot. Raises TextmillError.
    """
    ref = store.resolve(text) if text else None
    if ref is not None and ref.stage not in ("corpus", "documents", "duplicates"):
        raise TextmillError(
            f"{ref} is no part of a corpus: name a corpus, documents or duplicates; `textmill ls corpus` lists those."
        )
    if ref is not None and INDEX_FILE in store.manifest(ref).files:
        parts = read_parts(store, ref)
        return Corpus(ref, parts, tuple(range(len(parts))))
    for index in reversed(indexes(store)):
        try:
            parts = read_parts(store, index.ref)
        except TextmillError:
            if ref is None:
                raise
            continue  # something of an older corpus is gone
        if ref is None:
            return Corpus(index.ref, parts, tuple(range(len(parts))))
        chosen = tuple(number for number, part in enumerate(parts) if _holds(part, ref))
        if chosen:
            return Corpus(index.ref, parts, chosen)
    if ref is None:
        raise TextmillError(f"There is no corpus in {store.where} yet: `textmill run NAME --until corpus` makes one.")
    if ref.stage == "documents":
        source, _, number = ref.name.rpartition("-")
        return Corpus(None, (Part(source, int(number) if number.isdigit() else 0, store.manifest(ref)),), (0,))
    raise TextmillError(f"{ref} belongs to no corpus that is whole in {store.where}: run its recipe again.")


def read_parts(store: Store, index: ArtifactRef) -> tuple[Part, ...]:
    """The parts of a corpus, with their drop lists; raises TextmillError where shards or documents of it are gone."""
    return with_drops(store, read_slots(store, index))


def read_slots(store: Store, index: ArtifactRef) -> list[Part]:
    """The same without drop lists, which are not looked for."""
    entries = read_json(store.path(index) / INDEX_FILE)["slots"]
    shards = store.find("corpus", [entry["slot"] for entry in entries])
    found = []
    for entry in entries:
        if entry["slot"] not in shards:
            raise _gone(index, f"corpus/{entry['source']}-{entry['number']:04d}-{entry['slot']}")
        manifest = store.manifest(shards[entry["slot"]])
        found.append(Part(entry["source"], entry["number"], _documents_of(store, index, manifest), None, manifest))
    return found


def with_drops(store: Store, parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts with the drop lists that their shards were made with."""
    lists: dict[tuple[str, str], Manifest] = {}
    for manifest in store.manifests("duplicates"):
        chain = manifest.recipe.inputs.get("chain")
        if isinstance(chain, str) and DROPS_FILE in manifest.files:
            lists[chain, manifest.files[DROPS_FILE].logical] = manifest
    chains = [("", signed) for signed in SIGNED.values()]
    found = []
    for part in parts:
        files = part.documents.files
        chains = [(chained(chain, part.documents, signed), signed) for chain, signed in chains if {*signed} <= {*files}]
        drops = part.shards.recipe.inputs.get("drops") if part.shards else None
        fitting = [lists[chain, drops] for chain, _ in chains if isinstance(drops, str) and (chain, drops) in lists]
        newest = max(fitting, key=lambda manifest: manifest.created, default=None)
        found.append(Part(part.source, part.number, part.documents, newest, part.shards))
    return tuple(found)


def read_matches(store: Store, parts: Sequence[Part]) -> Links | None:
    """The matches of all parts; None where the store lacks the drop list of one."""
    folders = []
    for part in parts:
        if part.drops is None:
            return None
        folders.append(store.path(part.drops.ref))
    return read_links(folders, [int(part.documents.counts["documents_out"]) for part in parts])


def documents_path(store: Store, part: Part) -> Path | None:
    """The shard of a part's documents; None where cleaning kept none."""
    return store.path(part.documents.ref) / DOCUMENTS_FILE if DOCUMENTS_FILE in part.documents.files else None


def _documents_of(store: Store, index: ArtifactRef, shards: Manifest) -> Manifest:
    for name in _of_stage(shards, "documents"):
        found = store.find("documents", [name.rpartition("-")[2]])
        for ref in found.values():
            return store.manifest(ref)
    digest = shards.recipe.inputs.get("documents")
    for manifest in store.manifests("documents"):  # made again under another key
        if manifest.payload_digest == digest:
            return manifest
    raise _gone(index, *_of_stage(shards, "documents"))


def _of_stage(manifest: Manifest, stage: str) -> Iterator[str]:
    return (name for name in manifest.inputs if name.startswith(f"{stage}/"))


def _gone(index: ArtifactRef, *names: str) -> TextmillError:
    return TextmillError(f"{', '.join(names)} of {index} is no longer in the store: run its recipe again.")


def _holds(part: Part, ref: ArtifactRef) -> bool:
    manifests = {"corpus": part.shards, "documents": part.documents, "duplicates": part.drops}
    manifest = manifests[ref.stage]
    return manifest is not None and ref.key == manifest.key
