import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.cleaning import CleanConfig, normalise
from data.corpus import ForeignDropListError, SplitConfig, split_slot
from data.documents import clean_slot
from data.duplicates import exact_duplicates
from data.shards import DOCUMENTS, ShardWriter, table_of
from data.sources.base import RawDocument

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
SMALL = SplitConfig(validation_share=0.2, min_passages=0, max_whole_bytes=200, passage_bytes=64)
NO_LIMIT = 10**9


def write_documents(folder, documents):
    """documents: (native id, text, look)"""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "documents.parquet").unlink(missing_ok=True)
    with ShardWriter(folder / "documents.parquet", DOCUMENTS, 500) as writer:
        writer.write(
            table_of(
                DOCUMENTS,
                {
                    "native_id": [name for name, _, _ in documents],
                    "authors": [[name, "Émile"] for name, _, _ in documents],
                    "text": [text for _, text, _ in documents],
                    "source": ["mine"] * len(documents),
                    "url": [None] * len(documents),
                    "created": ["2024-01-02"] * len(documents),
                    "licence": [f"licence {len(name) % 2}" for name, _, _ in documents],
                    "meta": [json.dumps({"look": look}) for _, _, look in documents],
                },
            )
        )


def read(path):
    return pq.read_table(path).to_pylist() if path.exists() else []


def split(folder, documents, drops=(), config=SMALL, need=0, room=NO_LIMIT):
    write_documents(folder, documents)
    np.save(folder / "drops.npy", np.array(drops, np.int64))
    for side in ("train", "validation"):
        (folder / f"{side}.parquet").unlink(missing_ok=True)
    facts = split_slot(folder, folder / "drops.npy", folder, config, need, room)
    return read(folder / "train.parquet"), read(folder / "validation.parquet"), facts


def rejoined(train, validation):
    """Every document from the rows of both sides, by native id."""
    parts = {}
    for row in [*train, *validation]:
        parts.setdefault(row["native_id"], []).append((row["passage"], row["passages"], row["text"]))
    documents = {}
    for name, rows in parts.items():
        rows.sort()
        ends = [passage + passages for passage, passages, _ in rows]
        assert [passage for passage, _, _ in rows] == [0, *ends[:-1]]  # no gap, no overlap
        documents[name] = "".join(text for _, _, text in rows)
    return documents


words = st.lists(st.sampled_from(["a word ", "né. ", "字", "line\n", "end\n\n", "x" * 50]), max_size=40).map("".join)
corpora = st.lists(st.tuples(words, st.integers(0, 2)), max_size=8).map(
    lambda rows: [(f"{n}.txt", text, look) for n, (text, look) in enumerate(sorted(rows, key=lambda row: row[1]))]
)


@settings(deadline=None)
@given(corpora, st.sets(st.integers(0, 7)), st.integers(0, 9), st.sampled_from([0, 300, NO_LIMIT]))
def test_both_sides_together_are_every_kept_document(tmp_path_factory, documents, drops, need, room):
    folder = tmp_path_factory.getbasetemp() / "both-sides"
    drops = sorted(row for row in drops if row < len(documents))
    train, validation, facts = split(folder, documents, drops, need=need, room=room)
    kept = {name: text for row, (name, text, _) in enumerate(documents) if row not in drops}
    assert rejoined(train, validation) == kept
    assert all(row["passages"] == 1 for row in validation)
    for before, after in itertools.pairwise(train):  # runs are as long as they can be
        assert before["native_id"] != after["native_id"] or before["passage"] + before["passages"] < after["passage"]
    order = [name for name, _, _ in documents]
    for side in (train, validation):
        assert sorted(side, key=lambda row: (order.index(row["native_id"]), row["passage"])) == side
        for row in side:
            assert (row["authors"], row["source"]) == ([row["native_id"], "Émile"], "mine")
            assert (row["created"], row["licence"]) == ("2024-01-02", f"licence {len(row['native_id']) % 2}")
    assert facts.licences == sorted({row["licence"] for row in [*train, *validation]})
    counts = facts.counts
    assert counts["documents_in"] == len(documents)
    assert counts["documents_out"] == len(kept)
    assert counts["duplicates_dropped"] == len(drops)
    for side, rows in (("train", train), ("validation", validation)):
        assert counts[f"{side}_documents"] == len({row["native_id"] for row in rows})
        assert counts[f"{side}_passages"] == sum(row["passages"] for row in rows)
        assert counts[f"{side}_bytes"] == sum(len(row["text"].encode()) for row in rows)
        assert counts[f"{side}_characters"] == sum(len(row["text"]) for row in rows)
    assert counts["train_rows"] == len(train)
    assert counts["documents_cut"] == len(
        {row["native_id"] for row in [*train, *validation] if row["passage"]}
        | {row["native_id"] for row in train if row["passages"] > 1}
    )
    assert counts["validation_bytes"] <= room


@settings(deadline=None)
@given(corpora, corpora, st.integers(0, 9), st.sampled_from([0, 300, NO_LIMIT]))
def test_appending_leaves_every_earlier_row_on_its_side(tmp_path_factory, documents, later, need, room):
    folder = tmp_path_factory.getbasetemp() / "appending"
    grown = documents + [(f"later-{name}", text, look + 3) for name, text, look in later]
    before = split(folder, documents, need=need, room=room)
    after = split(folder, grown, need=need, room=room)
    for old, new in zip(before[:2], after[:2], strict=True):
        assert new[: len(old)] == old


def test_the_base_rule_is_the_hash_of_id_and_number(tmp_path):
    documents = [(f"{n}.txt", "a paragraph of words.\n\n" * (n % 30), 0) for n in range(300)]
    _, validation, _ = split(tmp_path, documents)
    held = {(row["native_id"], row["passage"]) for row in validation}
    _, everything, _ = split(
        tmp_path, documents, need=NO_LIMIT, config=SMALL.model_copy(update={"validation_share": 0.999})
    )
    assert len(everything) > 1000
    for row in everything:
        name, number = row["native_id"], row["passage"]
        share = xxhash.xxh3_64_intdigest(name.encode() + b"\0" + str(number).encode()) / 2**64
        assert ((name, number) in held) == (share < 0.2)


def test_a_growing_document_keeps_its_passages_on_their_sides(tmp_path):
    paragraphs = [f"paragraph {n} has some more words.\n\n" for n in range(60)]
    short = split(tmp_path, [("talk", "".join(paragraphs[:40]), 0)])
    long = split(tmp_path, [("talk", "".join(paragraphs), 0)])
    last = max(row["passage"] + row["passages"] for rows in short[:2] for row in rows) - 1
    before = {row["passage"]: row["text"] for row in short[1] if row["passage"] != last}
    after = {row["passage"]: row["text"] for row in long[1] if row["passage"] < last}
    assert before
    assert before == after


def test_need_is_made_up_from_the_first_looks(tmp_path):
    documents = [(f"{n}", f"text {n}", n // 10) for n in range(30)]
    _, validation, _ = split(tmp_path, documents, need=7, config=SMALL.model_copy(update={"validation_share": 0.0}))
    numbers = sorted(int(row["native_id"]) for row in validation)
    lowest = [sorted(range(a, a + 10), key=lambda n: xxhash.xxh3_64_intdigest(f"{n}\x000".encode())) for a in (0, 10)]
    assert numbers == sorted(lowest[0][:5]) + sorted(lowest[1][:2])  # half of the first look, then of the second


def test_a_slot_without_documents(tmp_path):
    train, validation, facts = split(tmp_path, [])
    assert (train, validation) == ([], [])
    assert not list(tmp_path.glob("*.parquet"))
    assert set(facts.counts.values()) == {0}


def test_a_side_with_no_rows_has_no_file(tmp_path):
    split(tmp_path, [("a", "text", 0)])
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == ["documents.parquet", "train.parquet"]
    split(tmp_path, [("a", "text", 0)], drops=[0])
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == ["documents.parquet"]


def test_a_drop_list_of_other_documents_is_refused(tmp_path):
    with pytest.raises(ForeignDropListError, match=r"drops\.npy drops row 5, but .* holds 2 documents"):
        split(tmp_path, [("a", "text", 0), ("b", "text", 0)], drops=[0, 5])


@pytest.mark.parametrize("wrong", [{"share": 0.1}, {"validation_share": 1.0}, {"passage_bytes": 3}])
def test_a_wrong_config_is_refused(wrong):
    with pytest.raises(ValidationError):
        SplitConfig(**wrong)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the sample folder is not there")
def test_two_slots_of_books_from_raw_to_shards(tmp_path):
    dracula = (SHARED / "gutenberg" / "345.txt").read_text(encoding="utf-8")
    kalevala = (SHARED / "gutenberg" / "7000-8.txt").read_text(encoding="latin-1")
    articles = [dracula[n : n + 3000] for n in range(50_000, 200_000, 3000)]
    slots = [
        [
            ("dracula", dracula),
            ("copy", dracula.replace("\n", "\r\n")),
            *[(f"part {n}", text) for n, text in enumerate(articles)],
        ],
        [("kalevala", kalevala), ("part again", articles[3]), ("tiny", "x")],
    ]
    config, need, room = SplitConfig(), 64, 10_000_000
    signatures, joined = [], {}
    for number, slot in enumerate(slots):
        out = tmp_path / str(number)
        out.mkdir()
        items = [
            RawDocument(
                native_id=name,
                text=text,
                authors=[],
                url=None,
                created=None,
                licence=None,
                meta={"look": 0},
                position=position,
            )
            for position, (name, text) in enumerate(slot)
        ]
        clean_slot(items, out, CleanConfig(), "books", "public domain")
        signatures.append(out / "signatures.npy")
        exact_duplicates(signatures, out)
        facts = split_slot(out, out / "drops.npy", out, config, need, room)
        need = max(0, need - int(facts.counts["validation_passages"]))
        room -= int(facts.counts["validation_bytes"])
        assert facts.counts["duplicates_dropped"] == 1
        assert facts.counts["train_bytes"] > facts.counts["validation_bytes"] > 0
        joined |= rejoined(read(out / "train.parquet"), read(out / "validation.parquet"))
    assert need == 0
    expected = {name: normalise(text, CleanConfig()) for slot in slots for name, text in slot}
    for absent in ("copy", "part again", "tiny"):
        del expected[absent]
    assert joined == expected
