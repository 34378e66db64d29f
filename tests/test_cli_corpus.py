"""The command `corpus`: its documents kept and dropped with the reason, texts found, dropped ones read again."""

import json
import sys

import pytest

from data.cleaning import CleanConfig
from data.drops import MAX_EXAMPLES
from flows import cli_corpus
from flows.cli import app, run_app
from tasks import corpus_browse
from tasks.runtime import open_store
from tests.corpus_toys import SENTENCES, toy_corpus

LONG = "The old mill by the river had been still for years, and the wheel was green with moss when we came. " * 6
TINY = "".join(json.dumps({"text": f"tiny {n}"}) + "\n" for n in range(30))
FIRST = {"a.txt": LONG, "b.txt": SENTENCES[0], "c.txt": LONG, "tiny.jsonl": TINY}
SECOND = {"d.txt": LONG.replace("moss", "WEEDS"), "e.txt": SENTENCES[0], "z.txt": "mail me@example.org"}


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Runs a command line on the store of this test: (exit code, stdout, stderr)."""
    monkeypatch.setenv("TEXTMILL_STORE", str(tmp_path / "store"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["textmill", "corpus", *arguments])
        code = run_app(app)
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def lines(command):
    """The same with --json: what its lines say."""

    def run(*arguments):
        code, out, err = command(*arguments, "--json")
        assert (code, err) == (0, "")
        return [json.loads(line) for line in out.splitlines()]

    return run


def both(store, cleaning=None, name="folder"):
    return toy_corpus(store, name, [("folder", FIRST), ("folder", SECOND)], cleaning=cleaning)


def test_browsing_shows_every_document_that_was_kept_and_why_others_were_not(store, lines):
    both(store)
    found = lines("--browse")
    kept = [(one["id"], one["text"]) for one in found if one["status"] == "kept"]
    assert kept == [("a.txt", LONG.rstrip()), ("b.txt", SENTENCES[0]), ("d.txt", SECOND["d.txt"].rstrip())]
    copies = {one["id"]: (one["slot"], one["duplicate_of"]) for one in found if one["reason"] == "duplicate"}
    assert copies == {"c.txt": ("folder-0000", "a.txt"), "e.txt": ("folder-0001", "b.txt")}
    tiny = [one for one in found if one["reason"] == "too_short"]
    assert len(tiny) == MAX_EXAMPLES + 1 and {one["status"] for one in tiny} == {"dropped"}
    assert tiny[0]["text"] == "tiny 0" and "offset" in tiny[0]["position"] and tiny[0]["whole"]
    assert len(found) == 3 + 2 + MAX_EXAMPLES + 1
    assert found[:4] == lines("--browse", "--limit", "4")
    assert lines("--dropped", "duplicate") == [one for one in found if one["reason"] == "duplicate"]
    assert lines("--dropped", "too_short") == tiny


def test_a_long_document_that_was_dropped_is_said_to_go_on(store, command):
    toy_corpus(store, "folder", [("folder", {"a.txt": LONG})], cleaning=CleanConfig(min_characters=1000))
    _, out, _ = command("--dropped", "too_short")
    assert out.startswith("--- folder: a.txt [folder-0000] dropped, too_short\nThe old mill")
    whole = len(LONG.rstrip())
    assert f"the beginning of {whole} characters; --dropped too_short --all shows more" in out and LONG[:250] not in out


def test_all_that_was_dropped_is_read_again_and_judged_again(store, lines, command):
    both(store)
    found = lines("--dropped", "too_short", "--all")
    assert [one["text"] for one in found] == [*(f"tiny {n}" for n in range(30)), "mail me@example.org"]
    assert all(one["slot"] == ("folder-0000" if "tiny" in one["text"] else "folder-0001") for one in found)
    assert lines("--dropped", "too_short", "--all", "--limit", "3") == found[:3]
    second = next(m.ref for m in store.manifests("documents") if m.name == "folder-0001")
    assert lines(str(second), "--dropped", "too_short", "--all") == found[30:]


def test_it_is_judged_by_the_settings_of_the_run_or_not_at_all(store, lines, command):
    both(store, CleanConfig(min_characters=150, privacy="on"), name="mine")
    code, out, err = command("--dropped", "too_short", "--all")
    assert code == 2 and "mine" in err and out == ""
    code, out, err = command("--dropped", "too_short", "--all", "--recipe", "folder")
    assert code == 1 and out == "" and "cleaning.min_characters was 150 and is 20" in err and "--set" in err
    given = ["--set", "cleaning.min_characters=150", "--set", "cleaning.privacy=on"]
    found = lines("--dropped", "too_short", "--all", "--recipe", "folder", *given)
    assert len(found) == 33 and found[-1]["text"] == "mail <EMAIL>"  # as it was: what was replaced stays so


def test_a_raw_slot_that_is_gone_is_named(store, command):
    both(store)
    for folder in (store.root / "raw").iterdir():
        folder.rename(store.root.parent / folder.name)
    code, _, err = command("--dropped", "too_short", "--all")
    assert code == 1 and "raw/folder-0000" in err and "no longer" in err


def test_search_finds_text_in_what_was_kept_and_dropped_with_the_passage_around_it(store, lines, command):
    both(store)
    found = {one["id"]: one for one in lines("--search", "GREEN with Weeds")}
    assert list(found) == ["d.txt"]
    passage = found["d.txt"]["passage"]
    at = SECOND["d.txt"].index("green with WEEDS")
    assert passage == SECOND["d.txt"][: at + len("green with WEEDS") + 100].strip() + "…"
    assert found["d.txt"]["hits"] == 6 and "text" not in found["d.txt"]
    millers = {one["id"]: one["reason"] for one in lines("--search", "miller")}
    assert millers == {"b.txt": None, "e.txt": "duplicate"}
    assert [one["reason"] for one in lines("--search", "tiny 1")] == ["too_short"] * 11  # of the recorded ones
    assert lines("--search", "old.mill") == []  # a text, no pattern
    _, out, _ = command("--search", "moss", "--limit", "1")
    assert out.startswith("--- folder: a.txt [folder-0000] kept, 6 times\n") and "green with moss when" in out


def test_reading_goes_row_group_by_row_group(store, lines, monkeypatch):
    monkeypatch.setattr("data.shards.ROW_GROUP_BYTES", 100)
    monkeypatch.setattr("data.shards.ShardWriter.__init__.__defaults__", (100,))
    both(store)
    sizes = []
    read = corpus_browse.read_batches
    monkeypatch.setattr(
        corpus_browse, "read_batches", lambda *given: (sizes.append(b.num_rows) or b for b in read(*given))
    )
    assert [one["id"] for one in lines("--search", "moss")] == ["a.txt", "c.txt"]
    assert sizes == [1] * 5
    assert [one["id"] for one in lines("--dropped", "duplicate")] == ["c.txt", "e.txt"]


def test_without_options_the_sums_are_shown(store, lines, command):
    index = both(store)
    code, out, _ = command()
    assert code == 0 and out.startswith(f"{index}\n") and "folder: 3 of 36 documents kept" in out
    assert "too_short" in out and "duplicates" in out
    (sums,) = lines()
    assert sums["documents_kept"] == 3 and sums["taken"]["too_short"]["documents"] == 31
    assert sums["licences"] == {"unknown": sums["bytes_kept"]}


def test_documents_in_no_corpus_can_be_browsed(store, lines):
    both(store)
    for folder in (store.root / "corpus").iterdir():
        folder.rename(store.root.parent / folder.name)
    first = next(m.ref for m in store.manifests("documents") if m.name == "folder-0000")
    assert [one["id"] for one in lines(str(first), "--browse") if one["status"] == "kept"] == [
        "a.txt",
        "b.txt",
        "c.txt",
    ]
    assert lines(str(first)) == [{"corpus": None, "reasons": {"too_short": 30}}]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--dropped", "to_short"], 2, ["to_short", "did you mean too_short?"]),
        (["--all"], 2, ["--all", "--dropped"]),
        (["--search", "x", "--browse"], 2, ["--search", "--browse"]),
        (["--search", ""], 2, ["empty"]),
        (["--browse", "--limit", "0"], 2, ["--limit", "at least 1"]),
        (["nosuch"], 1, ["nosuch", "textmill ls"]),
    ],
)
def test_wrong_usage_is_one_clear_line(store, command, arguments, code, words):
    both(store)
    found, out, err = command(*arguments)
    assert (found, out) == (code, "") and all(word in err for word in words)


def test_at_a_terminal_a_key_asks_for_the_next(store, command, monkeypatch):
    both(store)
    keys = iter(["", "q"])
    monkeypatch.setattr("builtins.input", lambda: next(keys))
    monkeypatch.setattr(cli_corpus.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(cli_corpus.sys.stdout, "isatty", lambda: True, raising=False)
    _, out, _ = command("--dropped", "too_short")
    assert out.count("[folder-0000] dropped, too_short") == 2 and "tiny 1" in out and "tiny 2" not in out


def test_what_texts_hold_is_neither_markup_nor_control(store, command):
    evil = "[red]no colour[/red] \u202e backwards, and long enough to be kept."
    toy_corpus(store, "folder", [("folder", {"a.txt": evil})])
    _, out, _ = command("--browse")
    assert "[red]no colour[/red]" in out and "\u202e" not in out
