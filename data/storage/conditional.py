"""Writing an object only if it is as it was seen: what publishing and compare-and-swap rest on.

Servers that know conditional writes (`If-None-Match: *`, `If-Match: ETAG`) decide that themselves. Whether one does is
tried once a process, as some ignore the condition without a word. For those that do not, a write has two phases. First
the writer puts a claim of its own beside the object and lists the claims: only who sees none but its own goes on, all
others take theirs back and try again after a pause of random length. As listings show every write that was finished
before, of two claims at least one sees the other. Then it looks at the object, writes it and takes the claim back. A
claim of a killed writer counts no more after `CLAIM_SECONDS`; a write that takes longer than that may be overtaken.
"""

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from data.digests import text_digest
from data.files import StorageError
from data.storage.bucket import Bucket
from data.storage.troubles import MOVED

CLAIM_SECONDS = 60
PATIENCE = 300  # seconds until a writer gives up on others' claims
_CLAIMS = "claims"


class MovedError(Exception):
    """The object is not as it was seen."""


class Conditional:
    """Conditional writes to one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._known: bool | None = None

    def put(self, key: str, body: bytes, seen: str | None) -> str:
        """Write `body` if the object's etag is `seen` (None: there is no object); returns the new etag.

        No two bodies may be equal: by that a writer knows its own, where the answer to it was lost. Raises MovedError.
        """
        if not self.is_known():
            return self._put_in_two_phases(key, body, seen)
        condition = {"IfMatch": seen} if seen else {"IfNoneMatch": "*"}
        for pause in (0.1, 0.3, 1, 3, None):
            try:
                return self.bucket.put(key, body, **condition)
            except (StorageError, FileNotFoundError) as error:
                if isinstance(error, StorageError) and error.code not in MOVED:
                    raise
                now = self.bucket.get(key)
                if now and now.body == body:
                    return now.etag
                if pause is None or (now.etag if now else None) != seen:
                    raise MovedError(key) from None
                time.sleep(pause)  # two writers at the same time, and the server has turned away both
        raise AssertionError("unreachable")

    def is_known(self) -> bool:
        """Whether the server decides conditional writes: tried on an object of its own."""
        if self._known is None:
            key = f"{_CLAIMS}/probe-{uuid.uuid4().hex}"
            self.bucket.put(key, b"1")
            try:
                self._known = self._is_refused(key, IfNoneMatch="*") and self._is_refused(key, IfMatch=f'"{"0" * 32}"')
            finally:
                self.bucket.delete([key])
        return self._known

    def _is_refused(self, key: str, **condition: str) -> bool:
        try:
            self.bucket.put(key, b"2", **condition)
        except StorageError as error:
            if error.code in MOVED:
                return True
            if error.code not in ("NotImplemented", "501", "InvalidArgument", "InvalidRequest"):
                raise
        return False

    def _put_in_two_phases(self, key: str, body: bytes, seen: str | None) -> str:
        with self._claimed(key):
            now = self.bucket.head(key)
            if (now["ETag"] if now else None) != seen:
                raise MovedError(key)
            return self.bucket.put(key, body)

    @contextmanager
    def _claimed(self, key: str) -> Iterator[None]:
        folder = f"{_CLAIMS}/{text_digest(key)[:32]}/"
        until = time.monotonic() + PATIENCE
        while True:
            own = folder + uuid.uuid4().hex
            self.bucket.put(own, b"")
            try:
                if self._is_alone(own, folder):
                    yield
                    return
            finally:
                self.bucket.delete([own])
            if time.monotonic() > until:
                raise StorageError(f"Cannot write {self.bucket}/{key}: others have been claiming it for {PATIENCE} s.")
            time.sleep(random.uniform(0.05, 0.5))

    def _is_alone(self, own: str, folder: str) -> bool:
        claims = {one.key: one.modified for one in self.bucket.objects(folder)}
        if own not in claims:
            return False  # others took it for one of a killed writer
        oldest = claims[own] - timedelta(seconds=CLAIM_SECONDS)
        dead = [one for one, modified in claims.items() if modified < oldest]
        self.bucket.delete(dead)
        return len(claims) - len(dead) == 1
