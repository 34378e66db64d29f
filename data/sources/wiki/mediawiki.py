"""A MediaWiki API, asked politely: one request at a time, at a given rate, and slower whenever the server asks for it.

The client is wikipedia-api's own, with the endpoint as a setting, every query of the API at hand, and the answers as
they came. What a query means, and what is done with a page, is not known here.
"""

import os
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import wikipediaapi

from data.sources.base import SourceError
from data.web.pacing import PACER, back_off, retry_after

TRIES = 6  # of one request
TRIES_OF_NO_JSON = 2  # a page of HTML is rarely more than a wrong address
TIMEOUT = 60.0  # seconds without a byte
LONGEST_WAIT = 900.0  # seconds; a server that asks for more is left alone
MAX_LAG = 5  # seconds that the wiki's database copies may be behind, before it says that it is busy
ANSWER_BYTES = 64_000_000  # of one answer, decompressed; MediaWiki itself stops at 8 MB
_BUSY = ("maxlag", "ratelimited", "readonly", "internal_api_error")  # beginnings of error codes that may pass


class WikiError(SourceError):
    """A wiki that cannot be asked: not reachable, too busy for too long, or not a wiki."""


class QueryError(WikiError):
    """An answer that says that this very query is wrong; another one may be answered. `code` is the wiki's word."""

    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Answer:
    """What a wiki said: the body as it came, and the JSON object in it."""

    body: bytes
    value: dict[str, Any]


class MediaWiki(wikipediaapi.SyncHTTPClient):  # type: ignore[misc]  # the library is not typed
    """One wiki. Use one object per thread; the rate holds for all of them together."""

    def __init__(self, language: str, endpoint: str | None, user_agent: str, requests_per_second: float) -> None:
        self.url = endpoint or self._build_url(language)
        self._host = urlsplit(self.url).netloc
        self._rate = requests_per_second
        self._transport = _Transport(self.url)
        super().__init__(
            user_agent, language, max_retries=0, transport=self._transport, timeout=TIMEOUT, headers={"Accept": "*/*"}
        )
        self.requests = 0

    def close(self) -> None:
        self._client.close()

    def pause(self) -> None:
        """Let the wiki's database copies catch up before the next request."""
        PACER.hold(self._host, MAX_LAG)

    def query(self, **params: str | int) -> Answer:
        """One request `action=query`, repeated while the wiki is busy or the network fails.

        Raises QueryError when the wiki refuses the query, WikiError when it cannot be asked.
        """
        asked = {"action": "query", "format": "json", "utf8": 1, "maxlag": MAX_LAG, **params}
        failures = 0
        while True:
            failures += 1
            with PACER.place(self._host, self._rate, parallel=1):
                self.requests += 1
                answer, why, tries = self._once(asked)
            if answer is not None:
                return answer
            wait = retry_after(self._transport.headers, PACER.clock) or back_off(failures)
            if failures >= tries:
                raise WikiError(f"{self.url}: {why}, {failures} times in a row. Run again later.")
            if wait > LONGEST_WAIT:
                raise WikiError(f"{self.url}: {why}, and it asks to wait {wait:.0f} s. Run again after that.")
            PACER.hold(self._host, wait)

    def answers(self, **params: str | int) -> Iterator[dict[str, Any]]:
        """The JSON objects of a query and of all its continuations."""
        more: dict[str, str | int] = {}
        while True:
            value = self.query(**{**params, **more}).value
            yield value
            following = value.get("continue")
            if not following:
                return
            if not isinstance(following, dict) or following == more:
                raise WikiError(f"{self.url}: the listing goes round in a circle at {following!r}. Run again later.")
            more = following

    def _once(self, params: dict[str, str | int]) -> tuple[Answer | None, str, int]:
        """One request: its answer, or None, why it failed, and how often that is tried. Raises what cannot pass."""
        self._transport.forget()
        try:
            value: Any = self._get(self.language, params)
        except wikipediaapi.WikiInvalidJsonError:
            begin = self._transport.body[:60].decode("utf-8", "replace")
            return (
                None,
                f"the answer is no JSON, it begins with {begin!r}: is this the address of an api.php?",
                TRIES_OF_NO_JSON,
            )
        except wikipediaapi.WikiRateLimitError:
            return None, "the server answers 429 Too Many Requests", TRIES
        except wikipediaapi.WikiHttpError as error:
            if error.status_code < 500 and error.status_code not in (408, 425):
                raise WikiError(f"{self.url} answers {error.status_code}. {_remedy(error.status_code)}") from error
            return None, f"the server answers {error.status_code}", TRIES
        except wikipediaapi.WikiHttpTimeoutError:
            return None, f"no answer within {TIMEOUT:g} s", TRIES
        except wikipediaapi.WikiConnectionError as error:
            return None, f"the connection failed ({error.__cause__ or error})", TRIES
        except RecursionError:
            return None, "the answer is nested too deeply", TRIES_OF_NO_JSON
        if not isinstance(value, dict):
            return None, f"the answer is JSON, but a {type(value).__name__} where an object should be", TRIES_OF_NO_JSON
        if "error" not in value:
            return Answer(self._transport.body, value), "", 0
        said = value["error"] if isinstance(value["error"], dict) else {}
        code, info = str(said.get("code", "unknown")), str(said.get("info", value["error"]))
        if code.startswith(_BUSY):
            return None, f"the wiki is busy ({code}: {info})", TRIES
        raise QueryError(f"{self.url} refuses a query ({code}: {info}).", code)


class _Transport(httpx.HTTPTransport):
    """httpx's own transport, to the address that is set, with bounded answers; the last one is kept."""

    def __init__(self, url: str) -> None:
        super().__init__(proxy=_proxy(url))
        self._address = httpx.URL(url)
        self.forget()

    def forget(self) -> None:
        self.body = b""
        self.headers: dict[str, str] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = self._address.copy_with(query=request.url.query)
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
        sent = httpx.Request(request.method, url, headers=headers, extensions=request.extensions)
        response = super().handle_request(sent)
        body = bytearray()
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES:
                    raise WikiError(f"{self._address.host} sent an answer of more than {ANSWER_BYTES} bytes.")
        finally:
            response.close()
        self.body = bytes(body)
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        kept = [(n, v) for n, v in response.headers.raw if n.lower() not in (b"content-encoding", b"content-length")]
        return httpx.Response(response.status_code, headers=kept, content=self.body)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address; httpx asks it only where it makes its own transport."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme) or os.environ.get("ALL_PROXY")


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "The wiki does not let this client in: check `user_agent`, which must say who asks and how to reach you."
    if status in (404, 410) or status < 400:
        return "Correct `language` or `endpoint`, the address of the wiki's api.php."
    return "Check `language`, `endpoint` and the titles."
