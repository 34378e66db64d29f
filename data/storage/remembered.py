"""What this machine remembers of the manifests in a bucket, so that what was read once is not fetched again.

One file a stage, which lines are appended to: `KEY ETAG {...}`, and `KEY ETAG whole` or `KEY ETAG damaged` for what was
found of the payload. A line that was cut is worth nothing and does no harm. Whether it is still so, only the bucket
knows: an entry counts as long as the manifest has its etag.
"""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import TextmillError
from data.files import make_folder
from data.storage.records import Record, read_record

WHOLE, DAMAGED = "whole", "damaged"


@dataclass
class _Memory:
    """What is remembered of one stage: by key, the etag with the record's JSON, with the record, and with a state."""

    texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    states: dict[str, tuple[str, str]] = field(default_factory=dict)
    read: int = 0  # bytes of the file


class Remembered:
    """The memory in `folder`. May be used from several threads and processes. Raises OSError when the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._memories: dict[str, _Memory] = {}
        self._lock = threading.RLock()

    def stages(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.jsonl"))

    def known(self, stage: str, key: str) -> Record | None:
        """What this process has seen of an artifact last."""
        with self._lock:
            return self._memory(stage).records.get(key)

    def etag(self, stage: str, key: str) -> str | None:
        """That of the newest manifest which is remembered of an artifact."""
        with self._lock:
            known = self._memory(stage).texts.get(key)
        return known[0] if known else None

    def record(self, stage: str, key: str, etag: str) -> Record | None:
        """The artifact's manifest with this very etag, if it is remembered."""
        with self._lock:
            memory = self._memory(stage)
            record = memory.records.get(key)
            if record and record.etag == etag:
                return record
            known = memory.texts.get(key)
            if known is None or known[0] != etag:
                return None
            try:
                memory.records[key] = read_record(json.loads(known[1]), etag, f"{self._file(stage)}, {key}")
            except (ValueError, TextmillError):  # a line that was cut and written on
                return None
            return memory.records[key]

    def state(self, record: Record) -> str | None:
        """WHOLE, DAMAGED or, where nobody has looked, None."""
        with self._lock:
            etag, state = self._memory(record.stage).states.get(record.ref.key, ("", None))
        return state if etag == record.etag else None

    def add(self, stage: str, key: str, record: Record, text: str, state: str | None = None) -> None:
        """Remember what an object holds, which is `text`, one line of JSON, and how the payload was found."""
        with self._lock:
            self._memory(stage).records[record.ref.key] = record
        entry = f"{key} {record.etag}"
        self._append(stage, [f"{entry} {text}", *([f"{entry} {state}"] if state else [])])

    def note_state(self, records: Iterable[Record], state: str) -> None:
        """Remember how the payloads of these were found."""
        lines: dict[str, list[str]] = {}
        for record in records:
            lines.setdefault(record.stage, []).append(f"{record.ref.key} {record.etag} {state}")
        for stage, these in lines.items():
            self._append(stage, these)

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

    def _append(self, stage: str, lines: Iterable[str]) -> None:
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
