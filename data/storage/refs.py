"""Mutable state in a bucket: what data/refs.py is on a disk, with the same promises.

    refs/<name>.json     {"value": ..., "writer": of whom nobody else is}

A value is one object, replaced by a conditional write. Snapshots of earlier values are not kept: that is what versions
of a bucket are for, where somebody wants them.
"""

import json
import uuid
from pathlib import Path
from typing import Any

from data.errors import TextmillError
from data.manifest import canonical_json
from data.refs import RefMovedError, Refs, Snapshot, folder_name, token_of
from data.storage.bucket import Bucket
from data.storage.conditional import Conditional, MovedError

FOLDER = "refs/"


class BucketRefs(Refs):
    """Named JSON values in a bucket. Every method raises StorageError when the server refuses."""

    def __init__(self, bucket: Bucket, conditional: Conditional) -> None:
        super().__init__(Path(FOLDER))
        self.bucket, self.conditional = bucket, conditional

    def place(self, name: str) -> str:
        return f"{self.bucket}/{_object(name)}"

    def read(self, name: str) -> Snapshot:
        return self._read_object(name)[0]

    def swap(self, name: str, seen: str | None, value: Any) -> str:
        now, etag = self._read_object(name)
        text = canonical_json(value)
        token = token_of(text)
        moved = f"{self.place(name)} was changed by another run meanwhile (expected {seen}, found {now.token}): "
        if now.token != seen:
            raise RefMovedError(f"{moved}run it again.")
        if token != now.token:
            body = canonical_json({"value": value, "writer": uuid.uuid4().hex})
            try:
                self.conditional.put(_object(name), body.encode(), etag)
            except MovedError:
                raise RefMovedError(f"{moved}run it again.") from None
        return token

    def names(self, folder: str) -> list[str]:
        below = f"{FOLDER}{folder}/"
        keys = (one.key.removeprefix(below) for one in self.bucket.objects(below))
        return sorted(f"{folder}/{key.removesuffix('.json')}" for key in keys if "/" not in key)

    def drop_earlier(self, name: str) -> None:
        """Nothing earlier is kept."""

    def _read_object(self, name: str) -> tuple[Snapshot, str | None]:
        content = self.bucket.get(_object(name))
        if content is None:
            return Snapshot(None, None), None
        try:
            value = json.loads(content.body)["value"]
        except (ValueError, TypeError, KeyError) as error:
            raise TextmillError(
                f"{self.place(name)} is damaged: {error}. Delete that object: the next run starts this state anew."
            ) from error
        return Snapshot(value, token_of(canonical_json(value))), content.etag


def _object(name: str) -> str:
    return FOLDER + "/".join(folder_name(part) for part in name.split("/")) + ".json"
