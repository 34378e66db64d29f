"""The url source against a server on the loopback: formats, marks, runs one after the other, errors, secrets."""

import gzip
import hashlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path

import fsspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.ledger import assign, within
from data.sources import addresses
from data.sources.base import SourceError
from data.sources.pack import ChangedSinceLookError
from data.sources.url import UrlConfig
from data.web.client import Web
from data.web.errors import NotThereError, WrongContentError
from data.web.pacing import Clock, Pacer
from flows.recipe import RecipeError, with_overrides
from flows.recipes import load_recipe
from tests.source_runs import SourceRuns
from tests.stand_in_web import Page, answer, cut, slow, stand_in_web

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
PAGE = (
    "<html><head><title>On mills</title></head><body><nav><a href='/'>Home</a></nav><article><h1>On mills</h1><p>"
    + "A mill by a river is older than the town around it, and whoever came by listened. " * 5
    + "</p></article></body></html>"
)


@pytest.fixture
def server(monkeypatch):
    pacer = Pacer(Clock(sleep=lambda seconds: None))
    monkeypatch.setattr(UrlConfig, "_web", lambda self: Web(self.user_agent, 1e6, self.parallel, pacer=pacer))
    with stand_in_web() as running:
        running.pages["/a.txt"] = Page(b"text of a")
        running.pages["/b.txt"] = Page(b"text of b")
        yield running


@pytest.fixture
def runs(tmp_path):
    return SourceRuns(tmp_path, again=True)


def config_of(server, *paths, **more):
    return UrlConfig(urls=tuple(server.url + path for path in paths), name="pages", **more)


def test_files_of_every_kind_are_read(server, runs):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("in/side.txt", "from an archive")
    pages = {
        "/plain": Page(b"plain", kind="text/plain"),
        "/koi8.txt": Page("Война и мир".encode("koi8-r"), kind="text/plain; charset=koi8-r"),
        "/page": Page(PAGE.encode(), kind="text/html"),
        "/rows.jsonl.gz?version=2": Page(gzip.compress(b'{"text": "row 1"}\n{"text": "row 2"}\n'), kind="x/y"),
        "/all.zip": Page(archive.getvalue(), kind="application/zip"),
        "/packed.txt": Page(gzip.compress(b"packed on the way"), headers={"Content-Encoding": "gzip"}),
        "/packed": Page(zstandard.compress(b"also packed"), headers={"Content-Encoding": "zstd"}),
        "/what": Page(b"?", kind="application/octet-stream"),
    }
    server.pages |= pages
    found = runs.run(config_of(server, *pages))
    texts = {name.removeprefix(server.url): one.text for name, one in found.items()}
    assert "whoever came by listened" in texts["/page"] and "Home" not in texts.pop("/page")
    assert texts == {
        "/plain": "plain",
        "/koi8.txt": "Война и мир",
        "/rows.jsonl.gz?version=2#1": "row 1",
        "/rows.jsonl.gz?version=2#2": "row 2",
        "/all.zip/in/side.txt": "from an archive",
        "/packed.txt": "packed on the way",
        "/packed": "also packed",
    }
    assert [(one.what, one.where) for one in runs.problems] == [("unknown_format", server.url + "/what")]
    one = found[server.url + "/page"]
    assert (one.url, one.meta["title"], one.meta["look"]) == (server.url + "/page", "On mills", 1)
    assert runs.run(config_of(server, "/what", format=".txt")).keys() == {server.url + "/what"}


@pytest.mark.skipif(not SHARED.exists(), reason="the sample data are not here")
def test_real_files_come_as_they_are(server, runs):
    shakespeare = (SHARED / "tiny_shakespeare.txt").read_bytes()
    server.pages["/input.txt"] = Page(shakespeare)
    server.script["/input.txt"] = [None, cut(500_000)]
    server.pages["/pages.warc.gz"] = Page((SHARED / "messy" / "creativecommons_pages.warc.gz").read_bytes())
    found = runs.run(config_of(server, "/input.txt", "/pages.warc.gz"))
    assert found[server.url + "/input.txt"].text == shakespeare.decode()
    pages = [one for name, one in found.items() if ".warc.gz" in name]
    assert len(pages) + len(runs.problems) == 4 and pages
    assert all("creativecommons.org" in one.url for one in pages)
    recipe = load_recipe("tiny-shakespeare").sources["tiny-shakespeare"]
    assert recipe.addresses()[0].sha256 == hashlib.sha256(shakespeare).hexdigest()


def test_runs_one_after_the_other(server, runs):
    first = runs.run(config_of(server, "/a.txt", "/b.txt"))
    assert {one.text for one in first.values()} == {"text of a", "text of b"}
    server.asked.clear()
    assert runs.run(config_of(server, "/b.txt", "/a.txt")).keys() == first.keys()
    assert str(runs.changes).startswith("nothing new")
    assert server.methods() == ["HEAD", "HEAD"]

    server.pages["/c.txt"] = Page(b"text of c")
    server.asked.clear()
    assert len(runs.run(config_of(server, "/c.txt", "/a.txt", "/b.txt"))) == 3
    assert runs.changes.new == (server.url + "/c.txt",)
    assert [one.path for one in server.asked if one.method == "GET"] == ["/c.txt"]

    server.pages["/a.txt"] = Page(b"new text of a", etag='"2"')
    server.asked.clear()
    assert runs.run(config_of(server, "/a.txt", "/b.txt", "/c.txt"))[server.url + "/a.txt"].text == "new text of a"
    assert runs.changes.changed == (server.url + "/a.txt",)
    assert [one.path for one in server.asked if one.method == "GET"] == ["/a.txt"]

    del server.pages["/b.txt"]
    assert len(runs.run(config_of(server, "/a.txt", "/b.txt", "/c.txt"))) == 2
    assert runs.changes.deleted == (server.url + "/b.txt",)
    assert [one.what for one in runs.problems] == ["missing"]
    assert len(runs.run(config_of(server, "/c.txt"))) == 1
    runs.ledger = runs.memo = None
    assert len(runs.run(config_of(server, "/a.txt", "/c.txt"))) == 2


def test_a_date_serves_where_there_is_no_etag(server, runs):
    server.pages["/a.txt"].etag = None
    runs.run(config_of(server, "/a.txt"))
    runs.run(config_of(server, "/a.txt"))
    assert runs.problems == [] and str(runs.changes).startswith("nothing new")
    server.pages["/a.txt"] = Page(b"text of A", etag=None, modified=1_700_000_500.0)
    assert runs.run(config_of(server, "/a.txt"))[server.url + "/a.txt"].text == "text of A"
    server.pages["/a.txt"].modified = None
    runs.run(config_of(server, "/a.txt"))
    assert [one.what for one in runs.problems] == ["unmarked"]


def test_a_checksum_is_verified_and_saves_looking(server, runs):
    def pinned(digest):
        return UrlConfig(urls=({"url": server.url + "/a.txt", "sha256": digest},), name="pages")

    config = pinned(hashlib.sha256(b"text of a").hexdigest().upper())
    assert len(runs.run(config)) == 1
    server.asked.clear()
    assert len(runs.run(config)) == 1 and server.asked == []
    with pytest.raises(WrongContentError, match=rf"a\.txt: sha256 {'0' * 64} was expected, "):
        runs.run(pinned("0" * 64))


def test_what_fails_is_named_and_deletes_nothing(server, runs):
    runs.run(config_of(server, "/a.txt", "/b.txt"))
    server.script["/a.txt"] = [answer(503)] * 6
    server.script["/b.txt"] = [answer(403)] * 2
    with pytest.raises(SourceError, match=r"Nothing is there at any of the 2 addresses: .*503.*403"):
        runs.run(config_of(server, "/a.txt", "/b.txt"))
    server.script["/a.txt"] = [answer(503)] * 6
    assert len(runs.run(config_of(server, "/a.txt", "/b.txt"))) == 2
    assert [(one.what, one.where) for one in runs.problems] == [("unreachable", server.url + "/a.txt")]
    assert runs.changes.absent == (server.url + "/a.txt",)


def test_files_whose_length_nobody_tells_fill_slots_and_caps(server, tmp_path):
    paths = [f"/{number}.txt" for number in range(5)]
    server.pages |= {path: Page(b"text", says_length=False) for path in paths}
    config = config_of(server, *paths, slot_bytes=600_000, max_bytes=800_000)
    _, slots, _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
    assert [len(slot.items) for slot in slots] == [2, 2, 1]
    assert [len(slot.items) for slot in within(slots, config.max_bytes)] == [2, 1]
    config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)
    assert [one.text for one in config.read(tmp_path)] == ["text", "text"]


def test_what_a_look_has_seen_of_the_length_is_missed_later(server, tmp_path):
    config = config_of(server, "/a.txt")
    _, slots, _ = assign(None, config.look(tmp_path), 10, "2024")
    server.pages["/a.txt"].says_length = False
    server.script["/a.txt"] = [cut(4)]
    config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)
    assert (tmp_path / "content.bin").read_bytes() == b"text of a"


def test_several_files_come_at_once_and_lie_in_their_order(server, tmp_path):
    paths = [f"/{number}.txt" for number in range(6)]
    server.pages |= {path: Page(path.encode() * 1000) for path in paths}
    config = config_of(server, *paths, parallel=3)
    _, [slot], _ = assign(None, config.look(tmp_path), config.slot_bytes, "2024")
    server.most_at_once = 0
    server.script |= {path: [slow(0.05)] for path in paths} | {"/3.txt": [answer(404)]}
    with pytest.raises(NotThereError, match=r"/3\.txt"):
        config.fetch(slot.items, tmp_path, tmp_path, tmp_path)
    assert 2 <= server.most_at_once <= 3
    told = []
    config.fetch(slot.items, tmp_path, tmp_path, tmp_path, lambda *what: told.append(what))
    assert (tmp_path / "content.bin").read_bytes() == b"".join(path.encode() * 1000 for path in paths)
    assert all(done <= total == 36_000 for done, total, _ in told) and told[-1] == (36_000, 36_000, "bytes")
    assert server.methods("/0.txt") == ["HEAD", "GET"], "what was there is not fetched again"


def test_local_files(tmp_path, runs):
    path = tmp_path / "a text.txt"
    path.write_text("text")
    os.utime(path, (1, 1))
    url = path.as_uri()
    config = UrlConfig(urls=(url, f"file://{tmp_path}/none.txt"), name="files")
    assert not config.reaches_network()
    found = runs.run(config)
    assert {name: one.text for name, one in found.items()} == {url: "text"}
    assert [one.what for one in runs.problems] == ["missing"]
    runs.run(config)
    assert str(runs.changes).startswith("nothing new")
    _, slots, _ = assign(None, config.look(tmp_path), 10, "2024")
    path.write_text("TEXT")
    with pytest.raises(ChangedSinceLookError, match=r"a%20text\.txt is not what was expected"):
        config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)
    assert runs.run(config)[url].text == "TEXT"
    path.unlink()
    with pytest.raises(SourceError, match="cannot be read any more"):
        config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)


def test_objects_through_fsspec(tmp_path, runs, monkeypatch):
    """A real fsspec file system, in memory, in the place of the one for s3, which is not installed."""
    storage = fsspec.filesystem("memory")
    storage.pipe("/bucket/a.txt", b"text of an object" * 100_000)
    real_open, cuts = storage.open, [1_000_000]

    class Cut(io.BytesIO):
        def read(self, size=-1):
            if self.tell() >= 1_000_000:
                raise OSError("lost")
            return super().read(1_000_000)

    def open_object(path, mode):
        return Cut(storage.cat("/bucket/a.txt")) if cuts and cuts.pop() else real_open(path, mode)

    class Storage:
        info = staticmethod(lambda url: storage.info(url.removeprefix("s3:/")))
        open = staticmethod(lambda url, mode: open_object(url.removeprefix("s3:/"), mode))

    monkeypatch.setattr(addresses, "object_storage", Storage)
    config = UrlConfig(urls=("s3://bucket/a.txt", "s3://bucket/none.txt"), name="objects")
    _, slots, _ = assign(None, config.look(tmp_path), 10, "2024")
    with pytest.raises(SourceError, match=r"s3://bucket/a\.txt: cannot be fetched \(OSError\)"):
        config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)
    (part,) = tmp_path.glob("*.part")
    assert part.stat().st_size == 1_000_000
    config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path)
    assert next(config.read(tmp_path)).text == "text of an object" * 100_000
    storage.pipe("/bucket/a.txt", b"changed")
    (tmp_path / "again").mkdir()
    with pytest.raises(ChangedSinceLookError, match="changed since"):
        config.fetch(slots[0].items, tmp_path, tmp_path, tmp_path / "again")


def test_s3_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(SourceError, match=r"pip install .*\[s3\]"):
        UrlConfig(urls=("s3://bucket/a.txt",)).look(tmp_path)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("a.txt", "begins with none"),
        ("ftp://x/a", "begins with none"),
        ("http://[", "cannot be read"),
        ("http:///a", "incomplete"),
        ("file://host/a", "incomplete"),
        ("file:///", "incomplete"),
        ("https://x/a b", "white space"),
        ("https://user:hunter2@x/a", "authorization_secret"),
        ("https://x/a?access_token=hunter2", "authorization_secret"),
        ("https://x/a?X-Amz-Signature=hunter2", "authorization_secret"),
    ],
)
def test_wrong_addresses_are_refused_without_showing_secrets(url, words):
    with pytest.raises(ValidationError, match=words):
        UrlConfig(urls=(url,))
    with pytest.raises(RecipeError) as refused:
        with_overrides(load_recipe("python-docs"), {"sources": {"a": {"kind": "url", "urls": [url]}}})
    assert words in str(refused.value) and "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"urls": []}, "at least 1"),
        ({"urls": ["http://x/a", {"url": "http://x/a"}]}, "listed twice"),
        ({"urls": [{"url": "http://x/a", "sha256": "abc"}]}, "64 hexadecimal"),
        ({"urls": ["http://x/a"], "format": ".exe"}, "no kind of file"),
    ],
)
def test_wrong_settings_are_refused(wrong, words):
    with pytest.raises(ValidationError, match=words):
        UrlConfig(**wrong)


def test_a_secret_goes_into_the_header_and_nowhere_else(server, runs, monkeypatch, tmp_path):
    monkeypatch.setenv("PAGES_KEY", "Bearer s3cret")
    config = config_of(server, "/a.txt", authorization_secret="PAGES_KEY")
    runs.run(config)
    assert {one.headers["authorization"] for one in server.asked} == {"Bearer s3cret"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert "s3cret" not in json.dumps([runs.memo, runs.ledger, config.model_dump(mode="json")])


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["files", "pinned", "x"]), inner),
        max_leaves=8,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
def test_a_foreign_memo_is_not_trusted(server, tmp_path, memo):
    (tmp_path / "a.txt").write_text("text")
    config = UrlConfig(urls=(server.url + "/a.txt", (tmp_path / "a.txt").as_uri()))
    assert config.look(tmp_path, memo).items == config.look(tmp_path).items


@given(st.text() | st.text().map(lambda text: f"http://{text}") | st.text().map(lambda text: f"file:///{text}"))
def test_any_address_is_taken_or_refused(url):
    try:
        config = UrlConfig(urls=(url,))
    except ValidationError:
        return
    assert config.addresses()[0].url == url and json.dumps(config.location())


@given(st.binary(max_size=200), st.sampled_from(["text/plain", "text/html; charset=\xa0", "application/json", "x"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
def test_no_content_raises_anything(server, tmp_path_factory, data, kind):
    server.pages["/any"] = Page(data, kind=kind.replace("\xa0", "?"))
    runs = SourceRuns(tmp_path_factory.mktemp("any"))
    found = runs.run(config_of(server, "/any"))
    assert found or runs.problems
