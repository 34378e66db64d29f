"""A corpus in a store without any flow: real files on their way through the data floor, under the stages' keys."""

import json

from data.cleaning import CleanConfig
from data.corpus import SplitConfig, split_slot
from data.documents import SIGNATURES_FILE, clean_slot
from data.duplicates import DROPS_FILE, exact_duplicates
from data.facts import Facts
from data.near.join import NearIndex, merged
from data.sources.base import SlotItem
from data.sources.folder import FolderConfig
from tasks.corpus_parts import SIGNED, chained
from tasks.registry import identity

SENTENCES = [
    f"Chapter {i}. The miller of the {i}th mill ground {i * 7} sacks of grain, and sang of it all day long."
    for i in range(40)
]


def toy_corpus(store, name, slots, near=None, cleaning=None, folder=None):
    """Publish a corpus and return its index.

    slots   (source, {file: text}) in slot order
    folder  where the files are written; a folder beside the store by default
    """
    cleaning = cleaning or CleanConfig()
    folder = folder or store.root.parent / "texts"
    chain, documents, shards, entries = "", [], [], []
    for at, (source_name, texts) in enumerate(slots):
        number = sum(one == source_name for one, _ in slots[:at])
        source = FolderConfig(name=source_name, path=str(folder / f"{source_name}-{number}"))
        raw = _raw(store, source, texts, number)
        label = f"{source_name}-{number:04d}"
        documents.append(_documents(store, source, raw, label, cleaning, near))
        chain = chained(chain, store.manifest(documents[-1]), SIGNED[near is not None, False])
        drops = _duplicates(store, documents, label, chain, near)
        shards.append(_shards(store, documents[-1], drops, label))
        entries.append({"source": source_name, "number": number, "slot": shards[-1].key, "digest": shards[-1].digest})

    def write(build):
        (build.out / "index.json").write_text(json.dumps({"slots": entries}))
        return Facts()

    of = [[entry["source"], entry["number"]] for entry in entries]
    index = identity("corpus", {"index": of}, {"slots": [ref.digest for ref in shards]})
    return store.build(index, name, write, shards)


def _raw(store, source, texts, number):
    folder = source.place(store.root)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    found = source.look(folder).items
    items = [SlotItem(one.native_id, one.fingerprint, one.size, meta=one.meta, look=1) for one in found]
    recipe = {"items": [[one.native_id, one.fingerprint] for one in items], "path": str(folder)}
    return store.build(
        identity("raw", recipe, {}),
        f"{source.name}-{number:04d}",
        lambda build: source.fetch(items, folder, build.out, build.keep),
    )


def _documents(store, source, raw, label, cleaning, near):
    recipe = {
        "cleaning": cleaning.identity(source.personal),
        "reading": source.reading_identity(),
        "source": source.name,
        "licence": source.licence,
    }
    if near:
        recipe["near"] = near.signing_identity()
    return store.build(
        identity("documents", recipe, {"raw": raw.digest}),
        label,
        lambda build: clean_slot(
            source.read(store.path(raw)), build.out, cleaning, source.name, source.licence, near=near
        ),
        [raw],
    )


def _duplicates(store, documents, label, chain, near):
    folders = [store.path(ref) for ref in documents]
    matches = None
    if near:
        joined = NearIndex(folders, [len(folders) - 1], near)
        matches = merged([joined.join(one) for one in joined.ranges()])
    recipe = {"match": "exact"} | ({"near": near.model_dump(mode="json")} if near else {})
    return store.build(
        identity("duplicates", recipe, {"chain": chain}),
        label,
        lambda build: exact_duplicates([one / SIGNATURES_FILE for one in folders], build.out, near=matches),
        [documents[-1]],
    )


def _shards(store, documents, drops, label):
    split = SplitConfig(min_passages=0)
    inputs = {"documents": documents.digest, "drops": store.manifest(drops).files[DROPS_FILE].logical}
    return store.build(
        identity("corpus", {"split": split.model_dump(mode="json"), "need": 0, "room": 0}, inputs),
        label,
        lambda build: split_slot(store.path(documents), store.path(drops) / DROPS_FILE, build.out, split, 0, 0),
        [documents, drops],
    )
