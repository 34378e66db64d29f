"""How much of the validation text the training text holds, against sets of tuples of words."""

import json
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.overlap import report, sampling
from data.overlap.report import SlotParts, write_overlap
from data.overlap.sampling import sample_slot
from data.shards import CORPUS, DOCUMENTS, MATCHES, ShardWriter
from tests.near_toys import words
from tests.test_decontamination import obvious_runs

OTHERS = {"authors": [], "source": "mine", "url": None, "created": None, "licence": "CC0-1.0", "meta": "{}"}


def write_rows(path, rows, schema):
    with ShardWriter(path, schema, row_group_bytes=100) as writer:
        if rows:
            writer.write(pa.Table.from_pylist(rows, schema=schema))


def write_slot(folder, source="mine", train=(), validation=(), documents=(), matches=()):
    """A slot as the stages leave it.

    train, validation  [(native_id, text)]
    documents          native ids by row; those of the two sides if not given
    matches            [(row, earlier slot, earlier row)]
    """
    folder.mkdir(parents=True)
    for name, rows in (("train", train), ("validation", validation)):
        full = [{"native_id": id_, "text": text, "passage": 0, "passages": 1, **OTHERS} for id_, text in rows]
        write_rows(folder / f"{name}.parquet", full, CORPUS)
    ids = documents or list(dict.fromkeys(id_ for id_, _ in [*train, *validation]))
    write_rows(folder / "documents.parquet", [{"native_id": id_, "text": "", **OTHERS} for id_ in ids], DOCUMENTS)
    rows = [dict(zip(MATCHES.names, match, strict=True)) for match in matches]
    write_rows(folder / "matches.parquet", rows, MATCHES)
    np.save(folder / "drops.npy", np.array([row for row, *_ in matches], np.int64))
    (folder / "sample").mkdir()
    sample_slot(folder, folder / "drops.npy", folder, folder / "sample")
    return SlotParts(source, folder / "sample", folder, folder)


def overlap_of(slots, out):
    out.mkdir(exist_ok=True)
    facts = write_overlap(slots, out)
    found = json.loads((out / "overlap.json").read_text())
    assert facts.counts == {f"validation_{name}": count for name, count in found["all"].items()}
    return found


@pytest.fixture
def all_runs(monkeypatch):
    """Every run is in the sample."""
    monkeypatch.setattr(sampling, "ONE_IN", 1)


def counted(passages, compared, shared, runs, runs_shared):
    return {"passages": passages, "compared": compared, "shared": shared, "runs": runs, "runs_shared": runs_shared}


def test_shares_are_counted_by_source_over_all_training_text(tmp_path, all_runs):
    letters = [f"{letter}{number}" for number in range(3) for letter in "abcdefghij"]
    text = " ".join(letters[:20])  # 8 runs
    first = write_slot(
        tmp_path / "0", "books",
        train=[("long", " ".join(letters[5:30]).upper())],
        validation=[("half", text), ("short", "a b c"), ("own", " ".join(f"x{number}" for number in range(14)))],
    )  # fmt: skip
    second = write_slot(tmp_path / "1", "web", train=[("other", ", ".join(letters[:13]))], validation=[("same", text)])
    found = overlap_of([first, second], tmp_path / "out")
    # of the 8 runs those beginning at words 5, 6 and 7 stand in `long`, and the first in `other`
    assert found["sources"] == {"books": counted(3, 2, 1, 10, 4), "web": counted(1, 1, 1, 8, 4)}
    assert found["all"] == counted(4, 3, 2, 18, 8)
    assert found["worst"] == [
        {"source": "books", "native_id": "half", "passage": 0, "runs": 8, "runs_shared": 4},
        {"source": "web", "native_id": "same", "passage": 0, "runs": 8, "runs_shared": 4},
    ]


TEXT = st.lists(st.sampled_from("abc"), max_size=12).map(" ".join)
SLOT = st.tuples(st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=4))


@settings(deadline=None, max_examples=60)
@given(st.lists(SLOT, min_size=1, max_size=3), st.integers(1, 4))
def test_counts_agree_with_sets_of_tuples(tmp_path_factory, slots, n):
    folder = tmp_path_factory.mktemp("overlap")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "ONE_IN", 1)
        patch.setattr(sampling, "NGRAM", n)
        patch.setattr(report, "_AT_ONCE", 3)
        parts = [
            write_slot(
                folder / str(number), str(number % 2),
                [(f"t{at}", text) for at, text in enumerate(train)],
                [(f"v{at}", text) for at, text in enumerate(validation)],
            )
            for number, (train, validation) in enumerate(slots)
        ]  # fmt: skip
        found = overlap_of(parts, folder / "out")
    known = set().union(*(obvious_runs(text, n) for train, _ in slots for text in train))
    expected, worst = {}, []
    for number, (_, validation) in enumerate(slots):
        counts = expected.setdefault(str(number % 2), counted(0, 0, 0, 0, 0))
        for at, text in enumerate(validation):
            its = obvious_runs(text, n)
            one = counted(1, bool(its), bool(its & known), len(its), len(its & known))
            counts.update({name: counts[name] + one[name] for name in counts})
            if its & known:
                worst.append((-len(its & known) / len(its), -len(its & known), number, at))
    assert found["sources"] == expected
    assert [one["native_id"] for one in found["worst"]] == [f"v{at}" for *_, at in sorted(worst)]


def test_a_sample_estimates_the_share(tmp_path):
    rng = random.Random(1)
    held_out = [words(400, rng) for _ in range(200)]
    train = [(str(number), " ".join(text)) for number, text in enumerate(held_out[:50])]
    train += [(f"x{number}", " ".join(words(400, rng))) for number in range(50)]
    slot = write_slot(
        tmp_path / "0", train=train, validation=[(f"v{n}", " ".join(text)) for n, text in enumerate(held_out)]
    )
    counts = overlap_of([slot], tmp_path / "out")["all"]
    assert counts["runs"] == pytest.approx(200 * 388 / 64, rel=0.1)
    assert counts["runs_shared"] / counts["runs"] == pytest.approx(0.25, abs=0.05)
    assert counts["compared"] == pytest.approx(200, abs=5) and counts["shared"] == pytest.approx(50, abs=3)


def test_a_corpus_without_validation_text_has_nothing_to_compare(tmp_path):
    found = overlap_of([write_slot(tmp_path / "0", train=[("a", "some text")])], tmp_path / "out")
    assert found["all"] == counted(0, 0, 0, 0, 0) and found["worst"] == []
    assert overlap_of([write_slot(tmp_path / "1")], tmp_path / "out")["links"]["matches"] == 0


def test_links_lead_over_dropped_documents_to_what_is_kept(tmp_path):
    parts = [
        write_slot(
            tmp_path / "0", train=[("t", "x"), ("both", "x")], validation=[("v", "y"), ("both", "y")],
            documents=["t", "v", "both", "copy of v", "copy of the copy"], matches=[(3, 0, 1), (4, 0, 3)],
        ),
        write_slot(
            tmp_path / "1", train=[("new", "z")], documents=["new", "third", "fourth", "of t", "of both"],
            matches=[(1, 0, 4), (2, 1, 1), (3, 0, 0), (4, 0, 2)],
        ),
    ]  # fmt: skip
    assert overlap_of(parts, tmp_path / "out")["links"] == {"matches": 6, "held_out": 5, "crossing": 0}


def test_a_match_that_was_not_dropped_is_counted_as_crossing(tmp_path):
    parts = [
        write_slot(tmp_path / "0", validation=[("v", "y")]),
        write_slot(tmp_path / "1", train=[("a", "z"), ("b", "z")], matches=[(0, 0, 0), (1, 0, 0)]),
    ]
    np.save(tmp_path / "1" / "drops.npy", np.array([0]))  # as if row 1 had slipped through
    sample_slot(tmp_path / "1", tmp_path / "1" / "drops.npy", tmp_path / "1", tmp_path / "1" / "sample")
    assert overlap_of(parts, tmp_path / "out")["links"] == {"matches": 2, "held_out": 2, "crossing": 1}
