"""A MediaWiki API over real HTTP on the loopback, with as much of `action=query` as the source and wikipedia-api use.

Bodies have the shapes of recorded ones (format version 1). `fail` queues answers to be given instead, in order.
"""

import gzip
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Article:
    """A page; `edits` are its extracts, oldest first. One with a `redirect` is a redirect to that title."""

    page_id: int
    title: str
    edits: list[str] = field(default_factory=lambda: ["Some text."])
    ns: int = 0
    categories: tuple[str, ...] = ()
    redirect: str | None = None
    is_disambiguation: bool = False

    @property
    def revision(self):
        return self.page_id * 1000 + len(self.edits)


class Wiki(ThreadingHTTPServer):
    """Use as a context manager; `api` is its address."""

    daemon_threads = True

    def __init__(self, *articles, members_at_once=500):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.articles = {article.page_id: article for article in articles}
        self.members_at_once = members_at_once
        self.requests = []  # the parameters of each, as they came
        self.agents = set()
        self.failures = []
        self.most_at_once = self._at_once = 0
        self.before_fetch = lambda: None  # called when somebody asks for an extract
        self._lock = threading.Lock()

    @property
    def api(self):
        return f"http://127.0.0.1:{self.server_port}/w/api.php"

    def put(self, *articles):
        for article in articles:
            self.articles[article.page_id] = article

    def by_title(self, title):
        return next((one for one in self.articles.values() if one.title == title), None)

    def fail(self, status=200, body=b"", headers=(), seconds=0.0):
        """Answer the next request like this; a dict as body is sent as JSON; status 0 cuts the connection."""
        self.failures.append((status, body, dict(headers), seconds))

    def fetched(self):
        """Ids of the pages whose text was asked for, in order."""
        return [params["pageids"] for params in self.requests if "extracts" in params.get("prop", "")]

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def enter(self, change):
        with self._lock:
            self._at_once += change
            self.most_at_once = max(self.most_at_once, self._at_once)

    def handle_error(self, *_):
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body go out one after the other, without waiting in between

    def do_GET(self):
        wiki = self.server
        wiki.enter(1)
        self.inside = True
        try:
            url = urlsplit(self.path)
            params = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
            wiki.requests.append(params)
            wiki.agents.add(self.headers["User-Agent"])
            if wiki.failures:
                self.misbehave(*wiki.failures.pop(0))
            elif len(self.path) > 8000:
                self.answer(414, b"<html>URI too long</html>", {"Content-Type": "text/html"})
            elif url.path != "/w/api.php" or params.get("action") != "query" or params.get("format") != "json":
                self.answer(404, b"<html>not here</html>", {"Content-Type": "text/html"})
            else:
                if "extracts" in params.get("prop", ""):
                    wiki.before_fetch()
                self.answer(200, query(wiki, params))
        finally:
            self.leave()

    def leave(self):
        """Count this request no more: whoever has the answer may ask again before this thread goes on."""
        self.server.enter(-self.inside)
        self.inside = False

    def misbehave(self, status, body, headers, seconds):
        time.sleep(seconds)
        if status == 0:
            self.leave()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            self.close_connection = True
            return
        self.answer(status, body, headers)

    def answer(self, status, body, headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        data = gzip.compress(data) if "gzip" in self.headers.get("Accept-Encoding", "") else data
        (self.send_response_only if "Date" in dict(headers) else self.send_response)(status)
        for name, value in {"Content-Type": "application/json; charset=utf-8", **dict(headers)}.items():
            self.send_header(name, value)
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(data)))
        self.leave()
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Tests print nothing."""


def query(wiki, params):
    """The answer to one query."""
    if params.get("list") == "categorymembers":
        members, more = _members(wiki, params, "cm")
        return _answer({"categorymembers": [_stub(one) for one in members]}, more)
    if params.get("meta") == "siteinfo":
        return _answer({"general": {"sitename": "Stand-in"}})
    if params.get("generator") == "categorymembers":
        members, more = _members(wiki, params, "gcm")
        found, redirects = {}, []
        for one in members:
            if one.redirect and "redirects" in params:
                redirects.append({"from": one.title, "to": one.redirect})
                one = wiki.by_title(one.redirect)
            found[str(one.page_id)] = _page(wiki, one, params)
        said = {"redirects": redirects} if redirects else {}
        return _answer({**said, "pages": found} if found else None, more)
    return _titles(wiki, params)


def _answer(said, more=None):
    answer = {"batchcomplete": ""}
    if more:
        answer["continue"] = more
    return answer | ({"query": said} if said is not None else {})


def _stub(article):
    return {"pageid": article.page_id, "ns": article.ns, "title": article.title}


def _members(wiki, params, prefix):
    types = params.get(f"{prefix}type", "page|subcat").split("|")
    title = params[f"{prefix}title"]
    begin = int(params.get(f"{prefix}continue", "0"))
    every = [
        one
        for one in wiki.articles.values()
        if title in one.categories and ("subcat" if one.ns == 14 else "page") in types
    ]
    at_once = min(wiki.members_at_once, int(params.get(f"{prefix}limit", 10)))
    end = begin + at_once
    more = {f"{prefix}continue": str(end), "continue": f"{prefix}continue||"} if end < len(every) else None
    return every[begin:end], more


def _titles(wiki, params):
    said = {}
    found = {}
    if "pageids" in params:
        for number, page_id in enumerate(params["pageids"].split("|"), 1):
            article = wiki.articles.get(int(page_id))
            key = str(article.page_id) if article else str(-number)
            found[key] = _page(wiki, article, params) if article else {"pageid": int(page_id), "missing": ""}
        return _answer({"pages": found})
    titles = params["titles"].split("|")
    if len(titles) > 50:
        return {"error": {"code": "toomanyvalues", "info": "Too many values supplied for parameter titles."}}
    lost = 0
    for asked in titles:
        title = asked.replace("_", " ").partition("#")[0].strip()
        title = title[:1].upper() + title[1:]
        if any(char in "<>[]{}" for char in title):
            lost -= 1
            found[str(lost)] = {
                "title": asked,
                "invalidreason": "The title contains invalid characters.",
                "invalid": "",
            }
            continue
        if title.startswith("De:"):
            said.setdefault("interwiki", []).append({"title": title, "iw": "de"})
            continue
        if title != asked:
            said.setdefault("normalized", []).append({"from": asked, "to": title})
        article = wiki.by_title(title)
        if article and article.redirect and "redirects" in params:
            said.setdefault("redirects", []).append({"from": title, "to": article.redirect})
            title = article.redirect
            article = wiki.by_title(title)
        if article is None:
            lost -= 1
            flag = {"special": "", "ns": -1} if title.startswith("Special:") else {"missing": "", "ns": 0}
            found[str(lost)] = {"title": title, **flag}
        else:
            found[str(article.page_id)] = _page(wiki, article, params)
    return _answer({**said, "pages": found} if found else said)


def _page(wiki, article, params):
    props = params.get("prop", "").split("|")
    page = _stub(article)
    text = article.edits[-1]
    if "info" in props:
        page |= {"touched": "2026-01-01T00:00:00Z", "lastrevid": article.revision, "length": 3 * len(text.encode())}
        page["contentmodel"] = "wikitext"
        if "url" in params.get("inprop", ""):
            page["canonicalurl"] = f"https://wiki.test/wiki/{article.title.replace(' ', '_')}"
    if "extracts" in props:
        page["extract"] = text
    if "revisions" in props:
        page["revisions"] = [
            {"revid": article.revision, "parentid": 0, "timestamp": f"2026-01-{len(article.edits):02}T00:00:00Z"}
        ]
    if "pageprops" in props and article.is_disambiguation:
        page["pageprops"] = {"disambiguation": ""}
    if "categories" in props:
        wanted = params.get("clcategories", "|".join(article.categories)).split("|")
        if listed := [{"ns": 14, "title": title} for title in article.categories if title in wanted]:
            page["categories"] = listed
    return page
