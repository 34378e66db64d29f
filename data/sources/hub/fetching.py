"""Fetching items of a dataset on the hub: each into a file of the slot's work folder, gone on with where it stopped.

From there they go into the slot, so a killed fetch loses nothing but what was under way, and several items come at
once though the slot has them in order. A whole file is checked against the content that its fingerprint names; a part
of one is served from the commit that the look pinned, and checked by its reader.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

from data.facts import Progress
from data.sources.base import SlotItem, SourceError
from data.sources.hub.client import Hub, HubFile
from data.sources.hub.items import PART, file_of, read_footer
from data.sources.hub.parquet_pieces import DamagedParquetError, Span, header_of, parse_footer, spans_of
from data.sources.pack import CHUNK, ChangedSinceLookError, EarlierPacks, PackWriter

GAP_BYTES = 1 << 20  # between two ranges that are asked for as one: as long as a request takes, so much would come
_ITEMS_AT_ONCE = 4
_LINE_BYTES = 1 << 16  # asked for at a time to find the end of a line
_PROGRESS_SECONDS = 0.2


def fetch_items(
    hub: Hub,
    items: Sequence[SlotItem],
    columns: Sequence[str],
    pack: PackWriter,
    work: Path,
    progress: Progress,
    earlier: Sequence[Path],
) -> int:
    """Bring the items into the slot, in their order; returns how many were not taken from slots fetched earlier."""
    work.mkdir(parents=True, exist_ok=True)
    packs = EarlierPacks(earlier)
    meter = _Meter(sum(item.size for item in items), progress)
    known = {item.native_id for item in items if packs.chunks(item) is not None}
    pool = ThreadPoolExecutor(_ITEMS_AT_ONCE)
    try:
        coming = {
            item.native_id: pool.submit(copy_context().run, _Coming(hub, item, columns, work, meter).bring)
            for item in items
            if item.native_id not in known
        }
        for item in items:
            if item.native_id in known:
                chunks: Iterable[bytes] = packs.chunks(item) or ()
                meter.add(item.size)
            else:
                chunks = coming[item.native_id].result()()
            pack.add(item, chunks, check=False)
    finally:
        meter.stop()
        pool.shutdown(wait=True, cancel_futures=True)
    return len(coming)


class _Meter:
    """Adds up the bytes that several threads get. `stop` makes what is under way end at its next chunk."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._told = time.monotonic()
        self._lock = threading.Lock()
        self.stopped = False

    def add(self, size: int) -> None:
        """Count bytes, and tell of them a few times a second."""
        with self._lock:
            self._done += size
            if time.monotonic() - self._told > _PROGRESS_SECONDS:
                self._told = time.monotonic()
                self._progress(self._done, max(self._total, self._done), "bytes")

    def stop(self) -> None:
        self.stopped = True
        self._progress(self._done, max(self._total, self._done), "bytes")


class _Coming:
    """One item on its way into a file of the work folder."""

    def __init__(self, hub: Hub, item: SlotItem, columns: Sequence[str], work: Path, meter: _Meter) -> None:
        self._hub = hub
        self._item = item
        self._part = item.meta[PART]
        self._file: HubFile = file_of(item)
        self._columns = columns
        self._meter = meter
        name = hashlib.sha256(f"{item.native_id}\0{item.fingerprint}".encode()).hexdigest()[:24]
        self._path = work / f"{name}.part"

    def bring(self) -> Callable[[], Iterator[bytes]]:
        """Have all of it; returns what reads it from its beginning."""
        if "groups" in self._part:
            return self._bring_groups()
        if "bytes" in self._part:
            return self._bring_lines()
        for _ in range(2):  # what was gone on with and is wrong is fetched once more
            self._append(self._hub.read(self._file, self._have(), resumes=True))
            if (found := self._digest()) == self._file.oid:
                return self._read
            self._path.unlink()
        raise ChangedSinceLookError(
            f"{self._item.native_id}: content {self._file.oid[:12]} was listed, {found[:12]} came, "
            f"{self._file.size} bytes each. Run again; if it stays so, something between here and the hub alters files."
        )

    def _have(self) -> int:
        """Bytes that are there already."""
        have = self._path.stat().st_size if self._path.exists() else 0
        self._meter.add(have)
        return have

    def _append(self, chunks: Iterable[bytes]) -> None:
        with self._path.open("ab") as file:
            for chunk in chunks:
                file.write(chunk)
                self._meter.add(len(chunk))
                if self._meter.stopped:
                    raise SourceError("The fetch of another item failed.")

    def _read(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def _digest(self) -> str:
        if self._file.sha256:
            return _hex(hashlib.sha256(), self._read())
        return _hex(hashlib.sha1(b"blob %d\0" % self._file.size, usedforsecurity=False), self._read())  # as git has it

    def _bring_groups(self) -> Callable[[], Iterator[bytes]]:
        try:
            footer = read_footer(self._hub, self._file)
            groups = (int(self._part["groups"][0]), int(self._part["groups"][1]))
            spans = spans_of(parse_footer(footer), groups, self._columns, self._file.size)
        except DamagedParquetError as error:
            raise ChangedSinceLookError(f"{self._item.native_id} was fine when looked at; now {error}.") from error
        header = header_of(self._file.size, groups, spans, len(footer))
        self._append(_from_spans(self._hub, self._file, spans, self._have()))

        def whole() -> Iterator[bytes]:
            yield header
            yield from self._read()
            yield footer

        return whole

    def _bring_lines(self) -> Callable[[], Iterator[bytes]]:
        """The lines that begin in the item's bytes; fetched with the byte before, which ends a line or does not."""
        start, end = self._part["bytes"]
        begin = max(0, start - 1)
        have = self._have()
        if have < end - begin:
            self._append(self._hub.read(self._file, begin + have, end))
        while (stop := self._line_end(end - 1 - begin)) is None:
            at = begin + self._path.stat().st_size
            if at >= self._file.size:
                stop = self._file.size - begin
                break
            self._append(self._hub.read(self._file, at, min(self._file.size, at + _LINE_BYTES)))
        first = 0 if start == 0 else self._line_end(0)
        return lambda: self._slice(stop if first is None else first, stop)

    def _line_end(self, at: int) -> int | None:
        """Where the first line that ends at `at` or later ends, line feed included; None if it goes on."""
        with self._path.open("rb") as file:
            file.seek(at)
            while chunk := file.read(CHUNK):
                if (found := chunk.find(b"\n")) >= 0:
                    return at + found + 1
                at += len(chunk)
        return None

    def _slice(self, start: int, end: int) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(start)
            left = max(0, end - start)
            while left and (chunk := file.read(min(left, CHUNK))):
                left -= len(chunk)
                yield chunk


def _from_spans(hub: Hub, file: HubFile, spans: Sequence[Span], skip: int) -> Iterator[bytes]:
    """The bytes of the spans, all but the first `skip`; spans that lie close together come in one request."""
    left = []
    for start, size in spans:
        dropped = min(skip, size)
        skip -= dropped
        if size > dropped:
            left.append((start + dropped, start + size))
    while left:
        together = 1
        while together < len(left) and left[together][0] - left[together - 1][1] <= GAP_BYTES:
            together += 1
        yield from _wanted(hub.read(file, left[0][0], left[together - 1][1]), left[:together])
        left = left[together:]


def _wanted(chunks: Iterable[bytes], parts: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """What lies in the parts, of chunks that begin where the first part does and end where the last does."""
    at = parts[0][0]
    for chunk in chunks:
        for start, end in parts:
            piece = chunk[max(0, start - at) : max(0, end - at)]
            if piece:
                yield piece
        at += len(chunk)


def _hex(digest: "hashlib._Hash", chunks: Iterable[bytes]) -> str:
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
