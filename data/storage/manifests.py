"""The manifests of a bucket, apart from the payload, so that a listing of artifacts lists nothing else.

    manifests/<stage>/<key>.json     {"attempt": where its payload lies, "manifest": manifest.json}

A listing gives keys and etags, a thousand a request; what the manifests say is remembered on this machine, by etag, in
one file a stage, which lines are appended to: `KEY ETAG {...}`, and `KEY ETAG whole` or `KEY ETAG damaged` for what was
found of the payload. A line that was cut is worth nothing and does no harm.
"""

import fcntl
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from data.errors import TextmillError
from data.files import make_folder
from data.manifest import ArtifactRef, Manifest, safe_name
from data.storage.bucket import Bucket, at_once
from data.storage.conditional import Conditional

log = logging.getLogger(__name__)

FOLDER = "manifests/"
ASKED_ONE_BY_ONE = 100  # keys; more are looked up by listing the stage
WHOLE, DAMAGED = "whole", "damaged"


@dataclass(frozen=True)
class Record:
    """A published artifact: its manifest, the folder of its payload (below its key), and the etag of both."""

    manifest: Manifest
    attempt: str
    etag: str

    @property
    def ref(self) -> ArtifactRef:
        return self.manifest.ref

    @cached_property
    def text(self) -> str:
        """manifest.json, as it lies in a local store."""
        return self.manifest.to_json()

    @property
    def stage(self) -> str:
        """As it stands in keys of objects and names of folders."""
        return safe_name(self.manifest.recipe.stage)

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.manifest.files.values())


@dataclass
class _Memory:
    """What is remembered of one stage: by key, the etag with the record's JSON, with the record, and with a state."""

    texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    states: dict[str, tuple[str, str]] = field(default_factory=dict)
    read: int = 0  # bytes of the file


class Manifests:
    """May be used from several threads and processes. Raises StorageError when the server or the disk refuses."""

    def __init__(self, bucket: Bucket, conditional: Conditional, folder: Path) -> None:
        self.bucket, self.conditional, self.folder = bucket, conditional, folder
        self._memories: dict[str, _Memory] = {}
        self._lock = threading.RLock()

    # -- on the server ---------------------------------------------------------------------------------------------

    def stages(self) -> list[str]:
        return sorted(self.bucket.folders(FOLDER))

    def etags(self, stage: str, start: str = "") -> dict[str, str]:
        """{key: etag} of every manifest of a stage whose key begins with `start`."""
        found = {}
        below = f"{FOLDER}{stage}/"
        for one in self.bucket.objects(below + start):
            if name := re.fullmatch("([0-9a-f]{16})[.]json", one.key.removeprefix(below)):
                found[name[1]] = one.etag
        return found

    def etag(self, stage: str, key: str) -> str | None:
        head = self.bucket.head(_object(stage, key))
        return str(head["ETag"]) if head else None

    def now(self, stage: str, keys: Collection[str] | None = None, strict: bool = False) -> dict[str, Record]:
        """Those of `keys` (None: all of the stage) that are published now.

        What cannot be read is logged and left out; with `strict` it raises TextmillError.
        """
        if keys is not None and len(keys) <= ASKED_ONE_BY_ONE:
            got = at_once(lambda key: self._ask(stage, key, strict), list(keys))
            return {record.manifest.key: record for record in got if record}
        etags = self.etags(stage)
        wanted = [key for key in (etags if keys is None else keys) if key in etags]
        found = {key: self._remembered(stage, key, etags[key]) for key in wanted}
        unknown = [key for key, record in found.items() if record is None]
        found |= dict(zip(unknown, at_once(lambda key: self._ask(stage, key, strict), unknown), strict=True))
        return {key: record for key, record in found.items() if record}

    def put(self, manifest: Manifest, attempt: str, seen: str | None) -> Record:
        """Publish, if what is there has still the etag `seen` (None: nothing is). Raises MovedError otherwise."""
        stage = safe_name(manifest.recipe.stage)
        content = {"attempt": attempt, "manifest": json.loads(manifest.to_json())}
        text = json.dumps(content, sort_keys=True)
        etag = self.conditional.put(_object(stage, manifest.key), text.encode(), seen)
        record = Record(manifest, attempt, etag)
        self._remember(stage, [f"{manifest.key} {etag} {text}", f"{manifest.key} {etag} {WHOLE}"], record)
        return record

    def delete(self, stage: str, key: str) -> None:
        self.bucket.delete([_object(stage, key)])

    def address(self, stage: str, key: str) -> str:
        return f"{self.bucket}/{_object(stage, key)}"

    def _ask(self, stage: str, key: str, strict: bool = False) -> Record | None:
        """The manifest as it is now; asked for in a way that sends nothing where it is as it is remembered."""
        with self._lock:
            known = self._memory(stage).texts.get(key)
        record = self._remembered(stage, key, known[0]) if known else None
        if record is None:
            known = None
        content = self.bucket.get(_object(stage, key), known[0] if known else None)
        if content is None or (known and content.etag == known[0]):
            return record if content else None
        text = content.body.decode("utf-8", "replace")
        where = self.address(stage, key)
        try:
            found = _parse(json.loads(text), content.etag, where)
        except (ValueError, TextmillError) as error:
            trouble = error if isinstance(error, TextmillError) else TextmillError(_damaged(where, str(error)))
            if strict:
                raise trouble from None
            log.warning("%s", trouble)
            return None
        self._remember(stage, [f"{key} {content.etag} {json.dumps(json.loads(text))}"], found)
        return found

    # -- on this machine -------------------------------------------------------------------------------------------

    def known(self, stage: str, key: str) -> Record | None:
        """What this process has seen of an artifact last, without asking."""
        with self._lock:
            return self._memory(stage).records.get(key)

    def state(self, record: Record) -> str | None:
        """WHOLE, DAMAGED or, where nobody has looked, None."""
        with self._lock:
            etag, state = self._memory(record.stage).states.get(record.ref.key, ("", None))
        return state if etag == record.etag else None

    def note_state(self, records: Iterable[Record], state: str) -> None:
        lines: dict[str, list[str]] = {}
        for record in records:
            lines.setdefault(record.stage, []).append(f"{record.ref.key} {record.etag} {state}")
        for stage, these in lines.items():
            self._remember(stage, these)

    def keep_only(self, stage: str, there: dict[str, str]) -> None:
        """Forget of a stage all but what `there` names, {key: etag}."""
        self._filter(stage, lambda key, etag: there.get(key) == etag)

    def forget(self, stage: str, key: str) -> None:
        self._filter(stage, lambda one, _: one != key)

    def _filter(self, stage: str, is_kept: Callable[[str, str], bool]) -> None:
        if not self._file(stage).exists():
            return
        with self._lock, self._file(stage).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = [line for line in file.read().split(b"\n") if line]
            kept = [line for line in dict.fromkeys(lines) if is_kept(*line.decode("utf-8", "replace").split(" ")[:2])]
            if len(kept) < len(lines):
                file.seek(0)
                file.truncate()
                file.write(b"".join(line + b"\n" for line in kept))
                file.flush()
            self._memories.pop(stage, None)

    def remembered_stages(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.jsonl"))

    def _remembered(self, stage: str, key: str, etag: str) -> Record | None:
        with self._lock:
            memory = self._memory(stage)
            record = memory.records.get(key)
            if record and record.etag == etag:
                return record
            known = memory.texts.get(key)
            if known is None or known[0] != etag:
                return None
            try:
                memory.records[key] = _parse(json.loads(known[1]), etag, self.address(stage, key))
            except (ValueError, TextmillError):  # a line that was cut and written on
                return None
            return memory.records[key]

    def _memory(self, stage: str) -> _Memory:
        """What is remembered, with what other processes have added since."""
        path = self._file(stage)
        memory = self._memories.setdefault(stage, _Memory())
        size = path.stat().st_size if path.exists() else 0
        if size < memory.read:  # another process has forgotten something
            memory = self._memories[stage] = _Memory()
        if size > memory.read:
            with path.open("rb") as file:
                file.seek(memory.read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            memory.read += len(whole)
            for line in whole.decode("utf-8", "replace").split("\n")[:-1]:
                key, _, rest = line.partition(" ")
                etag, _, value = rest.partition(" ")
                (memory.texts if value.startswith("{") else memory.states)[key] = etag, value
        return memory

    def _remember(self, stage: str, lines: Iterable[str], record: Record | None = None) -> None:
        if record:
            with self._lock:
                self._memory(stage).records[record.ref.key] = record
        make_folder(self.folder)
        text = "".join(f"{line}\n" for line in lines).encode()
        descriptor = os.open(self._file(stage), os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                text = b"\n" + text  # a writer was killed
            os.write(descriptor, text)
        finally:
            os.close(descriptor)

    def _file(self, stage: str) -> Path:
        return self.folder / f"{stage}.jsonl"


def _object(stage: str, key: str) -> str:
    return f"{FOLDER}{stage}/{key}.json"


def _parse(content: dict[str, object], etag: str, where: str) -> Record:
    if not isinstance(content, dict) or "manifest" not in content or not isinstance(content.get("attempt"), str):
        raise TextmillError(_damaged(where, "it is no manifest"))
    return Record(Manifest.from_values(content["manifest"], where), str(content["attempt"]), etag)


def _damaged(where: str, why: str) -> str:
    return f"{where} is damaged ({why}). Delete it: the next run builds it again."
