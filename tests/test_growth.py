"""A folder that grows: every kind of change rebuilds what it touches and nothing else, on real stages in real flows."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.apart import Processes
from data.manifest import ArtifactRef
from flows.corpus import corpus
from flows.recipe import Recipe
from tasks.runtime import Runtime, open_store

SLOT_BYTES = 6_000  # four or five of the texts below
SETTINGS = {
    "split": {"min_passages": 6, "passage_bytes": 300, "max_whole_bytes": 500},
    "tokenizer": {"kind": "bpe", "vocab_size": 300},
}


pytestmark = pytest.mark.usefixtures("flow_server")


def text(number):
    """A text of some 1,300 bytes that shares no sentence with another."""
    return "\n\n".join(
        f"Paragraph {n} of text {number} says {number * 1000 + n} in {n % 7} words." * 2 for n in range(12)
    )


class Folder:
    """A folder of texts, and the corpus built from it after each change."""

    def __init__(self, path, before=None):
        self.texts = path / "texts"
        self.store = open_store(str(path / "store"))
        self.before = before
        if before is None:
            self.texts.mkdir()
            for number in range(12):
                (self.texts / f"{number:03d}.txt").write_text(text(number))

    def build(self, until=None, **changes):
        source = {"kind": "folder", "path": str(self.texts), "slot_bytes": SLOT_BYTES}
        values = {"name": "growing", "sources": {"texts": source}} | SETTINGS | changes
        recipe = Recipe.model_validate(values)
        summary = corpus(recipe=recipe, until=until, runtime=Runtime(store=str(self.store.root)))
        return Built(self.store, summary)


class Built:
    """What one run made, read back from the store."""

    def __init__(self, store, summary):
        self.store, self.summary = store, summary
        self.refs = {stage: [store.resolve(ref) for ref in refs] for stage, refs in summary["artifacts"].items()}

    def slots(self, stage):
        """Artifacts of a stage by slot, the corpus index left out."""
        refs = [ref for ref in self.refs[stage] if ref.name.startswith("texts-")]
        return {ref.name: ref for ref in refs}

    def rows(self, side):
        """{(native id, passage): text} of one side of the split, over all slots."""
        found = {}
        for ref in self.slots("corpus").values():
            path = self.store.path(ref) / f"{side}.parquet"
            for row in pq.read_table(path).to_pylist() if path.exists() else ():
                found[row["native_id"], row["passage"]] = row["text"]
        return found

    def array(self, ref: ArtifactRef, side):
        return np.load(self.store.path(ref) / f"{side}.npy", mmap_mode="r")


def same(before, after, stage):
    """Names of the slots whose artifacts of a stage are the very same."""
    old, new = before.slots(stage), after.slots(stage)
    return sorted(name for name in old.keys() & new.keys() if old[name] == new[name])


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Where a folder and a store are, what the first run made of them, and a copy of both."""
    path = tmp_path_factory.mktemp("growing")
    first = Folder(path).build()
    shutil.copytree(path, path.with_name("copy"))
    return path, first


@pytest.fixture
def folder(begun):
    """A folder from which a corpus was built once; `before` is what that run made."""
    path, first = begun
    shutil.rmtree(path)
    shutil.copytree(path.with_name("copy"), path)
    return Folder(path, first)


def test_slots_cleaned_in_processes_of_their_own_are_the_same(begun, tmp_path, monkeypatch):
    calls = []
    call = Processes.call
    monkeypatch.setattr(Processes, "call", lambda *given, **named: calls.append(1) or call(*given, **named))
    monkeypatch.setattr("tasks.cleaning.APART_BYTES", 0)
    apart = Folder(tmp_path).build(until="documents").slots("documents")
    assert len(apart) == len(calls) > 1
    assert {ref.digest for ref in apart.values()} == {ref.digest for ref in begun[1].slots("documents").values()}


def test_nothing_new_builds_nothing(folder):
    again = folder.build()
    assert all(again.summary["cached"].values()), again.summary["cached"]


def test_appending_touches_the_last_slot_and_new_ones(folder):
    before = folder.before
    closed = sorted(before.slots("raw"))[:-1]
    assert len(closed) >= 2, "the folder should fill several slots"
    for number in range(12, 18):
        (folder.texts / f"{number:03d}.txt").write_text(text(number))
    after = folder.build()
    assert len(after.slots("raw")) > len(before.slots("raw"))
    for stage in ("raw", "documents", "duplicates", "corpus"):
        assert set(closed) <= set(same(before, after, stage)), stage
    old, new = before.rows("validation"), after.rows("validation")
    assert old and old.items() <= new.items(), "a validation passage never changes side"
    assert not before.rows("train").keys() & new.keys()


def test_appending_with_a_pinned_tokenizer_leaves_old_arrays(folder):
    before = folder.before
    pinned = {"tokenizer": {"kind": "artifact", "artifact": str(before.refs["tokenizer"][0])}}
    (folder.texts / "900.txt").write_text(text(900))
    after = folder.build(**pinned)
    closed = sorted(before.slots("raw"))[:-1]
    assert set(closed) <= set(same(before, after, "tokens"))
    assert after.refs["tokenizer"] == before.refs["tokenizer"]
    retrained = folder.build()
    assert retrained.refs["tokenizer"] != before.refs["tokenizer"], "unpinned, new training text retrains it"


def test_editing_rebuilds_its_slot_only(folder):
    before = folder.before
    edited = folder.texts / "005.txt"
    edited.write_text(text(5).replace("Paragraph 3", "Chapter 3"))
    after = folder.build()
    changed = sorted(set(before.slots("raw")) - set(same(before, after, "raw")))
    assert len(changed) == 1
    for stage in ("documents", "corpus"):
        assert sorted(set(before.slots(stage)) - set(same(before, after, stage))) == changed, stage
    assert any("Chapter 3" in one for one in [*after.rows("train").values(), *after.rows("validation").values()])


def test_an_edit_back_finds_the_old_artifacts(folder):
    before = folder.before
    path = folder.texts / "005.txt"
    path.write_text("another text that is long enough to be kept")
    folder.build()
    path.write_text(text(5))
    after = folder.build()
    assert all(after.summary["cached"].values())
    assert after.refs == before.refs


def test_deleting_drops_the_document_and_moves_nobody(folder):
    before = folder.before
    (folder.texts / "001.txt").unlink()
    after = folder.build()
    ids = {native_id for native_id, _ in [*after.rows("train"), *after.rows("validation")]}
    assert "001.txt" not in ids and len(ids) == 11
    changed = sorted(set(before.slots("raw")) - set(same(before, after, "raw")))
    assert changed == ["texts-0000"]
    assert "texts: gone at the source, and so here, too (1): 001.txt." in after.summary["notes"]


def test_renaming_is_a_deletion_and_an_addition(folder):
    (folder.texts / "002.txt").rename(folder.texts / "zzz.txt")
    after = folder.build()
    slots = {name: {line["native_id"] for line in items(after, ref)} for name, ref in after.slots("raw").items()}
    assert not any("002.txt" in ids for ids in slots.values())
    assert [name for name, ids in slots.items() if "zzz.txt" in ids] == [max(slots)]


def items(built, ref):
    return [json.loads(line) for line in (built.store.path(ref) / "items.jsonl").read_text().splitlines()]


def test_a_lost_ledger_is_begun_anew_and_what_is_there_is_found(folder):
    before = folder.before
    for path in sorted((folder.store.root / "refs").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    after = folder.build()
    assert all(after.summary["cached"].values()), "the same files in one look give the same slots"
    assert after.refs == before.refs


def test_a_lost_ledger_after_growth_still_gives_every_document_once(folder):
    (folder.texts / "000a.txt").write_text(text(77))  # sorts second, but came last
    folder.build()
    for path in (folder.store.root / "refs" / "ledgers").rglob("*"):
        if path.is_file():
            path.unlink()
    after = folder.build()
    rows = {**after.rows("train"), **after.rows("validation")}
    assert {native_id for native_id, _ in rows} == {path.name for path in folder.texts.iterdir()}


def test_a_deleted_artifact_is_rebuilt_and_nothing_else(folder):
    before = folder.before
    gone = before.refs["documents"][1]
    path = folder.store.path(gone)
    for file in sorted(path.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    path.rmdir()
    after = folder.build()
    assert after.refs == before.refs
    assert [stage for stage, cached in after.summary["cached"].items() if not cached] == ["documents"]


def test_a_copy_of_an_older_text_is_dropped_in_whatever_slot_it_comes(folder):
    before = folder.before
    (folder.texts / "copy.txt").write_text(text(0))
    after = folder.build()
    ids = {native_id for native_id, _ in [*after.rows("train"), *after.rows("validation")]}
    assert "copy.txt" not in ids and "000.txt" in ids
    assert after.rows("train") == before.rows("train")


def test_weights_build_nothing(folder):
    source = {"kind": "folder", "path": str(folder.texts), "slot_bytes": SLOT_BYTES, "weight": 3.0}
    after = folder.build(sources={"texts": source})
    assert all(after.summary["cached"].values())


def test_a_cap_takes_the_first_slots_and_raising_it_adds_to_them(tmp_path):
    folder = Folder(tmp_path)
    source = {"kind": "folder", "path": str(folder.texts), "slot_bytes": SLOT_BYTES}
    some = folder.build(sources={"texts": source | {"max_bytes": SLOT_BYTES}}, tokenizer={"kind": "characters"})
    assert any("max_bytes" in note and "of 12 items" in note for note in some.summary["notes"])
    everything = folder.build()
    assert len(some.slots("raw")) < len(everything.slots("raw"))
    assert "texts-0000" in same(some, everything, "documents")


def test_a_source_that_is_not_enabled_is_not_looked_at(folder):
    before = folder.before
    source = {"kind": "folder", "path": str(folder.texts), "slot_bytes": SLOT_BYTES}
    absent = {"kind": "folder", "path": str(folder.texts / "nowhere"), "enabled": False}
    after = folder.build(sources={"texts": source, "absent": absent})
    assert after.refs == before.refs
    with pytest.raises(ValueError, match="every source has enabled = false"):
        Recipe.model_validate({"sources": {"absent": absent}})
