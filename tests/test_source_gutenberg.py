"""The gutenberg source against a mirror on the loopback, and on folders: what is asked, kept, skipped, and said."""

import gzip
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.ledger import assign
from data.sources import gutenberg
from data.sources.base import RawDocument, SourceError
from data.sources.books import mirror as gutenberg_mirror
from data.sources.gutenberg import GutenbergConfig
from data.web.client import Web
from data.web.pacing import Clock, Pacer
from tests.source_runs import SourceRuns
from tests.stand_in_web import Page, answer, cut, stand_in_web

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
HOUR = 3600
TEXT = "It began.\n\nIt ended."


def book(number, text=TEXT, title="A Book", author="Some One", more=""):
    return (
        f"\ufeffThe Project Gutenberg eBook of {title}\n\nTitle: {title}\n\nAuthor: {author}\n\n"
        f"Release date: May 1, 2001 [eBook #{number}]\n\nLanguage: English\n\n{more}"
        f"*** START OF THE PROJECT GUTENBERG EBOOK {title.upper()} ***\n\n\n{text}\n\n\n"
        f"            *** END OF THE PROJECT GUTENBERG EBOOK {title.upper()} ***\nlicence\n"
    ).replace("\n", "\r\n")


@dataclass
class Time:
    """A clock that goes on when somebody sleeps."""

    now: float = 1_800_000_000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    time = Time()
    pacer = Pacer(Clock(lambda: time.now, lambda: time.now, time.sleep))
    monkeypatch.setattr(GutenbergConfig, "_web", lambda self: Web(self.user_agent, 1000, pacer=pacer))
    monkeypatch.setattr(gutenberg.time, "time", lambda: time.now)
    return time


@pytest.fixture
def mirror(clock):
    with stand_in_web() as server:
        server.pages["/1/6/6/1661/1661-0.txt"] = Page(book(1661, title="Sherlock").encode())
        server.pages["/cache/epub/84/pg84.txt"] = Page(book(84, title="Frankenstein").encode())
        server.pages["/0/5/5.txt"] = Page(book(5, title="Constitution").encode())
        yield server


@pytest.fixture
def runs(tmp_path):
    return SourceRuns(tmp_path, again=True)


def test_books_come_by_number_with_who_wrote_them(mirror, runs):
    config = GutenbergConfig(ids=(1661, 84, 5, 84), mirror_url=mirror.url + "/")
    found = runs.run(config)
    assert {name: one.text for name, one in found.items()} == dict.fromkeys(
        ("1661", "5", "84"), "It began.\n\nIt ended."
    )
    one = found["1661"]
    assert one.authors == ("Some One",) and one.url == "https://www.gutenberg.org/ebooks/1661"
    assert dict(one.meta) == {
        "file": "1/6/6/1661/1661-0.txt",
        "title": "Sherlock",
        "book": 1661,
        "language": "en",
        "look": 1,
    }
    assert mirror.methods("/1/6/6/1661/1661-0.txt") == ["HEAD", "GET"]
    assert mirror.methods("/0/5/5-0.txt") == ["HEAD"]
    assert [one.headers["user-agent"] for one in mirror.asked] == ["Textmill/0.1"] * len(mirror.asked)
    assert config.reaches_network() and not GutenbergConfig(path="x").reaches_network()


def test_a_second_run_asks_nothing_and_a_day_later_once_per_book(mirror, runs, clock):
    config = GutenbergConfig(ids=(1661, 84, 9999), mirror_url=mirror.url)
    first = runs.run(config)
    assert [str(one) for one in runs.problems] == [
        f"9999: missing: {mirror.url} has none of 9/9/9/9999/9999-0.txt, cache/epub/9999/pg9999.txt, "
        "9/9/9/9999/9999-8.txt, 9/9/9/9999/9999.txt"
    ]
    mirror.asked.clear()
    assert runs.run(config).keys() == first.keys() and str(runs.changes).startswith("nothing new")
    assert mirror.asked == []
    clock.now += 25 * HOUR
    assert runs.run(config).keys() == first.keys() and str(runs.changes).startswith("nothing new")
    assert mirror.methods() == ["HEAD"] * 6, "one for each known book, four for the one that is missing"


def test_additions_changes_and_deletions(mirror, runs, clock):
    runs.run(GutenbergConfig(ids=(1661, 84), mirror_url=mirror.url))
    config = GutenbergConfig(ids=(84, 5, 1661), mirror_url=mirror.url)
    mirror.asked.clear()
    assert runs.run(config).keys() == {"1661", "84", "5"}
    assert (runs.changes.new, runs.changes.changed) == (("5",), ())
    assert "GET" not in mirror.methods("/cache/epub/84/pg84.txt"), "an unchanged book is taken from the earlier slot"

    clock.now += 25 * HOUR
    mirror.pages["/0/5/5.txt"] = Page(book(5, "It was revised.").encode(), etag='"2"')
    mirror.asked.clear()
    assert runs.run(config)["5"].text == "It was revised."
    assert (runs.changes.new, runs.changes.changed) == ((), ("5",))
    assert mirror.methods().count("GET") == 1

    assert runs.run(config.model_copy(update={"ids": (1661, 5)})).keys() == {"1661", "5"}
    assert runs.changes.deleted == ("84",)
    clock.now += 25 * HOUR
    del mirror.pages["/0/5/5.txt"]
    config = config.model_copy(update={"ids": (1661, 5)})
    for _ in range(2):
        assert runs.run(config).keys() == {"1661", "5"}, "a mirror may be at work on its files"
        assert [(one.what, one.where) for one in runs.problems] == [("missing_now", "5")]
        clock.now += 1 * HOUR
    clock.now += 23 * HOUR
    assert runs.run(config).keys() == {"1661"}
    assert runs.changes.deleted == ("5",)
    assert [(one.what, one.where) for one in runs.problems] == [("missing", "5")]
    runs.ledger = runs.memo = None
    assert runs.run(config).keys() == {"1661"}


def test_a_book_that_is_gone_goes_at_once_where_asked(mirror, runs):
    config = GutenbergConfig(ids=(1661, 84), mirror_url=mirror.url, recheck_hours=0)
    runs.run(config)
    del mirror.pages["/cache/epub/84/pg84.txt"]
    assert runs.run(config).keys() == {"1661"}


def test_a_passing_404_changes_nothing(mirror, runs, clock):
    config = GutenbergConfig(ids=(1661, 84), mirror_url=mirror.url)
    runs.run(config)
    clock.now += 25 * HOUR
    mirror.script["/cache/epub/84/pg84.txt"] = [answer(404)]
    assert runs.run(config).keys() == {"1661", "84"} and str(runs.changes).startswith("nothing new")
    assert [(one.what, one.where) for one in runs.problems] == [("missing_now", "84")]
    clock.now += 1 * HOUR
    assert runs.run(config).keys() == {"1661", "84"} and str(runs.changes) == "nothing new, 2 unchanged"
    assert runs.problems == []
    mirror.asked.clear()
    runs.run(config)
    assert mirror.asked == []


def test_a_mirror_that_fails_for_one_book_deletes_nothing(mirror, runs, clock):
    config = GutenbergConfig(ids=(1661, 84), mirror_url=mirror.url)
    runs.run(config)
    clock.now += 25 * HOUR
    mirror.script["/cache/epub/84/pg84.txt"] = [answer(503)] * 6
    assert runs.run(config).keys() == {"1661", "84"}
    assert [(one.what, one.where) for one in runs.problems] == [("unreachable", "84")]
    assert runs.changes.absent == ("84",)


def test_a_mirror_that_is_down_is_not_asked_for_every_book(mirror, tmp_path):
    config = GutenbergConfig(ids=tuple(range(1, 50)), mirror_url=mirror.url)
    for number in range(1, 50):
        mirror.script["/" + gutenberg_mirror.names(number)[0]] = [answer(500)] * 6
    with pytest.raises(SourceError, match="3 books, one after the other, could not be asked for"):
        config.look(tmp_path)
    assert len(mirror.asked) == 18
    with pytest.raises(SourceError, match=r"None of the 1 books .* Correct ids or mirror_url"):
        GutenbergConfig(ids=(77,), mirror_url=mirror.url).look(tmp_path)
    with pytest.raises(SourceError, match="500 Internal"):
        GutenbergConfig(ids=(49,), mirror_url=mirror.url).look(tmp_path)


def test_a_fetch_that_breaks_off_is_continued(mirror, tmp_path):
    config = GutenbergConfig(ids=(1661, 84), mirror_url=mirror.url)
    _, slots, _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir(), work.mkdir()
    mirror.script["/cache/epub/84/pg84.txt"] = [cut(100), answer(404)]
    with pytest.raises(SourceError, match=r"404 Not Found\. .* set recheck_hours to 0 .* or take book 84 out"):
        config.fetch(slots[0].items, tmp_path, out, work)
    mirror.asked.clear()
    told = []
    config.fetch(slots[0].items, tmp_path, out, work, lambda *what: told.append(what))
    asked = [(one.path, one.headers.get("range")) for one in mirror.asked]
    assert asked == [("/cache/epub/84/pg84.txt", "bytes=100-")], "what was complete is not fetched again"
    total = sum(item.size for item in slots[0].items)
    assert (out / "content.bin").stat().st_size == total and told[-1] == (total, total, "bytes")


def test_a_book_that_changes_after_the_look_is_named(mirror, tmp_path):
    config = GutenbergConfig(ids=(1661,), mirror_url=mirror.url)
    _, slots, _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
    mirror.pages["/1/6/6/1661/1661-0.txt"].etag = '"2"'
    with pytest.raises(SourceError, match=r"1661-0\.txt: it changed since it was looked at .* set recheck_hours to 0"):
        config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)


def test_a_mirror_without_marks_is_told_of(mirror, runs):
    mirror.pages["/0/5/5.txt"].etag = mirror.pages["/0/5/5.txt"].modified = None
    assert runs.run(GutenbergConfig(ids=(5,), mirror_url=mirror.url)).keys() == {"5"}
    assert [(one.what, one.where) for one in runs.problems] == [("unmarked", "5")]


def test_names_on_a_mirror():
    assert gutenberg_mirror.names(1661)[0] == "1/6/6/1661/1661-0.txt"
    assert gutenberg_mirror.names(7)[0] == "0/7/7-0.txt"
    assert gutenberg_mirror.names(10)[3] == "1/10/10.txt"


def test_a_folder_of_files_of_every_kind(tmp_path, runs):
    folder = tmp_path / "books"
    folder.mkdir()
    wrapped = "This is a line of prose that is about as long as the lines of a book are,\nand it goes on here."
    verse = "    Roses are red,\n    violets are blue."
    files = {
        "1661-0.txt": book(1661, f"{wrapped}\n\n{verse}").encode(),
        "22367-8.txt": book(22367, "Größe").replace("\ufeff", "").encode("latin1"),
        "old.TXT.gz": gzip.compress(book(1, "Old.").encode()),
        "plain.txt": b"No header at all.",
        "no-end.txt": book(2, "Endless.").partition("            ***")[0].encode(),
        "copyrighted.txt": book(
            3, more="** This is a COPYRIGHTED Project Gutenberg eBook, Details Below **\n"
        ).encode(),
        "binary.txt": b"MZ\0",
        "page.txt": b"<!DOCTYPE html><title>404</title>",
        "nothing.txt": book(4, "").encode(),
        "cut.txt.gz": gzip.compress(book(5).encode())[:-9],
        "book.zip": b"PK",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    config = GutenbergConfig(path="books")
    found = runs.run(config)
    assert {name: one.text for name, one in found.items()} == {
        "1661-0.txt": wrapped.replace("\n", " ") + "\n\n" + verse,
        "22367-8.txt": "Größe",
        "old.TXT.gz": "Old.",
        "plain.txt": "No header at all.",
        "no-end.txt": "Endless.",
    }
    assert found["22367-8.txt"].url == "https://www.gutenberg.org/ebooks/22367"
    assert {(one.what, one.where) for one in runs.problems} == {
        ("copyrighted", "copyrighted.txt"),
        ("binary", "binary.txt"),
        ("html", "page.txt"),
        ("empty", "nothing.txt"),
        ("cut", "cut.txt.gz"),
        ("ignored", str(folder)),
    }
    notes = []
    list(config.read(runs.slots[0][1], notes.append))
    assert notes == [
        "1 file not in UTF-8, read as cp1252 (detected): 22367-8.txt",
        "1 book without a header of Project Gutenberg, taken whole: plain.txt",
        "1 book without an end marker; what stands after the book, if anything, is still there: no-end.txt",
    ]
    untouched = GutenbergConfig(path="books", unwrap=False)
    texts = {one.native_id: one.text for one in untouched.read(runs.slots[0][1]) if isinstance(one, RawDocument)}
    assert texts["1661-0.txt"] == f"{wrapped}\n\n{verse}"
    assert untouched.reading_identity() != config.reading_identity()


def test_folders_in_two_runs(tmp_path, runs):
    folder = tmp_path / "books"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"{number}.txt").write_text(book(number))
    config = GutenbergConfig(path="books")
    runs.run(config)
    runs.run(config)
    assert str(runs.changes).startswith("nothing new")
    (folder / "2.txt").write_text(book(2, "New."))
    (folder / "4.txt").write_text(book(4))
    (folder / "1.txt").unlink()
    assert runs.run(config).keys() == {"2.txt", "3.txt", "4.txt"}
    assert (runs.changes.new, runs.changes.changed, runs.changes.deleted) == (("4.txt",), ("2.txt",), ("1.txt",))


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda folder: folder.rmdir(), "cannot be listed: No such file"),
        (lambda folder: None, "holds no book (it is empty)"),
        (lambda folder: (folder / "a.pdf").write_text("x"), "holds no book"),
    ],
)
def test_a_folder_without_books_is_an_error(tmp_path, prepare, said):
    (tmp_path / "books").mkdir()
    prepare(tmp_path / "books")
    with pytest.raises(SourceError) as caught:
        GutenbergConfig(path="books").look(tmp_path)
    assert said in str(caught.value) and str(tmp_path / "books") in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "set either ids"),
        ({"ids": [1], "path": "x"}, "set either ids"),
        ({"ids": [0]}, "numbered from 1"),
        ({"path": "a\0"}, "NUL"),
        ({"ids": [1], "mirror_url": "https://www.gutenberg.org"}, "blocks machines"),
        ({"ids": [1], "mirror_url": "ftp://x"}, "no address"),
        ({"ids": [1], "mirror_url": "http://["}, "no address"),
        ({"ids": [1], "mirror_url": "http://user:pw@x/"}, "no address"),
    ],
)
def test_wrong_settings_are_refused(wrong, words):
    with pytest.raises(ValidationError, match=words):
        GutenbergConfig(**wrong)


def test_a_growing_list_keeps_its_ledger():
    one, two = (
        GutenbergConfig(ids=ids, name="books", mirror_url=url)
        for ids, url in (((1,), "http://a"), ((1, 2), "http://b"))
    )
    assert one.location() == two.location() and one.identity() == two.identity()


_MEMOS = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.just("0/5/5.txt"),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.just("5"), inner),
    max_leaves=8,
)


@given(_MEMOS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
def test_a_foreign_memo_is_not_trusted(mirror, tmp_path, memo):
    config = GutenbergConfig(ids=(5,), mirror_url=mirror.url)
    assert config.look(tmp_path, memo).items == config.look(tmp_path).items


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
def test_no_bytes_raise_anything(tmp_path_factory, contents):
    root = tmp_path_factory.mktemp("any")
    for number, (framed, data) in enumerate(contents):
        whole = book(number, "XX").encode().replace(b"XX", data) if framed else data
        (root / f"{number}.txt").write_bytes(whole)
    runs = SourceRuns(root)
    found = runs.run(GutenbergConfig(path="."))
    assert found.keys() | {one.where for one in runs.problems if one.what != "ignored"} == {
        f"{number}.txt" for number in range(len(contents))
    }


@pytest.mark.skipif(not SHARED.exists(), reason="the sample data are not here")
def test_the_sample_books_are_read(tmp_path, runs):
    found = runs.run(GutenbergConfig(path=str(SHARED / "gutenberg")))
    assert len(found) == 12 and runs.problems == []
    size = sum(file.stat().st_size for file in (SHARED / "gutenberg").iterdir())
    assert 0.94 * size < sum(len(one.text) for one in found.values()) < size
