"""Copies of artifacts on this machine, for what must be read as files: read through, and held within a size.

    <stage>/<name>-<key>/    a whole artifact, as it lies in a local store
    .fetching/               artifacts on their way here, with their versions beside; a cut one is gone on with
    .leases/                 one file for each process: what it uses, for as long as it lives
    .trash/                  what is being deleted

What was not used for the longest time goes first, and never what a running process uses: so the cache grows over its
size where more than that is in use at once. A lease is held by `flock` and ends with its process.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import TextmillError
from data.files import make_folder, sync_file
from data.locks import owner_lock, owner_lock_if_free
from data.manifest import Manifest
from data.verification import MANIFEST

log = logging.getLogger(__name__)

_FETCHING, _LEASES, _TRASH = ".fetching", ".leases", ".trash"


class Cache:
    """The copies below `folder`, `limit` bytes of them. May be used from several threads and processes.

    An entry is called `<stage>/<name>-<key>`. Its version is the text of its manifest: another one takes its place.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._used: Counter[str] = Counter()
        self._versions: dict[str, str] = {}
        self._sizes: dict[tuple[str, int], int] = {}
        self._lease: tuple[int, Path, int] | None = None  # process, file, descriptor
        self._lock = threading.RLock()

    def place(self, entry: str) -> Path:
        return self.folder / entry

    def hold(self, entry: str, text: str, size: int, fetch: Callable[[Path], None]) -> Path:
        """The folder of an entry, brought here by `fetch` (into a folder that may hold a part of it) if need be.

        It stays until `release` or the end of this process.
        """
        with self._lock:
            if self._used[entry] and self._versions.get(entry) == text:
                self._used[entry] += 1
                return self.place(entry)
        make_folder(self.folder)
        with self._alone():
            if self._is_here(entry, text):
                self._use(entry, text)
                return self.place(entry)
        partial = self.folder / _FETCHING / entry.replace("/", "+")
        make_folder(partial.parent)
        with owner_lock(partial.with_name(partial.name + ".lock")):
            with self._alone():
                if self._is_here(entry, text):  # another one has fetched it meanwhile
                    self._use(entry, text)
                    return self.place(entry)
            self.make_room(size)
            partial.mkdir(exist_ok=True)
            _version_of(partial).write_text(text, encoding="utf-8")
            fetch(partial)
            for path in partial.rglob("*"):
                if path.is_file():
                    sync_file(path)  # after a power cut a manifest must not stand beside files that never came down
            (partial / MANIFEST).write_text(text, encoding="utf-8")
            _version_of(partial).unlink()
            with self._alone():
                self._put(partial, entry)
                self._use(entry, text)
        return self.place(entry)

    def holds(self, entry: str, text: str) -> bool:
        """Whether this version of an entry is here now."""
        return self._is_here(entry, text)

    def release(self, entry: str) -> None:
        """Take back one `hold`."""
        with self._lock:
            self._used[entry] -= 1
            if self._used[entry] <= 0:
                del self._used[entry]
                self._versions.pop(entry, None)
                self._write_lease(f"-{entry}\n")

    def take(self, out: Path, entry: str) -> None:
        """Make the folder `out`, which is whole and on the same disk, the copy of an entry."""
        make_folder(self.folder)
        with self._alone():
            self._put(out, entry)
        self.make_room(0)

    def drop(self, entry: str, version: str | None = None) -> None:
        """Delete a copy (if it is still this version), used or not: the artifact is no more, or another one."""
        make_folder(self.folder)
        with self._alone():
            if version is None or self._is_here(entry, version):
                self._aside(self.place(entry))
        self.empty_trash()

    def version(self, entry: str) -> str | None:
        """The text of the manifest of a copy; None where there is none that can be read."""
        try:
            return (self.place(entry) / MANIFEST).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def entries(self) -> list[str]:
        """What is here, sorted."""
        found = self.folder.glob("[!.]*/*")
        return sorted(path.relative_to(self.folder).as_posix() for path in found if not path.name.startswith("."))

    def partials(self) -> dict[str, str | None]:
        """What is on its way here, or was when that was cut, and which version (None: nobody can tell)."""
        found = {}
        for path in (self.folder / _FETCHING).glob("*"):
            if path.is_dir():
                try:
                    version = _version_of(path).read_text(encoding="utf-8")
                except (OSError, UnicodeDecodeError):
                    version = None
                found[path.name.replace("+", "/", 1)] = version
        return found

    def drop_partial(self, entry: str) -> None:
        """Delete what a cut download of an entry left, unless somebody is at it."""
        with self._alone():
            self._drop_one_partial(self.folder / _FETCHING / entry.replace("/", "+"))
        self.empty_trash()

    def make_room(self, size: int) -> None:
        """Delete what nobody uses, oldest use first, until `size` more bytes are within the limit."""
        with self._alone():
            known = [(path, self._size(path)) for path in (self.place(entry) for entry in self.entries())]
            too_much = sum(count for _, count in known) + size - self.limit
            if too_much > 0:
                too_much -= self._drop_partials()
                in_use = self._in_use()
                for path, count in sorted(known, key=lambda one: _last_use(one[0])):
                    if too_much > 0 and path.relative_to(self.folder).as_posix() not in in_use:
                        self._aside(path)
                        too_much -= count
                if too_much > 0:
                    log.warning(
                        "The cache %s is %.1f GB over its %.1f GB, as running processes use more than that: raise "
                        "TEXTMILL_CACHE_GB if the disk has room.", self.folder, too_much / 1e9, self.limit / 1e9,
                    )  # fmt: skip
        self.empty_trash()

    # -- entries ---------------------------------------------------------------------------------------------------

    def _is_here(self, entry: str, text: str) -> bool:
        return self.version(entry) == text

    def _put(self, whole: Path, entry: str) -> None:
        place = self.place(entry)
        make_folder(place.parent)
        self._aside(place)
        os.rename(whole, place)

    def _aside(self, path: Path) -> None:
        """Move away, to be deleted outside of the lock. Whoever has files of it open or mapped keeps them."""
        if path.exists():
            make_folder(self.folder / _TRASH)
            os.rename(path, self.folder / _TRASH / uuid.uuid4().hex)

    def empty_trash(self) -> None:
        """Delete what has been moved away, also by a process that was killed before it came to that."""
        for path in (self.folder / _TRASH).glob("*"):
            shutil.rmtree(path, ignore_errors=True)

    def _drop_partials(self) -> int:
        """Give up cut downloads that nobody goes on with; returns their bytes."""
        dropped = 0
        for path in (self.folder / _FETCHING).glob("*"):
            if path.is_dir():
                dropped += self._drop_one_partial(path)
        return dropped

    def _drop_one_partial(self, path: Path) -> int:
        with owner_lock_if_free(path.with_name(path.name + ".lock")) as free:
            if not free:
                return 0
            count = _bytes_below(path)
            self._aside(path)
            _version_of(path).unlink(missing_ok=True)
            return count

    def _size(self, path: Path) -> int:
        """Bytes of an entry; counted once, as entries do not change."""
        try:
            at = str(path), path.stat().st_ino
            if at not in self._sizes:
                text = (path / MANIFEST).read_text(encoding="utf-8")
                files = Manifest.from_json(text, str(path)).files.values()
                self._sizes[at] = sum(one.bytes for one in files) + len(text)
            return self._sizes[at]
        except (OSError, UnicodeDecodeError, TextmillError):
            return _bytes_below(path)

    # -- leases ----------------------------------------------------------------------------------------------------

    def _use(self, entry: str, text: str) -> None:
        with self._lock:
            if not self._used[entry]:
                self._write_lease(f"+{entry}\n")
            self._used[entry] += 1
            self._versions[entry] = text
            with contextlib.suppress(OSError):
                os.utime(self.place(entry) / MANIFEST)

    def _write_lease(self, line: str) -> None:
        if self._lease is None or self._lease[0] != os.getpid():
            make_folder(self.folder / _LEASES)
            path = self.folder / _LEASES / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lease = os.getpid(), path, descriptor
        os.write(self._lease[2], line.encode())

    def _in_use(self) -> set[str]:
        """Entries that a living process uses; the leases of dead ones are deleted. Only under the lock."""
        found: set[str] = set()
        for path in (self.folder / _LEASES).glob("*"):
            with path.open("r+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
                except BlockingIOError:
                    used: set[str] = set()
                    for line in file.read().decode().splitlines():
                        (used.add if line[0] == "+" else used.discard)(line[1:])
                    found |= used
        return found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else moves entries or looks at leases meanwhile. Not for long work."""
        with (self.folder / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


_caches: dict[tuple[int, Path], Cache] = {}


def cache_at(folder: Path, limit: int) -> Cache:
    """The cache of this process at `folder`: one, so that its leases are counted together."""
    cache = _caches.setdefault((os.getpid(), folder), Cache(folder, limit))
    cache.limit = limit
    return cache


def _last_use(path: Path) -> float:
    try:
        return (path / MANIFEST).stat().st_mtime
    except OSError:
        return 0.0


def _version_of(partial: Path) -> Path:
    return partial.with_name(partial.name + ".version")


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
