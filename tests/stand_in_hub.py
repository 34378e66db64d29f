"""A dataset hub on the loopback, for real clients over real HTTP: the endpoints that the public one has for datasets.

Commits, branches, large files with sha256 and small ones with git's ids, pages of listings, parts of files, redirects
to a storage host; and what goes wrong: cut answers, 429, 5xx, closed doors, a proxy that serves old content. Every
request is kept, so that a test can count.
"""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE_BYTES = 1_000  # from this size on a file is kept as a large one, by its sha256
PAGE = 1_000  # entries of a listing in one answer


def git_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def content_id(data):
    return hashlib.sha256(data).hexdigest() if len(data) >= LARGE_BYTES else git_id(data)


@dataclass
class Request:
    method: str
    path: str
    range: str | None
    authorization: str | None
    sent: int = 0  # bytes of the answer's body


@dataclass
class Failure:
    """What shall happen to the next `times` requests whose path matches.

    status  answered instead; None: the answer is cut after `after` bytes of its body
    """

    pattern: str
    times: int = 1
    status: int | None = None
    headers: dict = field(default_factory=dict)
    after: int = 0
    body: bytes = b"{}"


class Dataset:
    """A repository: files by branch, every commit kept. `token` closes it; `gated` to those without that token."""

    def __init__(self, name):
        self.name = name
        self.commits = {}  # sha -> {path: (data, sha of the commit that last touched it)}
        self.branches = {}
        self.token = None
        self.gated = False
        self.stale = {}  # path -> other bytes that are served in place of a file's

    def push(self, files, removed=(), branch="main"):
        """A commit with these files added or changed; returns its name. None of them: an empty commit."""
        before = self.commits.get(self.branches.get(branch), {})
        sha = hashlib.sha1(f"{self.name}{branch}{len(self.commits)}".encode()).hexdigest()
        after = {path: held for path, held in before.items() if path not in removed}
        for path, data in files.items():
            if before.get(path, (None,))[0] != data:
                after[path] = (data, sha)
        self.commits[sha] = after
        self.branches[branch] = sha
        return sha

    def at(self, revision):
        sha = self.branches.get(revision, revision)
        return (sha, self.commits[sha]) if sha in self.commits else (None, {})


class StandInHub:
    """The server. `redirects` sends the bytes of large files from another port, as the public hub does."""

    def __init__(self, redirects=False, page=PAGE):
        self.datasets = {}
        self.requests = []
        self.failures = []
        self.page = page
        self.aliases = {}  # former name -> name, answered by a redirect
        self.ignores_ranges = False
        self.reversed = False  # listings come in another order
        self.closed = False
        self._lock = threading.Lock()
        self._servers = [self._serve() for _ in range(2 if redirects else 1)]
        self.endpoint = f"http://127.0.0.1:{self._servers[0].server_port}"
        self.storage = f"http://127.0.0.1:{self._servers[-1].server_port}" if redirects else None

    def _serve(self):
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def dataset(self, name):
        return self.datasets.setdefault(name, Dataset(name))

    def close(self):
        self.closed = True
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def count(self, pattern=""):
        """How many requests had a path that matches."""
        return sum(bool(re.search(pattern, one.path)) for one in self.requests)

    def sent(self, pattern=""):
        """Bytes of all bodies sent for paths that match."""
        return sum(one.sent for one in self.requests if re.search(pattern, one.path))

    def forget(self):
        self.requests.clear()

    def fail(self, pattern, **how):
        self.failures.append(Failure(pattern, **how))

    def take_failure(self, path):
        with self._lock:
            for failure in self.failures:
                if failure.times and re.search(failure.pattern, path):
                    failure.times -= 1
                    return failure
        return None


@contextmanager
def stand_in_hub(**settings):
    hub = StandInHub(**settings)
    try:
        yield hub
    finally:
        hub.close()


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._handle()

    def do_HEAD(self):
        self._handle()

    def do_POST(self):
        self._handle()

    def _handle(self):
        if self.hub.closed:  # on a connection that was open before
            self.close_connection = True
            return None
        path = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.request = Request(self.command, path.path, self.headers.get("Range"), self.headers.get("Authorization"))
        self.hub.requests.append(self.request)
        self.cut = None
        if failure := self.hub.take_failure(path.path):
            if failure.status is not None:
                return self._send(failure.status, failure.body, failure.headers)
            self.cut = failure.after
        for old, new in self.hub.aliases.items():
            if f"/{old}/" in path.path:
                return self._send(307, b"", {"Location": self.path.replace(f"/{old}/", f"/{new}/")})
        name = r"(?P<name>[^/]+(?:/[^/]+)??)"
        routes = (
            (rf"/api/datasets/{name}/tree/(?P<rev>[^/]+)(?:/(?P<path>[^/]+))?", self._tree),
            (rf"/api/datasets/{name}/revision/(?P<rev>[^/]+)", self._info),
            (rf"/api/datasets/{name}/paths-info/(?P<rev>[^/]+)", self._paths_info),
            (rf"/api/datasets/{name}", self._info),
            (rf"/datasets/{name}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", self._file),
            (r"/storage/(?P<oid>\w+)", self._storage),
        )
        for pattern, answer in routes:
            if found := re.fullmatch(pattern, path.path):
                parts = {what: unquote(value) for what, value in found.groupdict().items() if value is not None}
                return answer(parse_qs(path.query), body, **parts)
        return self._send(404, b"{}")

    def _open(self, name, file=False):
        """The dataset, if the asker may see it; else the answer is sent. A gated one shows what files it has."""
        dataset = self.hub.datasets.get(name)
        given = (self.request.authorization or "").removeprefix("Bearer ")
        if dataset is not None and (dataset.token in (None, given) or (dataset.gated and not file)):
            return dataset
        if dataset is not None and dataset.gated:
            self._send(403 if given else 401, b'{"error":"gated"}', {"X-Error-Code": "GatedRepo"})
        else:
            self._send(401, b'{"error":"Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        return None

    def _info(self, query, body, name, rev="main"):
        if dataset := self._open(name):
            sha, files = dataset.at(rev)
            if sha is None:
                return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            siblings = [{"rfilename": path} for path in files]
            self._json({"id": name, "sha": sha, "private": dataset.token is not None, "siblings": siblings})
        return None

    def _tree(self, query, body, name, rev, path=""):
        if (dataset := self._open(name)) is None:
            return
        sha, files = dataset.at(rev)
        below = {one: held for one, held in files.items() if not path or one.startswith(f"{path}/")}
        if sha is None or (path and not below):
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound" if sha else "RevisionNotFound"})
            return
        entries = [self._entry(one, *below[one], query.get("expand") == ["true"]) for one in sorted(below)]
        entries += [{"type": "directory", "path": one, "oid": "0" * 40, "size": 0} for one in _folders(below)]
        entries = entries[::-1] if self.hub.reversed else entries
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + self.hub.page < len(entries):
            following = f"{self.hub.endpoint}{urlsplit(self.path).path}?recursive=true&cursor={start + self.hub.page}"
            headers["Link"] = f'<{following}>; rel="next"'
        self._json(entries[start : start + self.hub.page], headers)

    def _paths_info(self, query, body, name, rev):
        if dataset := self._open(name):
            asked = parse_qs(body.decode())
            _, files = dataset.at(rev)
            expand = asked.get("expand") == ["true"]
            self._json([self._entry(path, *files[path], expand) for path in asked["paths"] if path in files])

    def _entry(self, path, data, commit, expand):
        entry = {"type": "file", "path": path, "size": len(data), "oid": git_id(data)}
        if len(data) >= LARGE_BYTES:
            entry["lfs"] = {"oid": content_id(data), "size": len(data), "pointerSize": 134}
        if expand:
            entry["lastCommit"] = {"id": commit, "title": "a commit", "date": "2024-01-01T00:00:00.000Z"}
        return entry

    def _file(self, query, body, name, rev, path):
        if (dataset := self._open(name, file=True)) is None:
            return
        sha, files = dataset.at(rev)
        if path not in files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", **({"X-Repo-Commit": sha} if sha else {})})
            return
        data = dataset.stale.get(path, files[path][0])
        headers = {"ETag": f'"{content_id(data)}"', "X-Repo-Commit": sha}
        if self.hub.storage and len(data) >= LARGE_BYTES:
            headers |= {"X-Linked-Etag": headers.pop("ETag"), "X-Linked-Size": str(len(data))}
            self._send(302, b"", {**headers, "Location": f"{self.hub.storage}/storage/{content_id(data)}"})
            return
        self._bytes(data, headers)

    def _storage(self, query, body, oid):
        held = (
            data for one in self.hub.datasets.values() for files in one.commits.values() for data, _ in files.values()
        )
        stale = (data for one in self.hub.datasets.values() for data in one.stale.values())
        data = next(data for data in (*held, *stale) if content_id(data) == oid)
        self._bytes(data, {"ETag": '"of-the-storage"'})

    def _bytes(self, data, headers):
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.request.range or "")
        if asked and not self.hub.ignores_ranges:
            start, end = int(asked[1]), min(int(asked[2]) + 1, len(data))
            self._send(206, data[start:end], {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})
        else:
            self._send(200, data, {**headers, "Accept-Ranges": "bytes"})

    def _json(self, value, headers=None):
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = body if self.cut is None else body[: self.cut]
        self.request.sent = len(sent)
        self.wfile.write(sent)
        if self.cut is not None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.close()


def _folders(paths):
    return sorted({path[:at] for path in paths for at in range(len(path)) if path[at] == "/"})
