import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.cleaning import CleanConfig
from data.documents import clean_slot, sign
from data.sources.base import Problem, RawDocument

CONFIG = CleanConfig(min_characters=5)
LOOK = {"look": 3, "python_version": "3.11"}


def raw(native_id, text, **fields):
    fields = {"authors": [], "url": None, "created": None, "licence": None, "meta": LOOK, "position": 0, **fields}
    return RawDocument(native_id=native_id, text=text, **fields)


def test_every_document_is_kept_or_counted(tmp_path):
    facts = clean_slot(
        [
            raw("a.txt", "First text.\r\n\r\nIts end. ", authors=["Ann", "Émile"], url="file:a", created="2024-01-02"),
            raw("b.txt", " \r\n "),
            raw("c.txt", "abc", position=17),
            Problem(what="undecodable", where="d.txt", why="not UTF-8 at byte 4"),
            raw("e.txt", "cafe\u0301 noir", licence="CC-BY-4.0"),
        ],
        tmp_path,
        CONFIG,
        "mine",
        "CC0-1.0",
    )
    rows = pq.read_table(tmp_path / "documents.parquet").to_pylist()
    assert rows == [
        {
            "native_id": "a.txt",
            "authors": ["Ann", "Émile"],
            "text": "First text.\n\nIts end.",
            "source": "mine",
            "url": "file:a",
            "created": "2024-01-02",
            "licence": "CC0-1.0",
            "meta": '{"look":3,"python_version":"3.11"}',
        },
        {
            "native_id": "e.txt",
            "authors": [],
            "text": "café noir",
            "source": "mine",
            "url": None,
            "created": None,
            "licence": "CC-BY-4.0",
            "meta": '{"look":3,"python_version":"3.11"}',
        },
    ]
    assert facts.counts == {
        "documents_in": 5,
        "documents_out": 2,
        "characters_in": 24 + 4 + 3 + 10,
        "characters_dropped": 7,
        "characters_out": 21 + 9,
        "bytes_out": 21 + 10,
        "dropped_empty": 1,
        "dropped_too_short": 1,
        "dropped_undecodable": 1,
    }
    assert facts.licences == ["CC-BY-4.0", "CC0-1.0"]
    assert facts.notes == ["d.txt: undecodable: not UTF-8 at byte 4"]
    assert json.loads((tmp_path / "drops.json").read_text()) == {
        "counts": {"empty": 1, "too_short": 1, "undecodable": 1},
        "examples": {
            "empty": [{"native_id": "b.txt", "position": 0, "characters": 0, "excerpt": ""}],
            "too_short": [{"native_id": "c.txt", "position": 17, "characters": 3, "excerpt": "abc"}],
            "undecodable": [
                {"native_id": "d.txt", "position": None, "characters": 0, "excerpt": "not UTF-8 at byte 4"}
            ],
        },
    }


def test_a_slot_without_a_kept_document_still_has_its_files(tmp_path):
    facts = clean_slot([raw("a", ""), Problem("binary", "b", "holds NUL bytes")], tmp_path, CONFIG, "mine", "CC0-1.0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drops.json", "signatures.npy"]
    signatures = np.load(tmp_path / "signatures.npy")
    assert signatures.shape == (0, 2)
    assert signatures.dtype == np.uint64
    assert facts.counts["documents_out"] == 0
    assert facts.licences == []


def test_a_policy_drops_what_may_not_be_passed_on(tmp_path):
    config = CleanConfig(licence_policy="redistributable", min_characters=1)
    documents = [
        RawDocument("free", "free text", licence="CC-BY-SA-4.0", meta={"look": 1}),
        RawDocument("bound", "bound text", licence="CC-BY-NC-4.0", meta={"look": 1}),
        RawDocument("as the source", "its text", meta={"look": 1}),
    ]
    facts = clean_slot(documents, tmp_path, config, "mine", "unknown")
    assert pq.read_table(tmp_path / "documents.parquet")["native_id"].to_pylist() == ["free"]
    assert facts.counts["dropped_licence"] == 2 and facts.counts["characters_dropped"] == len("bound textits text")
    assert facts.licences == ["CC-BY-SA-4.0"]
    examples = json.loads((tmp_path / "drops.json").read_text())["examples"]["licence"]
    assert [(one["native_id"], one["excerpt"]) for one in examples] == [
        ("bound", "CC-BY-NC-4.0"),
        ("as the source", "unknown"),
    ]


def test_examples_are_limited_and_counts_are_not(tmp_path):
    clean_slot((raw(f"{n}", "x") for n in range(50)), tmp_path, CONFIG, "mine", "CC0-1.0")
    drops = json.loads((tmp_path / "drops.json").read_text())
    assert drops["counts"] == {"too_short": 50}
    assert [example["native_id"] for example in drops["examples"]["too_short"]] == [str(n) for n in range(20)]


def test_problems_are_named_but_not_without_end(tmp_path):
    problems = [Problem(what="unreadable", where=f"{n}.txt", why="permission denied") for n in range(25)]
    problems.append(Problem("broken", "dump", "1,000 lines", 1000))
    facts = clean_slot(problems, tmp_path, CONFIG, "mine", "CC0-1.0")
    assert facts.counts["dropped_unreadable"] == 25 and facts.counts["dropped_broken"] == 1000
    assert facts.counts["documents_in"] == 1025
    assert facts.notes[0] == "0.txt: unreadable: permission denied"
    assert len(facts.notes) == 21
    assert facts.notes[-1] == "In all, 1,025 things could not be read."


def test_an_excerpt_is_the_beginning(tmp_path):
    config = CleanConfig(min_characters=10_000)
    clean_slot([raw("a", "word " * 1000)], tmp_path, config, "mine", "CC0-1.0")
    [example] = json.loads((tmp_path / "drops.json").read_text())["examples"]["too_short"]
    assert example["excerpt"] == "word " * 40
    assert example["characters"] == 4999


def test_batches_leave_no_trace_in_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("data.batches._BATCH_ROWS", 7)
    seen = []
    texts = [f"document number {n}" for n in range(50)]
    clean_slot(
        (raw(f"{n}", text) for n, text in enumerate(texts)),
        tmp_path,
        CONFIG,
        "mine",
        "CC0-1.0",
        lambda done, total, unit: seen.append((done, total, unit)),
    )
    assert pq.read_table(tmp_path / "documents.parquet")["text"].to_pylist() == texts
    assert seen == [(done, 0, "documents") for done in (7, 14, 21, 28, 35, 42, 49, 50)]


def test_names_that_are_no_unicode_are_spelt_out(tmp_path):
    name = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    clean_slot([raw(name, "some text", authors=[name], url=name)], tmp_path, CONFIG, "mine", "CC0-1.0")
    [row] = pq.read_table(tmp_path / "documents.parquet").to_pylist()
    assert (row["native_id"], row["authors"], row["url"]) == (r"caf\udce9.txt", [r"caf\udce9.txt"], r"caf\udce9.txt")


def test_a_source_that_forgets_the_look_is_found_out_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"mine gives 'a' no look"):
        clean_slot([raw("a", "some text", meta={})], tmp_path, CONFIG, "mine", "CC0-1.0")


letters = st.text(st.sampled_from("aAé.字 \t\n"), max_size=12)


@settings(deadline=None)
@given(st.lists(letters, max_size=30))
def test_signatures_are_equal_just_where_texts_without_white_space_are(texts):
    stripped = ["".join(text.split()) for text in texts]
    by_signature = [sign(text.encode()) for text in texts]
    by_sha = [hashlib.sha256(text.encode()).digest() for text in stripped]
    for i in range(len(texts)):
        assert [other == by_signature[i] for other in by_signature] == [other == by_sha[i] for other in by_sha]
    assert all(len(signature) == 16 for signature in by_signature)


def test_signature_rows_belong_to_document_rows(tmp_path):
    texts = ["one text here", "another\ufeff texte\u0301", "one\n  text here", "One text here"]
    clean_slot([raw(f"{n}", text) for n, text in enumerate(["x", *texts])], tmp_path, CONFIG, "mine", "CC0-1.0")
    rows = [tuple(row) for row in np.load(tmp_path / "signatures.npy").tolist()]
    assert rows[0] == rows[2]
    assert len(set(rows)) == 3
    digest = sign("another texté".encode())
    assert rows[1] == (int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big"))


@pytest.mark.parametrize("order", [1, -1])
def test_the_same_documents_give_the_same_bytes(tmp_path, order):
    meta = dict(list({"look": 1, "b": 2}.items())[::order])
    clean_slot([raw("a", "some text", meta=meta)], tmp_path, CONFIG, "mine", "CC0-1.0")
    assert pq.read_table(tmp_path / "documents.parquet")["meta"].to_pylist() == ['{"b":2,"look":1}']
