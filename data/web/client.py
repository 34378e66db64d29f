"""A polite client for web servers: small answers, a look at what an address holds, and downloads that can be resumed.

Rate and parallelism hold per host over all threads of the process, and what a server says of waiting is obeyed. What
can pass (5xx, 408, 429, lost connections, cut bodies) is tried again, after growing pauses; all else stops at once.
Headers that a caller gives go to the host they were given for and to no other. Addresses with a password or a token
never get into errors or logs. Knows nothing of what it fetches.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from data.facts import Progress, no_progress
from data.web.download import Expected, download
from data.web.errors import (
    Answer,
    HideSecrets,
    MayPassError,
    RefusedError,
    TooLargeError,
    WebError,
    again_later,
    failure,
    is_address,
    may_pass,
)
from data.web.pacing import PACER, Pacer, back_off, retry_after
from data.web.transport import beginning, checked, may_know, network_errors, target_of

if TYPE_CHECKING:
    import httpx

ANSWER_BYTES = 32_000_000  # of a small answer, at most
LONGEST_WAIT = 900.0  # seconds; a server that asks for more is asked again by a later run
REDIRECTS = 10
_ERROR_BYTES = 65_536  # read of the body that explains an error
_REDIRECT = {301, 302, 303, 307, 308}
_HEAD_IN_VAIN = {400, 403, 405, 501}  # said by servers that know only GET
_OURS = {"range", "if-range", "accept-encoding", "accept", "if-none-match", "if-modified-since"}  # nobody's secrets

T = TypeVar("T")


@dataclass(frozen=True)
class Remote:
    """What an address holds now, as far as its server tells.

    url               after redirects; may hold secrets, so it is for asking again, not for showing
    etag              as it was sent, quotes and `W/` included
    last_modified     as it was sent
    content_encoding  of what `download` brings, where the server packs it without being asked to
    """

    url: str
    size: int | None
    etag: str | None
    last_modified: str | None
    accepts_ranges: bool
    content_type: str | None = None
    content_encoding: str | None = None


@dataclass
class Exchange:
    """An answer whose body has not been read yet."""

    answer: Answer
    response: "httpx.Response"

    def raw(self) -> Iterator[bytes]:
        """The body as it came over the wire."""
        return self.response.iter_raw()


class Web(AbstractContextManager["Web"]):
    """A client with its own connections; any number of threads may use it at once.

    user_agent           who asks, and how to reach them: "Name/1.0 (contact)"; servers block what does not tell
    requests_per_second  to one host, > 0
    parallel             requests to one host that are under way at once, >= 1
    timeout_seconds      how long a server may be silent
    tries                of one request, until it is given up; a download that got further starts counting anew
    pause                called with each answer (only errors with their body), returns the seconds for which its host
                         shall not be asked again, for servers with rate limit headers of their own
    """

    def __init__(
        self,
        user_agent: str,
        requests_per_second: float = 1.0,
        parallel: int = 1,
        timeout_seconds: float = 60.0,
        tries: int = 6,
        pause: Callable[[Answer], float] | None = None,
        pacer: Pacer = PACER,
    ) -> None:
        self._headers = checked("the client", {"User-Agent": user_agent})
        self._requests_per_second = requests_per_second
        self._parallel = parallel
        self._timeout_seconds = timeout_seconds
        self._tries = tries
        self._pause = pause
        self._pacer = pacer
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def get(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        limit_bytes: int = ANSWER_BYTES,
    ) -> Answer:
        """The whole of a small answer, decompressed: 2xx or 304.

        Raises NotThereError, RefusedError, TooLargeError, UnreachableError or another WebError.
        """

        def attempt() -> Answer:
            with self.exchange("GET", url, {"Accept-Encoding": "gzip, deflate", **(headers or {})}, params) as exchange:
                body = beginning(exchange.response, limit_bytes + 1)
                if len(body) > limit_bytes:
                    raise TooLargeError(url, f"the answer is larger than {limit_bytes} bytes.", exchange.answer)
                return Answer(exchange.answer.status, exchange.answer.headers, body)

        return self.persist(url, attempt)

    def look(self, url: str, headers: Mapping[str, str] | None = None) -> Remote:
        """What an address holds, by HEAD, or by a GET of one byte where the server knows no HEAD. Raises as `get`."""
        plain = {"Accept-Encoding": "identity", **(headers or {})}

        def attempt(method: str, more: Mapping[str, str]) -> Remote:
            with self.exchange(method, url, {**plain, **more}) as exchange:
                return _remote(exchange)

        try:
            return self.persist(url, lambda: attempt("HEAD", {}))
        except WebError as error:
            if error.status not in _HEAD_IN_VAIN:
                raise
        try:
            return self.persist(url, lambda: attempt("GET", {"Range": "bytes=0-0"}))
        except RefusedError as error:
            if error.status != 416:  # it is empty, so there is no first byte
                raise
            return self.persist(url, lambda: attempt("GET", {}))

    def download(
        self,
        url: str,
        into: Path,
        seen_size: int | None = None,
        expect_sha256: str | None = None,
        etag: str | None = None,
        last_modified: str | None = None,
        headers: Mapping[str, str] | None = None,
        progress: Progress = no_progress,
    ) -> Path:
        """Bring what an address holds into a new file, as it is stored there, continuing what an earlier call began.

        into           named after what is expected: a file that is there already is taken for the result
        seen_size      as `look` saw it; so much must come where the server sends without telling the length
        expect_sha256  hexadecimal, in either case
        etag, last_modified  as `look` saw them; where the server now tells others, it has another copy

        Raises ChangedOnServerError, WrongContentError, and as `get`; what came so far stays beside `into`.
        """
        expected = Expected(seen_size, expect_sha256 and expect_sha256.lower(), etag, last_modified)
        return download(self, url, into, expected, headers or {}, progress)

    @contextmanager
    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], params: Mapping[str, str] | None = None
    ) -> Iterator[Exchange]:
        """One try of a request: redirects followed, pace kept, errors raised; MayPassError for those that can pass."""
        import httpx

        headers = checked(url, headers)
        if not is_address(url):
            raise WebError(url, "this is no URL. Correct it.")
        try:
            address = httpx.URL(url) if params is None else httpx.URL(url).copy_merge_params(dict(params))
        except (httpx.InvalidURL, ValueError, TypeError) as error:
            raise WebError(url, "this is no URL. Correct it.") from error
        for _ in range(REDIRECTS + 1):
            if address.scheme not in ("http", "https") or not address.host:
                raise WebError(str(address), "only http:// and https:// addresses with a host are asked.")
            with self._pacer.place(address.netloc.decode(), self._requests_per_second, self._parallel):
                response = self._open().send(self._open().build_request(method, address, headers=headers), stream=True)
                try:
                    target = response.headers.get("location") if response.status_code in _REDIRECT else None
                    if target is None:
                        yield Exchange(self._judged(url, response), response)
                        return
                finally:
                    response.close()
            following = target_of(url, address, target)
            if not may_know(address, following):
                headers = {name: value for name, value in headers.items() if name.lower() in _OURS}
            address = following
        raise WebError(url, f"more than {REDIRECTS} redirects, one after the other.")

    def persist(self, url: str, attempt: Callable[[], T], got: Callable[[], int] = lambda: 0) -> T:
        """Try until it works, cannot work, or has failed too often in a row without `got` (bytes so far) growing."""
        failures = 0
        furthest = got()
        while True:
            try:
                with network_errors(url):
                    return attempt()
            except MayPassError as passing:
                failures = failures + 1 if got() <= furthest else 1
                furthest = max(furthest, got())
                if passing.wait > LONGEST_WAIT:
                    asked = f"{passing.wait:.0f} s, longer than the {LONGEST_WAIT:.0f} s that a run waits"
                    raise again_later(url, passing, f"and asks to wait for {asked}") from passing.__cause__
                if failures >= self._tries:
                    raise again_later(url, passing, f"{failures} times in a row") from passing.__cause__
                self._pacer.clock.sleep(max(passing.wait, back_off(failures)))

    def _judged(self, url: str, response: "httpx.Response") -> Answer:
        """The answer without its body, if it can be used; raises what it stands for otherwise."""
        headers = dict(response.headers)
        answer = Answer(response.status_code, headers)
        if response.is_success or response.status_code == 304:
            self._hold(response.url.netloc.decode(), answer)
            return answer
        answer = Answer(response.status_code, headers, beginning(response, _ERROR_BYTES))
        wait = self._hold(response.url.netloc.decode(), answer)
        error = failure(url, answer)
        if may_pass(response.status_code):
            wait = max(wait, retry_after(headers, self._pacer.clock))
            if wait <= LONGEST_WAIT:
                self._pacer.hold(response.url.netloc.decode(), wait)
            raise MayPassError(error, wait)
        raise error

    def _hold(self, host: str, answer: Answer) -> float:
        """Ask `pause` how long the host is to be left alone, and see to it; returns the seconds."""
        wait = 0.0 if self._pause is None else self._pause(answer)
        if 0 < wait <= LONGEST_WAIT:
            self._pacer.hold(host, wait)
        return wait

    def _open(self) -> "httpx.Client":
        import httpx

        with self._lock:
            if self._client is None:
                log = logging.getLogger("httpx")
                if not any(isinstance(one, HideSecrets) for one in log.filters):
                    log.addFilter(HideSecrets())
                self._client = httpx.Client(
                    headers=self._headers,
                    timeout=httpx.Timeout(self._timeout_seconds, pool=None),
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=2 * self._parallel),
                )
            return self._client

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()


def _remote(exchange: Exchange) -> Remote:
    headers = exchange.answer.headers
    partial = exchange.answer.status == 206
    size = headers.get("content-range", "").rpartition("/")[2] if partial else headers.get("content-length", "")
    return Remote(
        url=str(exchange.response.url),
        size=int(size) if size.isascii() and size.isdecimal() else None,
        etag=headers.get("etag") or None,
        last_modified=headers.get("last-modified") or None,
        accepts_ranges=partial or headers.get("accept-ranges", "").strip().lower() == "bytes",
        content_type=headers.get("content-type") or None,
        content_encoding=headers.get("content-encoding") or None,
    )
