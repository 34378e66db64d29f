"""Items that lie on web servers: fingerprints from what a server tells, and bringing the items of a slot here.

A fingerprint spells out its mark (`etag:"abc"`), so that a fetch can tell whether the server still has that copy.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data.facts import Facts, Progress, no_progress
from data.sources.base import SlotItem, SourceError
from data.sources.pack import CHUNK, EarlierPacks, PackWriter
from data.web.client import Remote, Web

UNTOLD_BYTES = 250_000  # what a file counts as when its server tells no length: a large page, a small book
_ETAG, _DATE, _SHA256, _SIZE = "etag:", "date:", "sha256:", "size:"


@dataclass(frozen=True)
class Marks:
    """What a fingerprint says of a copy; None where it does not."""

    sha256: str | None = None
    etag: str | None = None
    last_modified: str | None = None


def fingerprint(remote: Remote, sha256: str | None = None) -> str:
    """By the surest mark there is: the checksum that was asked for, ETag, date with size, size alone."""
    if sha256:
        return f"{_SHA256}{sha256.lower()}"
    if remote.etag:
        return f"{_ETAG}{remote.etag}"
    size = f"{_SIZE}{'unknown' if remote.size is None else remote.size}"
    return f"{_DATE}{remote.last_modified} {size}" if remote.last_modified else size


def marks(mark: str) -> Marks:
    """What `fingerprint` was made of."""
    if mark.startswith(_SHA256):
        return Marks(sha256=mark.removeprefix(_SHA256))
    if mark.startswith(_ETAG):
        return Marks(etag=mark.removeprefix(_ETAG))
    if mark.startswith(_DATE):
        return Marks(last_modified=mark.removeprefix(_DATE).rpartition(f" {_SIZE}")[0])
    return Marks()


def size_of(remote: Remote) -> int:
    """Bytes that a file counts in slots and caps: its length, or an estimate where the server does not tell."""
    return UNTOLD_BYTES if remote.size is None else remote.size


def is_sure(mark: str) -> bool:
    """Whether a change of the copy always changes its fingerprint."""
    return not mark.startswith(_SIZE)


Bring = Callable[[SlotItem, Path, Progress], object]
"""Called as bring(item, into, progress): brings the bytes of an item into a new file, or continues to."""


def fetch_items(
    bring: Bring,
    items: Sequence[SlotItem],
    out: Path,
    work: Path,
    progress: Progress = no_progress,
    earlier: Sequence[Path] = (),
    parallel: int = 1,
) -> Facts:
    """Fetch the items of a slot as `SourceConfig.fetch` says, up to `parallel` at once; what is complete stays in
    `work` until all of them are. The first that fails ends the others.
    """
    kept = EarlierPacks(earlier)
    wanted = [item for item in items if kept.chunks(item) is None]
    total = sum(item.size for item in items)
    meter = _Meter(total - sum(item.size for item in wanted), total, progress)
    pool = ThreadPoolExecutor(parallel)
    try:
        coming = {  # each in a copy of this context, by which progress finds the run that it belongs to
            pool.submit(copy_context().run, bring, item, _place(work, item), partial(meter.tell, item)): item
            for item in wanted
        }
        for one in as_completed(coming):
            one.result()
            meter.tell(coming[one], coming[one].size, 0, "bytes")
    finally:
        meter.stopped = True
        pool.shutdown(wait=True, cancel_futures=True)
    with PackWriter(out, total, progress) as pack:
        for item in items:
            chunks = kept.chunks(item)
            pack.add(item, _chunks_of(_place(work, item)) if chunks is None else chunks, check=False)
    return Facts(counts={"items": pack.items, "bytes": pack.bytes})


class _Meter:
    """Adds up what several threads bring, for the progress of their slot. `stopped` ends each at its next word."""

    def __init__(self, done: int, total: int, progress: Progress) -> None:
        self.stopped = False
        self._done: float = done
        self._total = total
        self._progress = progress
        self._of: dict[str, float] = {}
        self._lock = threading.Lock()

    def tell(self, item: SlotItem, done: float, _size: float, unit: str) -> None:
        """Take the progress of one item."""
        if self.stopped:
            raise SourceError("The fetch of another item failed.")
        with self._lock:
            self._done += done - self._of.get(item.native_id, 0)
            self._of[item.native_id] = done
            self._progress(self._done, max(self._done, self._total), unit)


def bring_from_web(
    web: Web, address: str, item: SlotItem, into: Path, progress: Progress, headers: dict[str, str] | None = None
) -> None:
    """Download an item that was seen at an address. Raises WebError when that copy is not there any more."""
    known = marks(item.fingerprint)
    web.download(
        address,
        into,
        seen_size=None if item.size == UNTOLD_BYTES else item.size,
        expect_sha256=known.sha256,
        etag=known.etag,
        last_modified=known.last_modified,
        headers=headers,
        progress=progress,
    )


def _place(work: Path, item: SlotItem) -> Path:
    """Where an item lies until its slot is written; another copy of it lies elsewhere."""
    return work / hashlib.sha256(f"{item.native_id}\n{item.fingerprint}".encode()).hexdigest()[:32]


def _chunks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
