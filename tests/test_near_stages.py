"""Near duplicates in the stages: what documents write for them, how drop lists unite, and how a corpus grows."""

import random

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.cleaning import CleanConfig
from data.documents import clean_slot
from data.duplicates import exact_duplicates
from data.near import bands
from data.near.bands import write_bands
from data.near.config import NearConfig
from data.near.join import Matches
from data.near.signatures import near_signatures
from data.sources.base import RawDocument
from flows.corpus import corpus
from flows.recipe import Recipe
from tasks import duplicates
from tasks.runtime import Runtime, open_store
from tests.near_toys import edited, words

pytestmark = pytest.mark.usefixtures("flow_server")


def test_documents_write_the_band_table_of_what_they_keep(tmp_path, monkeypatch):
    monkeypatch.setattr("data.batches._BATCH_ROWS", 7)
    rng = random.Random(0)
    texts = [" ".join(words(rng.choice([1, 20, 60]), rng)) for _ in range(40)] + ["? " * 20 + "!"] * 2
    raw = [RawDocument(str(number), text, meta={"look": 0}) for number, text in enumerate(texts)]
    folders = {name: tmp_path / name for name in ("with", "without", "expected")}
    for folder in folders.values():
        folder.mkdir()
    for name, near in (("with", NearConfig()), ("without", None)):
        clean_slot(raw, folders[name], CleanConfig(), "mine", "CC0-1.0", near=near)
    kept = [text for text in texts if len(text) >= CleanConfig().min_characters]
    assert 20 < len(kept) < 40
    write_bands(near_signatures(kept, NearConfig()), NearConfig(), folders["expected"])
    for file in bands.FILES:
        assert (folders["with"] / file).read_bytes() == (folders["expected"] / file).read_bytes()
    others = {path.name: path.read_bytes() for path in folders["without"].iterdir()}
    assert others == {
        path.name: path.read_bytes() for path in folders["with"].iterdir() if path.name not in bands.FILES
    }


def test_a_drop_list_unites_equal_and_near_ones(tmp_path):
    paths = [tmp_path / "0.npy", tmp_path / "1.npy"]
    np.save(paths[0], np.array([[1, 1], [2, 2]], np.uint64))
    np.save(paths[1], np.array([[3, 3], [2, 2], [4, 4], [5, 5], [3, 3]], np.uint64))
    columns = [1, 1, 1], [1, 2, 3], [0, 0, 1], [0, 1, 0], [1.0, 0.9, 0.8125]
    near = Matches._make(np.array(column) for column in columns)
    facts = exact_duplicates(paths, tmp_path, near=near)
    assert np.load(tmp_path / "drops.npy").tolist() == [1, 2, 3, 4]
    table = pq.read_table(tmp_path / "matches.parquet")
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (1, 0, 1, None),  # equal goes before similar
        (2, 0, 1, pytest.approx(0.9)),
        (3, 1, 0, 0.8125),
        (4, 1, 0, None),
    ]
    assert facts.counts == {
        "documents_in": 5,
        "documents_out": 1,
        "duplicates_dropped": 4,
        "duplicates_of_earlier_slots": 2,
        "duplicates_within_slot": 2,
        "near_duplicates_dropped": 2,
    }


def test_no_near_duplicates_leave_what_equal_ones_leave(tmp_path):
    np.save(tmp_path / "0.npy", np.array([[1, 1], [1, 1]], np.uint64))
    none = Matches(*(np.empty(0, np.int64) for _ in range(4)), np.empty(0))
    facts = exact_duplicates([tmp_path / "0.npy"], tmp_path, near=none)
    assert np.load(tmp_path / "drops.npy").tolist() == [1]
    assert facts.counts["near_duplicates_dropped"] == 0
    np.save(tmp_path / "1.npy", np.empty((0, 2), np.uint64))
    assert exact_duplicates([tmp_path / "1.npy"], tmp_path, near=none).counts["documents_out"] == 0


class Growing:
    """A folder of texts, some of them near copies of others, and its drop lists."""

    def __init__(self, path):
        self.path = path
        self.rng = random.Random(7)
        self.texts = [words(300, self.rng) for _ in range(6)]
        (path / "texts").mkdir()
        self.store = open_store(str(path / "store"))
        self.add(range(12))

    def add(self, numbers):
        """Texts 6 and on are edited copies of the first six."""
        for number in numbers:
            text = self.texts[number] if number < 6 else edited(self.texts[number % 6], 1, self.rng)
            (self.path / "texts" / f"{number:03d}.txt").write_text(" ".join(text))

    def build(self, near, refresh=()):
        """{slot: (key, drops, counts)} of the duplicates stage, and the keys of the documents."""
        recipe = Recipe.model_validate({
            "sources": {"texts": {"kind": "folder", "path": str(self.path / "texts"), "slot_bytes": 5_000}},
            "duplicates": {"near": near},
        })  # fmt: skip
        runtime = Runtime(store=str(self.store.root))
        made = corpus(recipe=recipe, until="duplicates", refresh=list(refresh), runtime=runtime)["artifacts"]
        refs = {stage: [self.store.resolve(ref) for ref in made[stage]] for stage in ("documents", "duplicates")}
        lists = {}
        for ref in refs["duplicates"]:
            drops = (self.store.path(ref) / "drops.npy").read_bytes()
            lists[ref.name] = ref.key, drops, self.store.manifest(ref).counts
        return lists, [ref.key for ref in refs["documents"]]


def test_a_growing_corpus_keeps_its_lists_and_compares_new_text_with_all(tmp_path, monkeypatch):
    growing = Growing(tmp_path)
    first, documents = growing.build({})
    dropped = [counts["near_duplicates_dropped"] for _, _, counts in first.values()]
    assert len(first) >= 4 and sum(dropped) == 6 and dropped[0] == 0
    joined = []
    join = duplicates._near_matches
    monkeypatch.setattr(duplicates, "_near_matches", lambda *given: joined.append(given[1]) or join(*given))
    growing.add(range(12, 15))
    grown, more_documents = growing.build({})
    changed = [name for name in first if grown[name] != first[name]]
    assert changed in ([], [list(first)[-1]])  # the last slot may have had room
    assert sum(counts["near_duplicates_dropped"] for _, _, counts in grown.values()) == 9
    assert joined == [[number for number, name in enumerate(grown) if grown[name] != first.get(name)]]
    at_once, _ = growing.build({}, refresh=["duplicates"])
    assert at_once == grown
    stricter, same_documents = growing.build({"threshold": 1})
    assert same_documents == more_documents  # the threshold acts on the lists alone
    assert all(stricter[name][0] != grown[name][0] for name in grown)
    assert sum(counts["near_duplicates_dropped"] for _, _, counts in stricter.values()) == 0
    other, other_documents = growing.build(None)
    assert not set(other_documents) & set(documents)
    assert "near_duplicates_dropped" not in next(iter(other.values()))[2]


def test_a_list_that_vanishes_between_look_up_and_building_is_complete_all_the_same(tmp_path, monkeypatch):
    growing = Growing(tmp_path)
    first, _ = growing.build({})
    join = duplicates._near_matches
    monkeypatch.setattr(
        duplicates, "_near_matches", lambda folders, wanted, *rest: join(folders, wanted[-1:], *rest)
    )  # fmt: skip
    assert growing.build({}, refresh=["duplicates"])[0] == first
