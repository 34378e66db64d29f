"""Records that a look has parsed and that fetching would parse again: kept in memory, then in a temporary file."""

import tempfile
import threading
from typing import IO


class Spare:
    """The records of the segments that were indexed last, by their digest.

    limit       bytes of them in memory, and of a single segment; what is older goes into a temporary file
    file_limit  bytes of that file; when it is full, or cannot be written, what is in it goes
    """

    def __init__(self, limit: int, file_limit: int = 0) -> None:
        self.limit = limit
        self.file_limit = file_limit
        self._held: dict[str, list[bytes]] = {}
        self._size = 0
        self._file: IO[bytes] | None = None
        self._stored: dict[str, tuple[int, int]] = {}  # digest -> place in the file, bytes
        self._end = 0
        self._lock = threading.Lock()

    def put(self, sha256: str, records: list[bytes]) -> None:
        """Keep a segment; older ones make room."""
        with self._lock:
            self._drop(sha256)
            self._held[sha256] = records
            self._size += sum(map(len, records))
            while self._size > self.limit:
                oldest = next(iter(self._held))
                self._store(oldest, b"".join(self._drop(oldest) or ()))

    def take(self, sha256: str) -> list[bytes] | None:
        """The records of the segment with this digest, which are kept no longer, or None."""
        with self._lock:
            held = self._drop(sha256)
            place = self._stored.pop(sha256, None)
            if held is not None or place is None or self._file is None:
                return held
            try:
                self._file.seek(place[0])
                records = self._file.read(place[1])
            except OSError:
                return None
            if not self._stored:
                self._empty()
            return [records] if len(records) == place[1] else None

    def _drop(self, sha256: str) -> list[bytes] | None:
        records = self._held.pop(sha256, None)
        self._size -= sum(map(len, records or ()))
        return records

    def _store(self, sha256: str, records: bytes) -> None:
        if len(records) > self.file_limit or sha256 in self._stored:
            return
        if self._end + len(records) > self.file_limit:
            self._empty()
        try:
            self._file = self._file or tempfile.TemporaryFile(prefix="textmill-")  # noqa: SIM115
            self._file.seek(self._end)
            self._file.write(records)
            self._file.flush()
        except OSError:
            self._empty()
            return
        self._stored[sha256] = (self._end, len(records))
        self._end += len(records)

    def _empty(self) -> None:
        self._stored.clear()
        self._end = 0
        if self._file is not None:
            self._file.close()
            self._file = None
