"""Downloads that can be killed anywhere and continued by the next call: a partial file, and beside it whose copy it is.

`x` comes in as `x.part`; `x.part.json` says by which mark of the server (ETag or date) the rest can be asked for. When
the server has another copy by then, or knows no ranges, the file starts anew. Knows nothing of connections and pace.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from data.facts import Progress
from data.files import sync_file, sync_folder, write_durably
from data.web.errors import (
    Answer,
    ChangedOnServerError,
    MayPassError,
    RefusedError,
    UnreachableError,
    WrongContentError,
)

_PROGRESS_SECONDS = 0.2
_CHUNK = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it comes; None where nothing is. Size in bytes and marks as a look saw them.

    The size counts only where the server sends without telling another: some count otherwise when merely looked at.
    """

    size: int | None = None
    sha256: str | None = None
    etag: str | None = None
    last_modified: str | None = None


class _Exchange(Protocol):
    @property
    def answer(self) -> Answer: ...

    def raw(self) -> Iterator[bytes]: ...


class _Client(Protocol):
    """What is needed of data.web.client.Web."""

    def exchange(self, method: str, url: str, headers: Mapping[str, str]) -> AbstractContextManager[_Exchange]: ...

    def persist(self, url: str, attempt: Callable[[], T], got: Callable[[], int] = ...) -> T: ...


@dataclass(frozen=True)
class _Mark:
    """Whose copy a partial file is of: `address` is a digest of the URL, `size` that of the whole file, if known."""

    address: str
    etag: str | None
    last_modified: str | None
    size: int | None

    def validator(self) -> str | None:
        """What If-Range may hold: a strong ETag, or the date."""
        if self.etag:
            return None if self.etag.startswith("W/") else self.etag
        return self.last_modified


def download(
    client: _Client, url: str, into: Path, expected: Expected, headers: Mapping[str, str], progress: Progress
) -> Path:
    """See `Web.download`."""
    if into.exists():
        return into
    into.parent.mkdir(parents=True, exist_ok=True)
    coming = _Coming(client, url, into, expected, headers, progress)
    for _ in range(2):  # what was continued and is wrong is fetched once more, as a whole
        continued = coming.position() > 0
        client.persist(url, coming.attempt, coming.position)
        wrong = coming.what_is_wrong()
        if not wrong:
            return coming.finish()
        coming.forget()
        if not continued:
            break
    raise WrongContentError(url, f"{wrong}. Correct what the settings expect, or look at what the address holds.")


class _Coming:
    """One file on its way."""

    def __init__(
        self,
        client: _Client,
        url: str,
        into: Path,
        expected: Expected,
        headers: Mapping[str, str],
        progress: Progress,
    ) -> None:
        self._client = client
        self._url = url
        self._into = into
        self._expected = expected
        self._headers = {**headers, "Accept-Encoding": "identity"}
        self._progress = progress
        self._address = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        self._part = into.with_name(f"{into.name}.part")
        self._mark_file = into.with_name(f"{into.name}.part.json")
        self._told = 0.0

    def position(self) -> int:
        """Bytes that are there and can be continued."""
        mark = self._mark()
        if mark is None or not (mark.validator() or self._expected.sha256):
            return 0
        try:
            return self._part.stat().st_size
        except OSError:
            return 0

    def attempt(self) -> None:
        """One request, for the whole file or what is missing of it. Returns when all of it is there."""
        mark, start = self._mark(), self.position()
        if mark is not None and start and start == mark.size:
            return  # killed between the last byte and the check
        ask = {}
        if start and mark is not None:
            ask = {"Range": f"bytes={start}-"}
            if validator := mark.validator():
                ask["If-Range"] = validator
        try:
            with self._client.exchange("GET", self._url, {**self._headers, **ask}) as exchange:
                now, begins = self._copy(exchange.answer)
                if begins and (begins != start or not _same_copy(mark, now)):
                    self.forget()
                    raise MayPassError(UnreachableError(self._url, "the server sent another part than was asked for"))
                if not begins:
                    self._part.write_bytes(b"")
                    write_durably(self._mark_file, json.dumps(asdict(now)))
                self._receive(exchange, begins, now.size)
        except RefusedError as error:
            if error.status != 416 or not start:
                raise
            self.forget()  # the file has become shorter than what came of it
            raise MayPassError(UnreachableError(self._url, "the server has no such part", error.answer)) from error

    def _copy(self, answer: Answer) -> tuple[_Mark, int]:
        """Which copy the server sends, and from which byte on. Raises when it is not the one expected."""
        headers = answer.headers
        begins, size = 0, headers.get("content-length", "")
        if answer.status == 206:
            span, _, size = headers.get("content-range", "").removeprefix("bytes").strip().partition("/")
            first = span.partition("-")[0]
            if not _is_number(first):
                raise UnreachableError(self._url, "the server sends a part without saying which. Run again.", answer)
            begins = int(first)
        elif answer.status != 200:
            raise UnreachableError(self._url, f"the server answers {answer.status} without a file. Run again.", answer)
        now = _Mark(
            self._address,
            headers.get("etag") or None,
            headers.get("last-modified") or None,
            int(size) if _is_number(size) else self._expected.size,
        )
        seen = self._expected
        pairs = (("ETag", seen.etag, now.etag), ("date", seen.last_modified, now.last_modified))
        for what, then, today in pairs:
            if then and today:
                if then.removeprefix("W/") != today.removeprefix("W/"):
                    raise ChangedOnServerError(
                        self._url, f"it changed since it was looked at ({what} {then}, now {today}). Run again.", answer
                    )
                break  # an ETag that agrees settles it
        return now, begins

    def _receive(self, exchange: _Exchange, begins: int, size: int | None) -> None:
        with self._part.open("r+b") as file:
            file.truncate(begins)
            file.seek(begins)
            done = begins
            for chunk in exchange.raw():
                file.write(chunk)
                done += len(chunk)
                self._tell(done, size)
        if size is not None and done < size:
            raise MayPassError(UnreachableError(self._url, f"the connection ended after {done} of {size} bytes"))

    def _tell(self, done: int, size: int | None) -> None:
        if time.monotonic() - self._told > _PROGRESS_SECONDS:
            self._told = time.monotonic()
            self._progress(done, size or 0, "bytes")

    def what_is_wrong(self) -> str:
        """Why what is there is not what was expected; empty if it is."""
        if self._expected.sha256 is None:
            return ""
        with self._part.open("rb") as file:
            digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
        if digest == self._expected.sha256:
            return ""
        return f"sha256 {self._expected.sha256} was expected, {digest} came ({size} bytes)"

    def forget(self) -> None:
        """Begin anew at the next attempt."""
        self._mark_file.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)

    def finish(self) -> Path:
        """Give the file its name, for good."""
        size = self._part.stat().st_size
        sync_file(self._part)
        os.replace(self._part, self._into)
        sync_folder(self._into.parent)
        self._mark_file.unlink(missing_ok=True)
        self._progress(size, size, "bytes")
        return self._into

    def _mark(self) -> _Mark | None:
        """The mark beside the partial file, if it is of this address."""
        with suppress(OSError, ValueError, TypeError):
            mark = _Mark(**json.loads(self._mark_file.read_text(encoding="utf-8")))
            return mark if mark.address == self._address else None
        return None


def _same_copy(before: _Mark | None, now: _Mark) -> bool:
    """Whether a part belongs to the copy whose beginning is there."""
    if before is None:
        return False
    pairs = ((before.etag, now.etag), (before.last_modified, now.last_modified), (before.size, now.size))
    return all(old is None or new is None or old == new for old, new in pairs)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
