"""The web client over real HTTP: pace, patience, redirects, downloads that are cut, killed, changed; and no secrets."""

import gzip
import hashlib
import logging
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.web.client import Web
from data.web.errors import (
    ChangedOnServerError,
    NotThereError,
    RefusedError,
    TooLargeError,
    UnreachableError,
    WebError,
    WrongContentError,
    shown,
)
from data.web.pacing import Clock, Pacer, back_off, retry_after
from tests.stand_in_web import Page, answer, cut, hang_up, slow, stand_in_web

BODY = random.Random(7).randbytes(300_000)
AGENT = "Tests/1.0 (tests@example.org)"


@dataclass
class Sleepless:
    """A clock that goes on when somebody sleeps, and notes how long."""

    time: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def clock(self) -> Clock:
        return Clock(lambda: self.time, lambda: self.time, self.sleep)


@pytest.fixture
def server():
    with stand_in_web() as running:
        yield running


@pytest.fixture
def clock():
    return Sleepless()


@pytest.fixture
def web(clock):
    with Web(AGENT, requests_per_second=1000, parallel=4, timeout_seconds=5, pacer=Pacer(clock.clock())) as client:
        yield client


def test_a_small_answer_comes_whole_with_who_asks(server, web):
    server.pages["/a?b=%C3%BC"] = Page(gzip.compress(b"text"), headers={"Content-Encoding": "gzip"})
    got = web.get(server.url + "/a", {"X-Mine": "1"}, {"b": "ü"})
    assert (got.status, got.body, got.headers["etag"]) == (200, b"text", '"1"')
    asked = server.asked[0].headers
    assert (asked["user-agent"], asked["x-mine"], asked["accept-encoding"]) == (AGENT, "1", "gzip, deflate")
    assert web.get(server.url + "/a", {"If-None-Match": '"1"'}, {"b": "ü"}).status == 304


def test_an_answer_that_grows_too_large_is_stopped(server, web):
    server.pages["/bomb"] = Page(gzip.compress(b"a" * 50_000_000), headers={"Content-Encoding": "gzip"})
    with pytest.raises(TooLargeError, match="larger than 1000 bytes"):
        web.get(server.url + "/bomb", limit_bytes=1000)
    server.pages["/fits"] = Page(b"a" * 1000)
    assert len(web.get(server.url + "/fits", limit_bytes=1000).body) == 1000


@pytest.mark.parametrize(
    ("status", "kind"), [(400, RefusedError), (401, RefusedError), (403, RefusedError), (404, NotThereError)]
)
def test_what_cannot_pass_is_asked_once(server, web, clock, status, kind):
    server.pages["/a"] = Page(b"")
    server.script["/a"] = [answer(status, b'{"code": 5}')]
    with pytest.raises(kind, match=rf"{server.url}/a: .*{status}") as caught:
        web.get(server.url + "/a")
    assert (caught.value.status, caught.value.answer.body) == (status, b'{"code": 5}')
    assert len(server.asked) == 1 and sum(clock.slept) < 1


@pytest.mark.parametrize("mishap", [answer(500), answer(503), answer(408), answer(429), hang_up(), cut(2)])
def test_what_can_pass_is_asked_again(server, web, clock, mishap):
    server.pages["/a"] = Page(b"text")
    server.script["/a"] = [mishap, mishap]
    assert web.get(server.url + "/a").body == b"text"
    assert len(server.asked) == 3
    waits = [one for one in clock.slept if one > 0.01]
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2


def test_patience_ends(server, web, clock):
    server.script["/a"] = [answer(500)] * 6
    with pytest.raises(UnreachableError, match=r"500 Internal Server Error, 6 times in a row\. Run again later"):
        web.get(server.url + "/a")
    assert len(server.asked) == 6
    server.script["/b"] = [answer(429, Retry_After="7200")]
    with pytest.raises(UnreachableError, match=r"429 .* asks to wait for 7200 s"):
        web.get(server.url + "/b")
    assert server.methods("/b") == ["GET"]


def test_a_silent_server_is_given_up(server, clock):
    server.script["/a"] = [slow(0.5)] * 2
    with (
        Web(AGENT, 1000, 1, timeout_seconds=0.1, tries=2, pacer=Pacer(clock.clock())) as web,
        pytest.raises(UnreachableError, match="silent for too long, 2 times"),
    ):
        web.get(server.url + "/a")


def test_nobody_listens(web):
    with stand_in_web() as gone:
        pass
    with pytest.raises(UnreachableError, match=r"refused, 6 times"):
        web.get(gone.url + "/a")


def test_retry_after_is_obeyed_in_both_forms(server, web, clock):
    server.pages["/a"] = Page(b"text")
    date = formatdate(time.time() + 33, usegmt=True)  # the server's clock is right, ours is not
    server.script["/a"] = [answer(429, Retry_After="17"), answer(503, Retry_After=date)]
    assert web.get(server.url + "/a").body == b"text"
    assert 17 + 32 <= sum(clock.slept) <= 17 + 33 + 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "12"}, 12),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:27:20 GMT"}, 40),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 08:27:20 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 1445412480 - 1445412000),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "-5"}, 0),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers, Clock(wall=lambda: 1445412000.0)) == seconds


@given(st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text()))
def test_retry_after_raises_nothing(headers):
    assert retry_after(headers, Clock()) >= 0


def test_pauses_grow_to_a_cap():
    assert [back_off(n, lambda: 1.0) for n in (1, 2, 3, 9, 5000)] == [1, 2, 4, 60, 60]
    assert back_off(2, lambda: 0.0) == 1


def test_a_hook_reads_further_rate_limits(server, clock):
    server.pages["/a"] = Page(b"", headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "21.5"})
    seen = []

    def pause(got):
        seen.append(got.status)
        return float(got.headers.get("x-ratelimit-reset-after", 0))

    server.script["/a"] = [None, answer(429, b"{}", X_RateLimit_Reset_After="30")]
    with Web(AGENT, 1000, pause=pause, pacer=Pacer(clock.clock())) as web:
        web.get(server.url + "/a")
        assert sum(clock.slept) < 1
        web.get(server.url + "/a")
    assert seen == [200, 429, 200]
    assert 51.5 <= sum(clock.slept) <= 53


def test_rate_and_parallelism_hold_over_threads_and_clients(server):
    for path in "abcdefgh":
        server.pages[f"/{path}"] = Page(b"")
        server.script[f"/{path}"] = [slow(0.15)]
    pacer = Pacer()
    with Web(AGENT, 20, 2, pacer=pacer) as one, Web(AGENT, 20, 2, pacer=pacer) as two, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: (one, two)[n % 2].get(f"{server.url}/{'abcdefgh'[n]}"), range(8)))
    assert server.most_at_once == 2
    times = sorted(request.time for request in server.asked)
    assert times[-1] - times[0] >= 3 * 0.15
    begun = []

    def ask(_):
        with pacer.place("host", 20, 8):
            begun.append(time.monotonic())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    gaps = [after - before for before, after in pairwise(sorted(begun))]
    assert sum(gaps) >= 7 / 20 - 0.02 and sum(gap > 0.02 for gap in gaps) >= 5


def test_a_host_that_asks_for_time_is_left_alone_by_all(server, clock):
    server.pages["/a"] = server.pages["/b"] = Page(b"")
    server.script["/a"] = [answer(429, Retry_After="60")]
    pacer = Pacer(clock.clock())
    with Web(AGENT, 1000, tries=1, pacer=pacer) as one, Web(AGENT, 1000, pacer=pacer) as two:
        with pytest.raises(UnreachableError):
            one.get(server.url + "/a")
        assert sum(clock.slept) < 1
        two.get(server.url + "/b")
    assert sum(clock.slept) >= 60


def test_a_look_tells_size_and_marks(server, web):
    server.pages["/a"] = Page(BODY, etag='W/"x"')
    server.pages["/no-head"] = Page(BODY, head=False)
    server.pages["/empty"] = Page(b"", head=False)
    server.pages["/plain"] = Page(BODY, etag=None, modified=None, ranges=False)
    remote = web.look(server.url + "/a")
    assert (remote.size, remote.etag, remote.last_modified, remote.accepts_ranges) == (
        300_000,
        'W/"x"',
        "Tue, 14 Nov 2023 22:13:20 GMT",
        True,
    )
    assert server.methods() == ["HEAD"]
    remote = web.look(server.url + "/no-head")
    assert (remote.size, remote.etag, remote.accepts_ranges) == (300_000, '"1"', True)
    assert server.methods("/no-head") == ["HEAD", "GET"]
    assert web.look(server.url + "/empty").size == 0
    remote = web.look(server.url + "/plain")
    assert (remote.size, remote.etag, remote.last_modified, remote.accepts_ranges) == (300_000, None, None, False)
    with pytest.raises(NotThereError):
        web.look(server.url + "/missing")
    assert server.methods("/missing") == ["HEAD"]


def test_a_redirect_to_another_host_gets_no_secrets(server, web):
    with stand_in_web() as other:
        other.pages["/b"] = Page(b"text")
        server.pages["/c"] = Page(b"text")
        secret = {"Authorization": "Bot abc", "X-Api-Key": "def", "Accept": "text/plain"}
        server.script["/a"] = [answer(302, Location=other.url + "/b"), answer(307, Location="/c")]
        assert web.get(server.url + "/a", secret).body == b"text"
        assert other.asked[0].headers.keys().isdisjoint({"authorization", "x-api-key"})
        assert other.asked[0].headers["accept"] == "text/plain"
        assert web.get(server.url + "/a", secret).body == b"text"
        assert server.asked[-1].path == "/c" and server.asked[-1].headers["authorization"] == "Bot abc"


@pytest.mark.parametrize(
    ("target", "said"), [("/a", "more than 10 redirects"), ("ftp://x/", "only http"), ("http://[", "no URL")]
)
def test_redirects_that_lead_nowhere(server, web, target, said):
    server.script["/a"] = [answer(302, Location=target)] * 20
    with pytest.raises(WebError, match=said):
        web.get(server.url + "/a")


def test_a_download_has_every_byte(server, web, tmp_path):
    server.pages["/a"] = Page(BODY)
    told = []
    target = tmp_path / "new" / "a"
    expected = {"seen_size": 300_000, "expect_sha256": hashlib.sha256(BODY).hexdigest().upper(), "etag": '"1"'}
    assert web.download(server.url + "/a", target, **expected, progress=lambda *what: told.append(what)) == target
    assert target.read_bytes() == BODY
    assert told[-1] == (300_000, 300_000, "bytes")
    assert [one.name for one in target.parent.iterdir()] == ["a"]
    assert server.asked[0].headers["accept-encoding"] == "identity"
    web.download(server.url + "/a", target)
    assert len(server.asked) == 1, "what is there is not fetched again"


def test_a_file_cut_twice_is_continued(server, web, tmp_path):
    server.pages["/a"] = Page(BODY)
    server.script["/a"] = [cut(100_000), cut(50_000)]
    assert web.download(server.url + "/a", tmp_path / "a").read_bytes() == BODY
    ranges = [request.headers.get("range") for request in server.asked]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert server.asked[1].headers["if-range"] == '"1"'


def test_progress_renews_patience(server, clock, tmp_path):
    server.pages["/a"] = Page(BODY)
    server.script["/a"] = [cut(20_000)] * 14
    with Web(AGENT, 1000, tries=2, pacer=Pacer(clock.clock())) as web:
        assert web.download(server.url + "/a", tmp_path / "a").read_bytes() == BODY
    assert len(server.asked) == 15
    server.script["/b"] = [cut(0)] * 14
    server.pages["/b"] = Page(BODY)
    with Web(AGENT, 1000, tries=2, pacer=Pacer(clock.clock())) as web, pytest.raises(UnreachableError):
        web.download(server.url + "/b", tmp_path / "b")
    assert len(server.methods("/b")) == 2


@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', None])
def test_marks_of_all_strengths_resume_or_start_anew(server, web, tmp_path, etag):
    server.pages["/a"] = Page(BODY, etag=etag)
    server.script["/a"] = [cut(100_000)]
    assert web.download(server.url + "/a", tmp_path / "a").read_bytes() == BODY
    asked = server.asked[1].headers
    if etag == 'W/"1"':
        assert "range" not in asked, "a weak mark does not promise the same bytes"
    else:
        assert asked["if-range"] == (etag or "Tue, 14 Nov 2023 22:13:20 GMT")


@pytest.mark.parametrize("ranges", [True, False])
def test_a_copy_that_changes_meanwhile_starts_anew(server, web, tmp_path, ranges):
    server.pages["/a"] = Page(BODY, ranges=ranges)
    new = BODY[::-1] + b"more"

    def change(handler, page):
        server.pages["/a"] = Page(new, etag='"2"', ranges=ranges)
        handler.serve(server.pages["/a"])
        return True

    server.script["/a"] = [cut(100_000), change]
    assert web.download(server.url + "/a", tmp_path / "a").read_bytes() == new
    assert len(server.asked) == 2


def test_a_server_that_ignores_if_range_does_not_mix_copies(server, web, tmp_path):
    server.pages["/a"] = Page(BODY)
    new = BODY[::-1]
    span = "bytes 100000-299999/300000"
    server.script["/a"] = [cut(100_000), answer(206, new[100_000:], ETag='"2"', Content_Range=span)]
    server.script["/a"].append(answer(200, new, ETag='"2"'))
    assert web.download(server.url + "/a", tmp_path / "a").read_bytes() == new


def test_a_copy_that_has_shrunk_starts_anew(server, web, tmp_path):
    server.pages["/a"] = Page(BODY)
    server.script["/a"] = [cut(100_000), answer(416), answer(200, b"short")]
    assert web.download(server.url + "/a", tmp_path / "a").read_bytes() == b"short"
    assert "range" not in server.asked[2].headers


def test_without_ranges_a_cut_file_starts_anew(server, web, tmp_path):
    server.pages["/a"] = Page(BODY, ranges=False)
    server.script["/a"] = [cut(100_000)]
    assert web.download(server.url + "/a", tmp_path / "a").read_bytes() == BODY


def test_an_end_that_nobody_announced_is_noticed_by_size(server, web, tmp_path):
    server.pages["/a"] = Page(BODY, says_length=False)
    server.script["/a"] = [cut(100_000), cut(50_000)]
    assert web.download(server.url + "/a", tmp_path / "a", seen_size=300_000).read_bytes() == BODY
    assert [one.headers.get("range") for one in server.asked] == [None, "bytes=100000-", "bytes=150000-"]
    server.pages["/a"].ranges = False
    server.script["/a"] = [cut(100_000)] * 6
    with pytest.raises(UnreachableError, match=r"ended after 100000 of 300000 bytes, 6 times in a row"):
        web.download(server.url + "/a", tmp_path / "b", seen_size=300_000)
    server.script["/a"] = [cut(100_000)]
    assert web.download(server.url + "/a", tmp_path / "c").read_bytes() != BODY  # nothing told the size
    server.pages["/a"].says_length = True
    assert web.download(server.url + "/a", tmp_path / "d", seen_size=10).read_bytes() == BODY, "it tells now"


def test_what_is_not_as_expected_is_refused(server, web, tmp_path):
    server.pages["/a"] = Page(BODY)
    digest = hashlib.sha256(BODY).hexdigest()
    with pytest.raises(WrongContentError, match=f"sha256 {'0' * 64} was expected, {digest} came") as caught:
        web.download(server.url + "/a", tmp_path / "a", expect_sha256="0" * 64)
    assert server.url in str(caught.value)
    with pytest.raises(ChangedOnServerError, match=r'changed since .*"0", now "1"'):
        web.download(server.url + "/a", tmp_path / "a", etag='"0"')
    with pytest.raises(ChangedOnServerError, match=r"date Mon.*, now Tue"):
        web.download(server.url + "/a", tmp_path / "a", last_modified="Mon, 13 Nov 2023 22:13:20 GMT")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_beginning_is_fetched_once_more(server, web, tmp_path):
    """Somebody wrote into the partial file: the checksum shows it, and the whole file comes anew."""
    server.pages["/a"] = Page(BODY)
    server.script["/a"] = [cut(100_000), answer(404)]
    with pytest.raises(NotThereError):
        web.download(server.url + "/a", tmp_path / "a")
    with (tmp_path / "a.part").open("r+b") as file:
        file.write(b"damage")
    got = web.download(server.url + "/a", tmp_path / "a", expect_sha256=hashlib.sha256(BODY).hexdigest())
    assert got.read_bytes() == BODY
    assert [request.headers.get("range") for request in server.asked[2:]] == ["bytes=100000-", None]


def test_a_partial_file_of_another_address_is_not_continued(server, web, tmp_path):
    server.pages["/a"] = server.pages["/b"] = Page(BODY)
    server.script["/a"] = [cut(100_000), answer(404)]
    with pytest.raises(NotThereError):
        web.download(server.url + "/a", tmp_path / "x")
    assert web.download(server.url + "/b", tmp_path / "x").read_bytes() == BODY
    assert "range" not in server.asked[-1].headers


@pytest.mark.parametrize("text", ["", "{", "[]", '{"address": 1}', "null", "\udc80"])
def test_a_damaged_mark_starts_anew(server, web, tmp_path, text):
    server.pages["/a"] = Page(BODY)
    (tmp_path / "a.part").write_bytes(b"who knows")
    (tmp_path / "a.part.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert web.download(server.url + "/a", tmp_path / "a").read_bytes() == BODY


def test_killed_and_continued(server, web, tmp_path):
    server.pages["/a"] = Page(BODY)

    def stall(handler, page):
        handler.send_response(200)
        for name, value in {"ETag": '"1"', "Content-Length": str(len(BODY))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(BODY[:200_000])
        time.sleep(3)
        return True

    server.script["/a"] = [stall]
    code = (
        "import sys; from pathlib import Path; from data.web.client import Web\n"
        "Web('Tests/1.0').download(sys.argv[1], Path(sys.argv[2]))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, server.url + "/a", str(tmp_path / "a")])
    part = tmp_path / "a.part"
    until = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    kept = part.stat().st_size
    assert 100_000 < kept < len(BODY)
    assert web.download(server.url + "/a", tmp_path / "a").read_bytes() == BODY
    assert server.asked[-1].headers["range"] == f"bytes={kept}-"


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://user:pw@example.org/a?token=abc&b=c&abc#frag", "https://example.org/a?token=...&b=...&..."),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://x:99999/", "a URL that cannot be read"),
        ("http://x/a\nb", "http://x/ab"),
    ],
)
def test_addresses_are_shown_without_secrets(url, safe):
    assert shown(url) == safe


@given(st.text() | st.text().map(lambda text: f"http://{text}"))
def test_any_text_can_be_shown(url):
    assert shown(url).isprintable()


def test_no_secret_gets_out(server, web, caplog, tmp_path):
    secrets = ("hunter2", "t0ken", "Bot-s3cret")
    url = server.url.replace("http://", "http://user:hunter2@") + "/a?key=t0ken"
    headers = {"Authorization": "Bot-s3cret"}
    caplog.set_level(logging.DEBUG)
    said = []
    mishaps = [[answer(status)] * 6 for status in (401, 404, 500, 302)] + [[hang_up()] * 6, [cut(0)] * 6]
    server.pages["/a?key=t0ken"] = Page(BODY)
    for mishap in mishaps:
        server.script["/a?key=t0ken"] = mishap
        for call in (web.get, web.look, lambda url, headers: web.download(url, tmp_path / "a", headers=headers)):
            server.script["/a?key=t0ken"] = list(mishap)
            try:
                call(url, headers)
            except WebError as error:
                said += [str(error), repr(error), error.url, str(error.__cause__), repr(error.answer)]
    assert any("HTTP Request" in record.getMessage() for record in caplog.records)
    said += [record.getMessage() for record in caplog.records]
    assert not [text for text in said if any(secret in text for secret in secrets)]
    with pytest.raises(WebError, match="the header Authorization must be ASCII") as caught:
        web.get(server.url, {"Authorization": "Bot-s3cret\n"})
    assert "s3cret" not in str(caught.value)
    assert not [one for one in tmp_path.rglob("*") if b"t0ken" in one.read_bytes()]


@pytest.mark.parametrize("url", ["", "a", "ftp://x/y", "http://", "http:///a", "http://[", "http://x:99999/", "//x"])
def test_what_is_no_address_is_said(web, url):
    with pytest.raises(WebError, match=r"no URL|only http"):
        web.get(url)


def test_a_name_that_nobody_knows_is_no_reason_to_wait(web, clock, monkeypatch):
    import socket

    def unknown(*_args, **_more):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(WebError, match="no host of this name"):
        web.get("http://nowhere.invalid/")
    assert sum(clock.slept) < 1
