"""The store in a bucket: artifacts that appear whole or not at all, for any number of machines.

    manifests/<stage>/<key>.json             written last, only if it is as the builder saw it: it is the artifact
    payload/<stage>/<key>/<attempt>/...      the files of one try to publish; see data/storage/attempts.py
    refs/<name>.json                         mutable state, see data/storage/refs.py
    claims/                                  only where the server knows no conditional writes

and on every machine below its `root`: `work/` as in a local store (unfinished builds and locks: nobody else goes on
with them), `cache/` (copies of what is read), `manifests/` (what was read of manifests), `uploads/` (notes on those
that are not finished). Of two machines that build the same key both build, the first to publish wins, and the other
adopts that.
"""

import logging
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from data.errors import TextmillError
from data.facts import Facts
from data.files import StorageError, storage_errors
from data.manifest import KEY_LENGTH, ArtifactRef, Identity, Manifest, safe_name
from data.storage.attempts import PAYLOAD, YOUNG, clear_attempts, stages_of_attempts
from data.storage.bucket import Bucket, at_once
from data.storage.cache import Cache, cache_at
from data.storage.conditional import Conditional, MovedError
from data.storage.manifests import Manifests
from data.storage.payloads import (
    DamagedPayloadError,
    damages,
    delete_all,
    fetch,
    first_lack,
    payload_of,
    read_file,
)
from data.storage.records import Record
from data.storage.refs import BucketRefs
from data.storage.remembered import DAMAGED, WHOLE, Remembered
from data.storage.uploads import Upload
from data.store import Build, Store
from data.verification import MANIFEST, Damage
from data.work import newest_change

log = logging.getLogger(__name__)

_TRIES = 10  # to publish, when others change the same artifact again and again


class BucketStore(Store):
    """Artifacts in a bucket. Every method raises StorageError when server or disk refuses.

    `find` looks once a machine whether a payload's files are all there, in their sizes, and trusts that from then on;
    what later turns out to lack something is no hit any more.
    """

    MENDING = "The next run of their recipe on this machine builds these artifacts again, no others."

    def __init__(self, bucket: Bucket, root: Path, cache_bytes: int) -> None:
        super().__init__(root)
        self.bucket, self.cache_bytes = bucket, cache_bytes
        self.where = str(bucket)
        conditional = Conditional(bucket)
        self.refs = BucketRefs(bucket, conditional)
        self._memory = Remembered(self.root / "manifests")
        self._manifests = Manifests(bucket, conditional, self._memory)
        self._seen: dict[tuple[str, str], str | None] = {}  # etags when builds began
        self._for_life: dict[str, str] = {}  # entries of the cache that `path` holds, and their etags

    def __reduce__(self) -> tuple[type["BucketStore"], tuple[Bucket, Path, int]]:
        return BucketStore, (self.bucket, self.root, self.cache_bytes)

    # -- finding ---------------------------------------------------------------------------------------------------

    def find(self, stage: str, keys: Iterable[str]) -> dict[str, ArtifactRef]:
        with storage_errors(self.root):
            found = self._manifests.now(safe_name(stage), list(dict.fromkeys(keys)))
            new = [record for record in found.values() if self._memory.state(record) is None]
            lacks = dict(zip((one.etag for one in new), at_once(partial(first_lack, self.bucket), new), strict=True))
            self._memory.note_state((one for one in new if not lacks[one.etag]), WHOLE)
            self._memory.note_state((one for one in new if lacks[one.etag]), DAMAGED)
            hits = {}
            for key, record in found.items():
                if self._memory.state(record) == WHOLE:
                    hits[key] = record.ref
                else:
                    why = lacks.get(record.etag) or "it was found so before"
                    log.warning("%s is damaged and will be built again: %s", record.ref, why)
            return hits

    def path(self, ref: ArtifactRef) -> Path:
        with storage_errors(self.root):
            record = self._record(ref)
            entry = _entry(record)
            if self._for_life.get(entry) != record.etag:
                record = self._hold(record)
                self._for_life[_entry(record)] = record.etag
            return self._cache.place(_entry(record))

    def place(self, ref: ArtifactRef) -> Path:
        with storage_errors(self.root):
            return self._cache.place(_entry(self._record(ref)))

    @contextmanager
    def using(self, refs: Iterable[ArtifactRef]) -> Iterator[None]:
        held: list[Record] = []
        try:
            with storage_errors(self.root):
                for ref in refs:
                    held.append(self._hold(self._record(ref)))
            yield
        finally:
            for record in held:
                self._cache.release(_entry(record))

    def read(self, ref: ArtifactRef, file: str) -> bytes:
        with storage_errors(self.root):
            record = self._record(ref)
            if file in record.manifest.files and not self._cache.holds(_entry(record), record.text):
                content = read_file(self.bucket, record, file)
                if content is not None:
                    return content
            return super().read(ref, file)

    def address(self, ref: ArtifactRef) -> str:
        return f"{self.bucket}/{payload_of(self._record(ref))}"

    def manifest(self, ref: ArtifactRef) -> Manifest:
        with storage_errors(self.root):
            return self._record(ref).manifest

    def stages(self) -> list[str]:
        return self._manifests.stages()

    def manifests(
        self, stage: str | None = None, names: Collection[str] | None = None, strict: bool = False
    ) -> Iterator[Manifest]:
        for one in [safe_name(stage)] if stage else self.stages():
            with storage_errors(self.root):
                found = [record.manifest for record in self._manifests.now(one, strict=strict).values()]
            wanted = [manifest for manifest in found if names is None or manifest.name in names]
            yield from sorted(wanted, key=lambda manifest: (manifest.created, manifest.key))

    def _beginning_with(self, stage: str, start: str) -> list[tuple[str, str]]:
        found = self._manifests.now(stage, list(self._manifests.etags(stage, start)))
        return [(record.manifest.name, key) for key, record in found.items()]

    # -- publishing ------------------------------------------------------------------------------------------------

    def _make_and_publish(
        self, identity: Identity, name: str, make: Callable[[Build], Facts], inputs: Iterable[ArtifactRef], work: Path
    ) -> ArtifactRef:
        place = safe_name(identity.stage), identity.key
        self._seen[place] = self._manifests.etag(*place)
        try:
            return super()._make_and_publish(identity, name, make, inputs, work)
        finally:
            del self._seen[place]

    def _publish(self, out: Path, manifest: Manifest) -> ArtifactRef:
        """Bring the files of `out` up, then the manifest; adopt what others have published since the build began."""
        stage, key = place = safe_name(manifest.recipe.stage), manifest.key
        upload = Upload(self.bucket, f"{PAYLOAD}{stage}/{key}/", self.root / "uploads" / f"{stage}-{key}.json")
        for _ in range(_TRIES):
            etag = self._manifests.etag(*place)
            theirs = self._manifests.now(stage, [key]).get(key) if etag else None
            whole = theirs is not None and self._is_whole(theirs)
            if theirs and whole and (etag != self._seen[place] or _payload_is_equal(theirs, manifest)):
                if upload.attempt != theirs.attempt:
                    upload.discard()
                upload.forget()
                clear_attempts(self.bucket, self._manifests, stage, YOUNG, key, in_parts=False)
                shutil.rmtree(out)
                return theirs.ref
            if theirs and theirs.attempt == upload.attempt:
                upload.begin_anew()
            try:
                upload.send(out, manifest.files)
                record = self._manifests.put(manifest, upload.attempt, etag)
                if (lack := first_lack(self.bucket, record)) is None:
                    break
                log.info("%s was taken from under its manifest: bringing it up again", lack)
            except (MovedError, FileNotFoundError) as error:
                log.info("%s was changed by another machine meanwhile (%s): looking again", manifest.ref, error)
        else:
            raise StorageError(f"Cannot publish {manifest.ref} in {self.where}: other machines keep changing it.")
        upload.forget()
        if theirs:
            delete_all(self.bucket, payload_of(theirs))
        clear_attempts(self.bucket, self._manifests, stage, YOUNG, key, in_parts=False)
        (out / MANIFEST).write_text(record.text, encoding="utf-8")
        self._cache.take(out, _entry(record))
        return record.ref

    def remove(self, ref: ArtifactRef) -> bool:
        stage = safe_name(ref.stage)
        with storage_errors(self.root), self._work.owned(stage, ref.key):
            there = self._manifests.etag(stage, ref.key) is not None
            self._manifests.delete(stage, ref.key)
            delete_all(self.bucket, f"{PAYLOAD}{stage}/{ref.key}/")
            for entry in self._cache.entries():
                if entry.startswith(f"{stage}/") and entry.endswith(f"-{ref.key}"):
                    self._cache.drop(entry)
            self._memory.forget(stage, ref.key)
            return there

    def sweep(self) -> list[str]:
        """As in a local store; and copies, whole or cut, of what others have removed or replaced are deleted."""
        with storage_errors(self.root):
            held = self._cache.entries()  # before the bucket is asked
            versions = ((entry, self._cache.version(entry)) for entry in held)
            cached = {entry: version for entry, version in versions if version is not None}  # others come just now
            cut = self._cache.partials()
            stages = {entry.partition("/")[0] for entry in (*cached, *cut)}
            for stage in sorted(stages | set(self._memory.stages())):
                etags = self._manifests.etags(stage)
                self._memory.keep_only(stage, etags)
                keys = {entry: entry.rpartition("-")[2] for entry in (*cached, *cut) if entry.startswith(f"{stage}/")}
                records = self._manifests.now(stage, set(keys.values()) & etags.keys())
                for entry, key in keys.items():
                    record = records.get(key)
                    now = (_entry(record), record.text) if record else None
                    if entry in cached and (key not in etags or (now and now != (entry, cached[entry]))):
                        self._cache.drop(entry, cached[entry])
                    if entry in cut and (key not in etags or (now and now != (entry, cut[entry]))):
                        self._cache.drop_partial(entry)
            self._cache.empty_trash()
        return super().sweep()

    def clear_attempts(self, stages: Iterable[str] | None = None, older_than: float = 0.0) -> list[str]:
        with storage_errors(self.root):
            there = stages_of_attempts(self.bucket) if stages is None else [safe_name(stage) for stage in stages]
            clear = partial(clear_attempts, self.bucket, self._manifests, older_than=older_than)
            return [place for stage in there for place in clear(stage)]

    def _is_left_over(self, work: Path) -> bool:
        stage, _, key = work.name.rpartition("-")
        record = self._manifests.now(stage, [key]).get(key) if len(key) == KEY_LENGTH else None
        if record is None:
            return False
        newest = datetime.fromtimestamp(newest_change(work / "keep") / 1e9, UTC)
        return newest <= datetime.fromisoformat(record.manifest.created)

    # -- verifying -------------------------------------------------------------------------------------------------

    def verify(self, ref: ArtifactRef | None = None) -> Iterator[Damage]:
        """Read every file of one artifact or of all anew from the bucket; keeps nothing of it."""
        with storage_errors(self.root):
            if ref:
                yield from self._verify_one(safe_name(ref.stage), ref.key)
            else:
                for stage in self.stages():
                    for key in self._manifests.etags(stage):
                        yield from self._verify_one(stage, key)

    def _verify_one(self, stage: str, key: str) -> Iterator[Damage]:
        record = self._manifests.now(stage, [key]).get(key)
        if record is None:
            yield Damage(f"{stage}/{key}", Path(stage) / key / MANIFEST, "cannot be read, or is gone")
            return
        found = damages(self.bucket, record)
        if any(not damage.is_observation for damage in found):
            self._memory.note_state([record], DAMAGED)
        yield from found

    # -- inner -----------------------------------------------------------------------------------------------------

    @property
    def _cache(self) -> Cache:
        return cache_at(self.root / "cache", self.cache_bytes)

    def _record(self, ref: ArtifactRef) -> Record:
        """What is published under a reference's key, as this process has seen it last."""
        stage = safe_name(ref.stage)
        record = self._memory.known(stage, ref.key) or self._manifests.now(stage, [ref.key]).get(ref.key)
        if record is None:
            raise TextmillError(f"{ref} is not in the store {self.where}: run its recipe again to have it built.")
        return record

    def _is_whole(self, record: Record) -> bool:
        return self._memory.state(record) != DAMAGED and first_lack(self.bucket, record) is None

    def _hold(self, record: Record) -> Record:
        """Bring an artifact into the cache and hold it there; returns what is there, which may be newer."""
        stage, key = record.stage, record.ref.key
        while True:
            try:
                self._cache.hold(_entry(record), record.text, record.bytes, partial(fetch, self.bucket, record))
                return record
            except DamagedPayloadError as error:
                now = self._manifests.now(stage, [key]).get(key)
                if now is not None and now.etag != record.etag:  # built anew by another machine meanwhile
                    record = now
                    continue
                self._memory.note_state([record], DAMAGED)
                raise TextmillError(
                    f"{record.ref} in {self.where} is damaged ({error}): run its recipe again, which builds it anew."
                ) from None


def _entry(record: Record) -> str:
    return f"{record.stage}/{safe_name(record.manifest.name)}-{record.ref.key}"


def _payload_is_equal(record: Record, manifest: Manifest) -> bool:
    return record.manifest.payload_digest == manifest.payload_digest
