"""What can go wrong on the way to a web server: errors that name address, status and remedy, and never a secret.

An address is shown without user name, password, query values and fragment. Knows nothing of connections.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from data.sources.base import SourceError

_CAN_PASS = {408, 425, 429}  # besides 5xx
_CANNOT_PASS = {501, 505}  # among 5xx


@dataclass(frozen=True)
class Answer:
    """A server's answer. Header names are in lower case; `body` may be empty where nobody asked for it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


class WebError(SourceError):
    """A request that failed for good. `status` is None when there was no answer; `answer` has the body's beginning."""

    def __init__(self, url: str, why: str, answer: Answer | None = None) -> None:
        super().__init__(f"{shown(url)}: {why}")
        self.url = shown(url)
        self.answer = answer
        self.status = None if answer is None else answer.status


class NotThereError(WebError):
    """404 or 410: there is nothing at this address."""


class RefusedError(WebError):
    """Another 4xx: the server understood, and will not."""


class UnreachableError(WebError):
    """What could have passed did not: errors of the server or the network, time and again."""


class TooLargeError(WebError):
    """An answer larger than it may be."""


class ChangedOnServerError(WebError):
    """The server's copy is no longer the one that was looked at."""


class WrongContentError(WebError):
    """What came does not have the checksum that was expected."""


class MayPassError(Exception):
    """A failure worth another try. `error` is raised when there is none; `wait` is what the server asks, in seconds."""

    def __init__(self, error: WebError, wait: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait


def shown(url: str) -> str:
    """A URL as errors, logs and manifests may have it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "a URL that cannot be read"
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    pairs = [pair.partition("=") for pair in parts.query.split("&")] if parts.query else []
    query = "&".join(f"{name}{sign}..." if sign else "..." for name, sign, _ in pairs)
    text = f"{parts.scheme}://{place}{parts.path}" + (f"?{query}" if query else "")
    return "".join(char if char.isprintable() else "?" for char in text)


def is_address(url: str) -> bool:
    """Whether this can be read as a URL at all."""
    try:
        urlsplit(url).port  # noqa: B018
    except ValueError:
        return False
    return True


def may_pass(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in _CAN_PASS or (status >= 500 and status not in _CANNOT_PASS)


def failure(url: str, answer: Answer) -> WebError:
    """The error that an answer of 400 or more, or one that nobody can use, stands for."""
    said = f"{answer.status} {_phrase(answer.status)}".strip()
    if may_pass(answer.status):
        return UnreachableError(url, f"the server answers {said}", answer)
    if answer.status in (404, 410):
        return NotThereError(url, f"{said}. Correct the address, or take it out of the settings.", answer)
    remedies = {
        401: "It wants to know who asks: check the secret.",
        403: "It does not let this client in: check the secret, the user agent, and whether its terms allow this.",
        407: "The proxy wants to know who asks: check the proxy's settings.",
        451: "It may not give this out where you are.",
    }
    remedy = remedies.get(answer.status, "Open the address in a browser to see why.")
    return RefusedError(url, f"the server answers {said}. {remedy}", answer)


def again_later(url: str, passing: MayPassError, how: str) -> UnreachableError:
    """What to raise when there is no further try."""
    why = str(passing.error).removeprefix(f"{passing.error.url}: ")
    return UnreachableError(url, f"{why}, {how}. Run again later; what has come is kept.", passing.error.answer)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


class HideSecrets(logging.Filter):
    """Keeps what an address may hold of secrets out of httpx's own log lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(shown(str(one)) if type(one).__name__ == "URL" else one for one in record.args)
        return True
