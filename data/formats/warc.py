"""Web archives (.warc): the pages and texts among their records, each read as a file of its own.

Records are taken one by one from the stream; what is no document (requests, pictures, redirects...) is counted and
named in one line. A record that cannot be read stops nothing as long as its length can be believed.
"""

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from data.formats.base import PAGE_BYTES, UNREADABLE, CannotReadError, File, Found, Reading, Tally
from data.formats.decompression import decompress
from data.formats.kinds import kind_of
from data.formats.reading import read_file
from data.sources.base import Problem

_LINE_BYTES = 65_536  # of a header
_HEADERS = 500  # of a record
_WITH_DOCUMENTS = ("response", "resource", "conversion")
_READERS = ("html", "text")  # of what a record may hold
Headers = Mapping[str, str]


def read_warc(file: File, reading: Reading, tally: Tally) -> Found:
    """A document's id is the file's name and `#n`, n being the number of its record, from 1, all of them counted."""
    passed_over: Counter[str] = Counter()
    stream = _Stream(file)
    number = 0
    try:
        for number, (headers, length) in enumerate(_records(stream), 1):
            kind = headers.get("warc-type", "no type")
            if kind not in _WITH_DOCUMENTS:
                passed_over[f"{kind} records"] += 1
            elif length > PAGE_BYTES:
                yield Problem("too_large", f"{file.name}#{number}", f"a record of {length} bytes")
            else:
                data = stream.take(length)
                if len(data) < length:
                    raise CannotReadError("cut", f"record {number} ends early")
                yield from _record(file, number, headers, data, passed_over, reading, tally)
                length = 0
            stream.skip(length)
    except UNREADABLE as error:
        yield Problem(error.what, f"{file.name}#{number + 1}", f"nothing after it can be read: {error.why}")
    if passed_over:
        why = ", ".join(f"{count} {what}" for what, count in sorted(passed_over.items()))
        yield Problem("ignored", file.name, f"passed over: {why}")


def _record(
    file: File,
    number: int,
    headers: Headers,
    data: bytes,
    passed_over: Counter[str],
    reading: Reading,
    tally: Tally,
) -> Found:
    """The documents of one record."""
    name = f"{file.name}#{number}"
    content_type = headers.get("content-type", "")
    if content_type.startswith("application/http"):
        status, sent, body = _http(data)
        if not 200 <= status < 300:
            passed_over[f"answers with status {status}"] += 1
            return
        content_type = sent.get("content-type", "")
        try:
            data = _plain(body, sent)
        except UNREADABLE as error:
            yield Problem(error.what, name, error.why)
            return
    kind = kind_of("", content_type)
    if kind is None and not content_type and data.lstrip()[:20].lower().startswith((b"<!doctype html", b"<html")):
        content_type = "text/html"
        kind = kind_of("", content_type)
    if kind is None or kind.reader not in _READERS:
        passed_over[f"of type {content_type.partition(';')[0].strip()[:80] or 'that is not said'}"] += 1
        return
    meta = {**file.meta, "fetched": headers["warc-date"]} if "warc-date" in headers else file.meta
    page = replace(
        file,
        name=name,
        kind_name="",
        chunks=lambda: [data],
        content_type=content_type,
        url=headers.get("warc-target-uri", "").strip("<>") or None,
        meta=meta,
        position={**file.position, "record": number},
        seekable=None,
    )
    yield from read_file(page, reading, tally)


def _records(stream: "_Stream") -> Iterator[tuple[Headers, int]]:
    """The headers of each record and the length of what follows, which must be taken before the next one."""
    while line := stream.line():
        if not line.strip():
            continue  # two of them end a record
        if not line.startswith(b"WARC/"):
            raise CannotReadError("broken", f"no record where one should begin: {line[:40]!r}")
        headers = _headers(stream)
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            raise CannotReadError("broken", f"a record whose length is {length[:40]!r}")
        yield headers, int(length)


def _headers(stream: "_Stream") -> dict[str, str]:
    headers: dict[str, str] = {}
    last = ""
    for _ in range(_HEADERS):
        line = stream.line()
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text:
            break
        if text[0] in " \t":  # a line that goes on
            if last:
                headers[last] += f" {text.strip()}"
            continue
        name, _, value = text.partition(":")
        last = name.strip().lower()
        headers.setdefault(last, value.strip())
    else:
        raise CannotReadError("broken", f"a record with over {_HEADERS} headers")
    return headers


class _Stream:
    """A stream of chunks, read in lines and lengths."""

    def __init__(self, file: File) -> None:
        self._chunks = iter(file.chunks())
        self._held = b""

    def _more(self) -> bool:
        chunk = next(self._chunks, b"")
        while not chunk:
            try:
                chunk = next(self._chunks)
            except StopIteration:
                return False
        self._held += chunk
        return True

    def line(self) -> bytes:
        """The next line with its end; empty at the end of the stream. Raises CannotReadError when it is too long."""
        while b"\n" not in self._held:
            if len(self._held) > _LINE_BYTES:
                raise CannotReadError("broken", f"a header over {_LINE_BYTES} bytes")
            if not self._more():
                break
        line, end, self._held = self._held.partition(b"\n")
        return line + end

    def take(self, length: int) -> bytes:
        """The next `length` bytes, or fewer if there are no more."""
        pieces = [self._held]
        size = len(self._held)
        self._held = b""
        while size < length and self._more():
            pieces.append(self._held)
            size += len(self._held)
            self._held = b""
        data = b"".join(pieces)
        self._held = data[length:]
        return data[:length]

    def skip(self, length: int) -> None:
        """Step over the next `length` bytes. Raises CannotReadError when there are fewer."""
        while length > len(self._held):
            length -= len(self._held)
            self._held = b""
            if not self._more():
                raise CannotReadError("cut", "the last record ends early")
        self._held = self._held[length:]


def _http(data: bytes) -> tuple[int, Headers, bytes]:
    """(status, headers, body) of an answer; 0 where its status cannot be read."""
    stream = _Stream(File("", lambda: [data]))
    try:
        first = stream.line().split()
        headers = _headers(stream)
    except CannotReadError:
        return 0, {}, b""
    status = int(first[1]) if len(first) > 1 and first[1].isdigit() and len(first[1]) == 3 else 0
    return status, headers, stream.take(len(data))


def _plain(body: bytes, headers: Headers) -> bytes:
    """The body without chunks and compression. Raises CannotReadError, CannotDecompressError."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _joined(body)
    coding = headers.get("content-encoding", "").lower().strip()
    if coding in ("gzip", "x-gzip"):
        return _bounded(decompress([body], ".gz")) if body.startswith(b"\x1f\x8b") else body
    if coding == "zstd":
        return _bounded(decompress([body], ".zst"))
    if coding == "deflate":
        return _inflated(body)
    if coding in ("", "identity", "none"):
        return body
    raise CannotReadError("unsupported", f"the page is packed as {coding[:40]!r}, which is not read")


def _bounded(chunks: Iterator[bytes]) -> bytes:
    held = b""
    for chunk in chunks:
        held += chunk
        if len(held) > PAGE_BYTES:
            raise CannotReadError("too_large", f"a page over {PAGE_BYTES} bytes")
    return held


def _inflated(body: bytes) -> bytes:
    for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS):  # with the header that is due, and without it
        try:
            inflating = zlib.decompressobj(window)
            data = inflating.decompress(body, PAGE_BYTES)
        except zlib.error:
            continue
        if inflating.unconsumed_tail:
            raise CannotReadError("too_large", f"a page over {PAGE_BYTES} bytes")
        return data
    raise CannotReadError("damaged", "the packed page is damaged")


def _joined(body: bytes) -> bytes:
    """The chunks of a body as one; the body as it is when it has none, since many archives leave the header alone."""
    pieces: list[bytes] = []
    at = 0
    while True:
        end = body.find(b"\n", at, at + 100)
        size = body[at:end].partition(b";")[0].strip()
        if end < 0 or not size or not all(digit in b"0123456789abcdefABCDEF" for digit in size):
            return body if not pieces else b"".join(pieces)
        length = int(size, 16)
        if length == 0:
            return b"".join(pieces)
        pieces.append(body[end + 1 : end + 1 + length])
        at = end + 1 + length
        at += 2 if body[at : at + 2] == b"\r\n" else 1
