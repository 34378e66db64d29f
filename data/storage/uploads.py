"""Uploading a payload so that a killed upload is gone on with.

Each try to publish has a folder of its own in the bucket (`attempt`), named in a note on this machine for as long as it
is not published. The next try for the same key finds the note, goes on in the same folder, and skips what is there in
the size and digest of the file that it has; large files go up in parts, and parts that are up are skipped, too.
"""

import contextlib
import hashlib
import json
import threading
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from data.files import make_folder, write_durably
from data.manifest import FileEntry
from data.storage.bucket import Bucket, at_once

PART = 16 << 20  # bytes; files that are larger go up in parts of this size or more
MOST_PARTS = 9_000  # of one object; S3 takes 10,000
FILES_AT_ONCE = 4
DIGEST = "sha256"  # name of the note on an object that says what it holds


class Upload:
    """The files of one artifact on their way into `folder` of a bucket, which ends in a slash. Used by one builder."""

    def __init__(self, bucket: Bucket, folder: str, note: Path) -> None:
        self.bucket, self.folder, self.note = bucket, folder, note
        self._lock = threading.Lock()
        try:
            found = json.loads(note.read_text())
            self.attempt, self._open, self.goes_on = str(found["attempt"]), dict(found["open"]), True
        except (OSError, ValueError, KeyError, TypeError):
            self.begin_anew()

    def begin_anew(self) -> None:
        """Leave the folder of earlier tries for another one."""
        self.attempt, self._open, self.goes_on = uuid.uuid4().hex[:16], {}, False

    @property
    def place(self) -> str:
        """Where the files go."""
        return f"{self.folder}{self.attempt}/"

    def send(self, out: Path, files: Mapping[str, FileEntry]) -> None:
        """Bring up what is not there yet. Raises FileNotFoundError when somebody deleted it meanwhile."""
        make_folder(self.note.parent)
        self._write_note()
        there = {one.key: one.bytes for one in self.bucket.objects(self.place)} if self.goes_on else {}
        sized = {path for path, entry in files.items() if there.get(self.place + path) == entry.bytes}
        missing = [path for path, entry in files.items() if path not in sized or not self._is_same(path, entry)]
        at_once(lambda path: self._send_one(out / path, path, files[path]), missing, FILES_AT_ONCE)
        there = {one.key: one.bytes for one in self.bucket.objects(self.place)}
        for path, entry in files.items():
            if there.get(self.place + path) != entry.bytes:
                raise FileNotFoundError(f"{self.bucket}/{self.place}{path}")

    def forget(self) -> None:
        """It is published: the next try for this key is another one."""
        self.note.unlink(missing_ok=True)

    def discard(self) -> None:
        """It will not be published: delete what is up."""
        self.bucket.delete(one.key for one in self.bucket.objects(self.place))
        for path, value in self._open.items():
            with contextlib.suppress(FileNotFoundError):
                self.bucket.call("abort_multipart_upload", self.place + path, UploadId=value["number"])
        self.forget()

    def _is_same(self, path: str, entry: FileEntry) -> bool:
        head = self.bucket.head(self.place + path)
        return head is not None and head["Metadata"].get(DIGEST) == entry.sha256

    def _send_one(self, file: Path, path: str, entry: FileEntry) -> None:
        if entry.bytes <= PART:
            self.bucket.put(self.place + path, file.read_bytes(), Metadata={DIGEST: entry.sha256})
        else:
            self._send_in_parts(file, path, entry)

    def _send_in_parts(self, file: Path, path: str, entry: FileEntry) -> None:
        size = max(PART, -(-entry.bytes // MOST_PARTS))
        number, up = self._opened(path, entry)
        send = partial(self._send_part, file, path, number, size, up)
        parts = at_once(send, range(-(-entry.bytes // size)), FILES_AT_ONCE)
        self.bucket.call(
            "complete_multipart_upload", self.place + path, UploadId=number, MultipartUpload={"Parts": parts}
        )
        self._note_open(path, None)

    def _send_part(self, file: Path, path: str, number: str, size: int, up: dict[int, str], at: int) -> dict[str, Any]:
        with file.open("rb") as opened:
            opened.seek(at * size)
            body = opened.read(size)
        etag = up.get(at + 1)
        if etag is None or etag.strip('"') != hashlib.md5(body, usedforsecurity=False).hexdigest():
            where = {"PartNumber": at + 1, "UploadId": number, "Body": body}
            etag = str(self.bucket.call("upload_part", self.place + path, **where)["ETag"])
        return {"PartNumber": at + 1, "ETag": etag}

    def _opened(self, path: str, entry: FileEntry) -> tuple[str, dict[int, str]]:
        """Number of the upload in parts of a file, and etags of the parts that are up, by their numbers from 1."""
        known = self._open.get(path)
        if known and known["sha256"] == entry.sha256:
            try:
                return known["number"], self._parts(path, known["number"])
            except FileNotFoundError:  # taken back by the server, or completed just before the end
                pass
        made = self.bucket.call("create_multipart_upload", self.place + path, Metadata={DIGEST: entry.sha256})
        self._note_open(path, {"number": made["UploadId"], "sha256": entry.sha256})
        return made["UploadId"], {}

    def _parts(self, path: str, number: str) -> dict[int, str]:
        found: dict[int, str] = {}
        more: dict[str, Any] = {}
        while True:
            page = self.bucket.call("list_parts", self.place + path, UploadId=number, **more)
            found |= {part["PartNumber"]: part["ETag"] for part in page.get("Parts", [])}
            if not page.get("IsTruncated"):
                return found
            more = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def _note_open(self, path: str, value: dict[str, str] | None) -> None:
        with self._lock:
            self._open.pop(path, None)
            if value:
                self._open[path] = value
            self._write_note()

    def _write_note(self) -> None:
        write_durably(self.note, json.dumps({"attempt": self.attempt, "open": self._open}))
