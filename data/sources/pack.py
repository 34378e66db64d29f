"""A fetched slot on disk: `content.bin` holds the items' bytes one after the other, as they came, `items.jsonl` says
which bytes are whose. Both are written and read as streams; what the bytes mean is the source's matter.
"""

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from data.facts import Progress, no_progress
from data.sources.base import SlotItem, SourceError
from data.sources.identity import item_record

ITEMS_FILE = "items.jsonl"
CONTENT_FILE = "content.bin"
CHUNK = 1 << 20  # bytes read at a time
_PROGRESS_SECONDS = 0.2
_text = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class ChangedSinceLookError(SourceError):
    """An item that is not, or no longer, what the look saw."""


class DamagedPackError(SourceError):
    """A fetched slot that cannot be read back."""


class PackWriter(AbstractContextManager["PackWriter"]):
    """Writes a slot item by item into the folder `out`; both files are there even when there is no item.

    `progress` gets (bytes written, `total`, "bytes") a few times a second; `earlier` gives the slots that items may
    have been taken from, which is asked only of items that are not what they should be.
    """

    def __init__(
        self,
        out: Path,
        total: int = 0,
        progress: Progress = no_progress,
        earlier: "Callable[[], EarlierPacks] | None" = None,
    ) -> None:
        self._total = total
        self._earlier = earlier
        self._progress = progress
        self._told = time.monotonic()
        self._content = (out / CONTENT_FILE).open("wb")
        self._items = (out / ITEMS_FILE).open("w", encoding="ascii", newline="\n")
        self.items = 0
        self.bytes = 0

    def add(self, item: SlotItem, chunks: Iterable[bytes], check: bool = True, sifted: bool = False) -> None:
        """Append an item's bytes; `sifted` says that documents were taken out of them, as they were forgotten.

        `check` compares them with the item's fingerprint, which then must be a `content_fingerprint`; without it
        (upstream's own marks) only the bytes' number is noted. Raises ChangedSinceLookError when they differ.
        """
        digest = hashlib.sha256()
        size = 0
        for chunk in chunks:
            self._content.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            if time.monotonic() - self._told > _PROGRESS_SECONDS:
                self._told = time.monotonic()
                self._progress(self.bytes + size, self._total, "bytes")
        if check and digest.hexdigest() != item.fingerprint and self._earlier:
            sifted = self._earlier().sifted(item) == digest.hexdigest()
        if check and digest.hexdigest() != item.fingerprint and not sifted:
            raise ChangedSinceLookError(
                f"{item.native_id} changed while this run was reading it: {item.size} bytes with digest "
                f"{item.fingerprint[:12]} were seen, {size} bytes with digest {digest.hexdigest()[:12]} were read. "
                "Run again when it is no longer being written."
            )
        record = item_record(item) | {"bytes": size, "offset": self.bytes}
        if sifted:
            record["sifted"] = digest.hexdigest()
        self._items.write(_text(record) + "\n")
        self.items += 1
        self.bytes += size

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._content.close()
        self._items.close()
        if kind is None:
            self._progress(self.bytes, self._total, "bytes")


@dataclass(frozen=True)
class PackedItem(SlotItem):
    """An item of a fetched slot; its `size` bytes begin at byte `offset` of content.bin.

    sifted  sha256 of these bytes where forgotten documents were taken out of them, so that they differ from upstream's
    """

    offset: int = 0
    sifted: str | None = None


def read_items(raw: Path) -> Iterator[PackedItem]:
    """The items of the slot in folder `raw`, in slot order. Raises DamagedPackError."""
    path = raw / ITEMS_FILE
    try:
        lines = path.open("rb")
    except OSError as error:
        raise DamagedPackError(f"{path} cannot be opened ({error.strerror}). {_REMEDY}") from error
    with lines:
        for number, line in enumerate(lines, 1):
            try:
                item = _packed(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise DamagedPackError(f"{path}, line {number} cannot be read ({error!r}). {_REMEDY}") from error
            yield item


_REMEDY = "Delete that folder: the next run fetches the slot again."


def _packed(record: dict[str, Any]) -> PackedItem:
    return PackedItem(
        native_id=str(record["native_id"]),
        fingerprint=str(record["fingerprint"]),
        size=int(record["bytes"]),
        url=record.get("url"),
        created=record.get("created"),
        meta=record.get("meta", {}),
        look=int(record["look"]),
        offset=int(record["offset"]),
        sifted=record.get("sifted"),
    )


class PackReader(AbstractContextManager["PackReader"]):
    """Reads the bytes of single items of the slot in folder `raw`."""

    def __init__(self, raw: Path) -> None:
        self._path = raw / CONTENT_FILE
        try:
            self._content: BinaryIO = self._path.open("rb")
        except OSError as error:
            raise DamagedPackError(f"{self._path} cannot be opened ({error.strerror}). {_REMEDY}") from error
        self._size = self._content.seek(0, io.SEEK_END)

    def chunks(self, item: PackedItem) -> Iterator[bytes]:
        """The bytes of `item`, at most `CHUNK` at a time; ask for one item after the other, not for two at once."""
        self._check(item)
        self._content.seek(item.offset)
        left = item.size
        while left and (chunk := self._content.read(min(left, CHUNK))):
            left -= len(chunk)
            yield chunk

    def _check(self, item: PackedItem) -> None:
        if item.offset < 0 or item.size < 0 or item.offset + item.size > self._size:
            raise DamagedPackError(
                f"{self._path} has {self._size} bytes, but {item.native_id} should lie at bytes {item.offset} to "
                f"{item.offset + item.size}. {_REMEDY}"
            )

    def open(self, item: PackedItem) -> BinaryIO:
        """The bytes of `item` as a file to be read at random, with a place of its own in them."""
        self._check(item)
        return io.BufferedReader(_Part(self._path, item.offset, item.size), CHUNK >> 4)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._content.close()


class _Part(io.RawIOBase):
    """A part of a file, as a file that can only be read."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._start = start
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(22, "Invalid argument")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._at))
        self._file.seek(self._start + self._at)
        count = self._file.readinto(memoryview(buffer)[:wanted]) or 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class EarlierPacks:
    """Slots fetched before, as a place to take unchanged items from."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._places: dict[tuple[str, str], tuple[Path, PackedItem]] = {}
        for folder in folders:
            for item in read_items(folder):
                self._places[item.native_id, item.fingerprint] = (folder, item)

    def chunks(self, item: SlotItem) -> Iterator[bytes] | None:
        """The bytes of `item` as they were fetched earlier, or None when no slot has it with this fingerprint."""
        place = self._places.get((item.native_id, item.fingerprint))
        return None if place is None else _chunks_of(*place)

    def find(self, item: SlotItem) -> PackedItem | None:
        """`item` as it was fetched earlier, or None when no slot has it with this fingerprint."""
        place = self._places.get((item.native_id, item.fingerprint))
        return None if place is None else place[1]

    def sifted(self, item: SlotItem) -> str | None:
        """The digest of these bytes where they lack documents that were forgotten."""
        place = self._places.get((item.native_id, item.fingerprint))
        return None if place is None else place[1].sifted


def _chunks_of(folder: Path, item: PackedItem) -> Iterator[bytes]:
    with PackReader(folder) as reader:
        yield from reader.chunks(item)


def content_bytes(raw: Path) -> int:
    """Size of what a fetched slot holds; 0 where it has no content file."""
    path = raw / CONTENT_FILE
    return path.stat().st_size if path.exists() else 0
