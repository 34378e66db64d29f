"""The command `duplicates`: which older document each copy matched, and the clusters, as a user sees them."""

import json
import sys

import pytest

from data.near.config import NearConfig
from flows.cli import app, run_app
from tasks.corpus_parts import find_corpus, read_matches
from tasks.runtime import open_store
from tests.corpus_toys import SENTENCES, toy_corpus

LONG = "The old mill by the river had been still for years, and the wheel was green with moss when we came. " * 6
WORDS = " ".join(f"word{n}" for n in range(400))
NEARLY = WORDS.replace("word200", "another")
FIRST = {"a.txt": LONG, "b.txt": SENTENCES[0], "c.txt": LONG.replace(". ", ".\n"), "w.txt": WORDS}
SECOND = {"d.txt": SENTENCES[1], "e.txt": LONG, "f.txt": SENTENCES[0], "g.txt": NEARLY}


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Runs a command line on the store of this test: (exit code, stdout, stderr)."""
    monkeypatch.setenv("TEXTMILL_STORE", str(tmp_path / "store"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["textmill", *arguments])
        code = run_app(app)
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


def both(store, near=None):
    return toy_corpus(store, "mine", [("folder", FIRST), ("folder", SECOND)], near)


def test_every_copy_is_shown_with_what_it_matched_and_how_similar_it_is(store, command):
    both(store, NearConfig())
    code, out, err = command("duplicates", "--json")
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    matches = {
        line["dropped"]["id"]: (line["dropped"]["slot"], line["earlier"]["id"], line["earlier"]["slot"])
        for line in lines
        if line["kind"] == "match"
    }
    assert matches == {
        "c.txt": ("folder-0000", "a.txt", "folder-0000"),
        "e.txt": ("folder-0001", "a.txt", "folder-0000"),
        "f.txt": ("folder-0001", "b.txt", "folder-0000"),
        "g.txt": ("folder-0001", "w.txt", "folder-0000"),
    }
    similar = {line["dropped"]["id"]: line["similarity"] for line in lines if line["kind"] == "match"}
    assert [similar[name] for name in ("c.txt", "e.txt", "f.txt")] == [None] * 3
    assert similar["g.txt"] == pytest.approx(391 / 401, abs=0.04)  # 5 of 396 runs of words are others
    clusters = [(line["documents"], line["kept"]["id"]) for line in lines if line["kind"] == "cluster"]
    assert clusters == [(3, "a.txt"), (2, "b.txt"), (2, "w.txt")]
    assert [copy["id"] for copy in lines[0]["copies"]] == ["c.txt", "e.txt"]
    assert not [line for line in lines if "text" in line.get("dropped", {})]


def test_people_are_shown_sums_clusters_and_matches_and_texts_on_request(store, command):
    index = both(store, NearConfig())
    code, out, _ = command("duplicates")
    assert code == 0 and out.startswith(f"{index}\n")
    assert "4 of 8 documents are copies of earlier ones: 3 equal but for white space, 1 similar." in out
    assert "Clusters in the whole corpus: 3. Of 2 to 3 documents 3." in out
    assert "3 documents, of which is kept folder: a.txt" in out
    assert "folder: e.txt  equal  folder: a.txt" in out and "The old mill" not in out
    _, out, _ = command("duplicates", "--texts", "--limit", "1", "--clusters", "0")
    assert out.count("The old mill by the river") > 1 and "and 3 more: --limit 0 shows all" in out
    assert "a.txt" in out and "f.txt" not in out and "Clusters" not in out


def test_one_slot_can_be_asked_for(store, command):
    both(store)
    drops = next(m.ref for m in store.manifests("duplicates") if m.name == "folder-0001")
    documents = next(m.ref for m in store.manifests("documents") if m.name == "folder-0001")
    for ref in (drops, documents):
        _, out, _ = command("duplicates", str(ref), "--json", "--clusters", "0")
        assert [json.loads(line)["dropped"]["id"] for line in out.splitlines()] == ["e.txt", "f.txt"]
    _, out, _ = command("duplicates", str(drops))
    assert out.startswith("folder-0001 of corpus/mine-") and "2 of 4 documents are copies" in out


def test_shards_that_are_reused_are_read_with_the_matches_of_their_own_corpus(store):
    """The last slot drops the same row in both corpora, but in the second its match lies a slot further on."""
    toy_corpus(store, "short", [("folder", FIRST), ("other", {"x.txt": LONG})])
    toy_corpus(store, "long", [("new", {"y.txt": SENTENCES[5]}), ("folder", FIRST), ("other", {"x.txt": LONG})])
    corpus = find_corpus(store)
    assert corpus.index.name == "long"
    links = read_matches(store, corpus.parts)
    assert (links.place(int(links.dropped[-1])), links.place(int(links.earlier[-1]))) == ((2, 0), (1, 0))
    older = next(m for m in store.manifests("corpus") if m.name == "short")
    parts = find_corpus(store, str(older.ref)).parts
    assert parts[1].shards == corpus.parts[2].shards and parts[1].drops != corpus.parts[2].drops
    links = read_matches(store, parts)
    assert (links.place(int(links.dropped[-1])), links.place(int(links.earlier[-1]))) == ((1, 0), (0, 0))


def test_what_cannot_be_shown_is_said_in_one_line(store, command):
    code, _, err = command("duplicates")
    assert code == 1 and "no corpus" in err and "textmill run" in err
    both(store)
    raw = next(store.manifests("raw")).ref
    for arguments, words in (
        ([str(raw)], ["no part of a corpus"]),
        (["--limit", "-1"], ["--limit", "from 0"]),
        (["nosuch"], ["nosuch", "textmill ls"]),
    ):
        code, out, err = command("duplicates", *arguments)
        assert code in (1, 2) and out == "" and all(word in err for word in words)


def test_control_characters_of_texts_do_not_reach_the_terminal(store, command):
    evil = "\u202eAn evil text that is long enough to be kept by cleaning, it is."
    toy_corpus(store, "mine", [("folder", {"a.txt": evil, "b.txt": evil})])
    _, out, _ = command("duplicates", "--texts")
    assert "An evil text" in out and "\u202e" not in out
