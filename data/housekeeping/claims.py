"""What a collection (`data.housekeeping.collecting`), or somebody who forgets text, is removing at this moment.

    collecting         in the store's refs: the one who removes, and the keys

Whoever is to remove claims keys before, and runs read the claim before they look keys up: see
data/housekeeping/usage.py. There is one collection of a store at a time.
"""

import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from data.errors import TextmillError
from data.files import make_folder
from data.housekeeping.machine import is_alive, lock_of, now, place_of, this_process
from data.locks import owner_lock
from data.refs import Snapshot
from data.store import Store

COLLECTING = "collecting"
COLLECTION_LEASE = 600.0  # seconds after its last word for which a collection of another machine counts as alive


def being_removed(store: Store) -> frozenset[str]:
    """Keys that a collection is removing now; none when its process is gone."""
    value = store.refs.read(COLLECTING).value
    return frozenset(value["keys"]) if value and _collects(store, value) else frozenset()


class Claim:
    """What a collection is about to remove."""

    def __init__(self, store: Store, new: str) -> None:
        self.store, self.id = store, new
        self._said = time.monotonic()
        self._writing = threading.RLock()

    @property
    def is_fresh(self) -> bool:
        """Whether other machines are sure to respect it still."""
        return time.monotonic() - self._said < COLLECTION_LEASE / 2

    def keep(self) -> None:
        """Let others know that this is still at work, if they may come to doubt it; claims no keys, and drops those
        that were claimed if it has to say so."""
        with self._writing:
            if not self.is_fresh:
                self.take(())

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Have a thread do that as long as this is open, for work of which a single step may outlast the lease.

        Where it cannot, it tries again; whoever works hears of it when they ask to `keep` the claim themselves. Like
        `keep` it claims no keys, and drops those that were claimed: open it only where none are.
        """
        is_done = threading.Event()

        def beat() -> None:
            while not is_done.wait(COLLECTION_LEASE / 8):
                with suppress(TextmillError, OSError):
                    self.keep()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_done.set()
            thread.join()

    def take(self, keys: Collection[str]) -> None:
        """Claim these keys, and none of those before. Raises TextmillError when another collection has taken over."""
        with self._writing:
            seen = self.store.refs.read(COLLECTING)
            if seen.value is None or seen.value["id"] != self.id:
                raise TextmillError(
                    f"Another process began to clean up in {self.store.where}: run this again after it."
                )
            self._write(seen, keys)

    def _write(self, seen: Snapshot, keys: Collection[str]) -> None:
        value = {
            "id": self.id,
            "place": place_of(self.store.root),
            "process": this_process(),
            "said": now(),
            "keys": sorted(keys),
        }
        said = time.monotonic()
        self.store.refs.swap(COLLECTING, seen.token, value)
        self._said = said


@contextmanager
def collection(store: Store) -> Iterator[Claim]:
    """Be the one collection of a store, or forget, which nobody may collect beside. Raises TextmillError when there is
    another one."""
    claim = Claim(store, uuid.uuid4().hex[:8])
    make_folder(store.root / "work")
    with owner_lock(lock_of(store.root, "gc", claim.id)):
        seen = store.refs.read(COLLECTING)
        if seen.value and _collects(store, seen.value):
            raise TextmillError(
                f"{seen.value['process']} is cleaning up in {store.where} since {seen.value['said'][:19]}: wait for it."
            )
        claim._write(seen, ())
        try:
            yield claim
        finally:
            store.refs.update(COLLECTING, lambda value: None if value and value["id"] == claim.id else value)


def _collects(store: Store, value: Mapping[str, Any]) -> bool:
    return is_alive(store.root, "gc", value["id"], value["place"], value["said"], COLLECTION_LEASE)
