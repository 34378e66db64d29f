"""Records that a look has parsed and that fetching would parse again, kept in memory while there is room."""

import threading


class Spare:
    """The records of the segments that were indexed last, by their digest, up to `limit` bytes in all."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: dict[str, list[bytes]] = {}
        self._size = 0
        self._lock = threading.Lock()

    def put(self, sha256: str, records: list[bytes]) -> None:
        """Keep a segment; older ones go to make room."""
        with self._lock:
            self._drop(sha256)
            self._held[sha256] = records
            self._size += sum(map(len, records))
            while self._size > self.limit:
                self._drop(next(iter(self._held)))

    def take(self, sha256: str) -> list[bytes] | None:
        """The records of the segment with this digest, which are kept no longer, or None."""
        with self._lock:
            return self._drop(sha256)

    def _drop(self, sha256: str) -> list[bytes] | None:
        records = self._held.pop(sha256, None)
        self._size -= sum(map(len, records or ()))
        return records
