"""A web server on the loopback for tests: pages with marks and ranges, and a script of mishaps for each address."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What an address holds. With `ranges` False it is always sent as a whole."""

    body: bytes
    etag: str | None = '"1"'
    modified: float | None = 1_700_000_000.0
    ranges: bool = True
    kind: str = "text/plain; charset=utf-8"
    head: bool = True  # whether HEAD is answered
    says_length: bool = True
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """What was asked: header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    time: float


Mishap = Callable[["Handler", Page | None], bool]
"""Plays itself on the request at hand; returns whether the request has been answered."""


def answer(status: int, body: bytes = b"", **headers: str) -> Mishap:
    """Answer with this and nothing else; `_` in header names stands for `-`."""

    def play(handler: "Handler", _page: Page | None) -> bool:
        handler.reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
        return True

    return play


def cut(after: int) -> Mishap:
    """Close the connection after so many bytes of the body."""

    def play(handler: "Handler", page: Page | None) -> bool:
        handler.cut_after = after
        return False

    return play


def slow(seconds: float) -> Mishap:
    """Answer late."""

    def play(_handler: "Handler", _page: Page | None) -> bool:
        time.sleep(seconds)
        return False

    return play


def hang_up() -> Mishap:
    """Close the connection without a word."""

    def play(handler: "Handler", _page: Page | None) -> bool:
        handler.close_connection = True
        return True

    return play


class StandIn:
    """`pages` by path; `script[path]` is played one by one, first for the first request; `asked` is what came in."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.script: defaultdict[str, list[Mishap | None]] = defaultdict(list)
        self.asked: list[Request] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.url = ""

    def methods(self, path: str | None = None) -> list[str]:
        return [one.method for one in self.asked if path in (None, one.path)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn
    cut_after: int | None = None

    def leave(self) -> None:
        """Count this request no more among those that are worked on at once."""
        with self.stand_in.lock:
            self.stand_in.at_once -= self.inside
            self.inside = False

    def do_GET(self) -> None:
        state = self.stand_in
        headers = {name.lower(): value for name, value in self.headers.items()}
        with state.lock:
            state.asked.append(Request(self.command, self.path, headers, time.monotonic()))
            state.at_once += 1
            self.inside = True
            state.most_at_once = max(state.most_at_once, state.at_once)
            script = state.script[self.path]
            mishap = script.pop(0) if script else None
        try:
            self.cut_after = None
            page = state.pages.get(self.path)
            answered = mishap is not None and mishap(self, page)
            self.leave()  # whoever has the answer may ask again before this thread goes on
            if not answered:
                self.serve(page)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.leave()

    do_HEAD = do_GET  # noqa: N815

    def serve(self, page: Page | None) -> None:
        if page is None:
            return self.reply(404, {}, b"not here")
        if self.command == "HEAD" and not page.head:
            return self.reply(405, {}, b"")
        marks = dict(page.headers)
        if page.etag:
            marks["ETag"] = page.etag
        if page.modified is not None:
            marks["Last-Modified"] = formatdate(page.modified, usegmt=True)
        marks["Content-Type"] = page.kind
        if page.ranges:
            marks["Accept-Ranges"] = "bytes"
        if page.etag and self.headers.get("If-None-Match") == page.etag:
            return self.reply(304, marks, b"")
        wanted = self.headers.get("Range") if page.ranges else None
        condition = self.headers.get("If-Range")
        if wanted and (condition is None or condition in (page.etag, marks.get("Last-Modified"))):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(page.body)), len(page.body) - 1)
            if start >= len(page.body):
                return self.reply(416, {"Content-Range": f"bytes */{len(page.body)}"}, b"")
            span = {"Content-Range": f"bytes {start}-{end}/{len(page.body)}"}
            return self.reply(206, marks | span, page.body[start : end + 1])
        return self.reply(200, marks, page.body, page.says_length)

    def reply(self, status: int, headers: dict[str, str], body: bytes, says_length: bool = True) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if says_length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD" or status == 304:
            return
        if self.cut_after is not None:
            self.close_connection = True
            body = body[: self.cut_after]
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def stand_in_web() -> Iterator[StandIn]:
    """A running server; its `url` has no slash at the end."""
    state = StandIn()
    handler = type("OneHandler", (Handler,), {"stand_in": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
