"""The manifests of a bucket, apart from the payload, so that a listing of artifacts lists nothing else.

    manifests/<stage>/<key>.json     {"attempt": where its payload lies, "manifest": manifest.json}

A listing gives keys and etags, a thousand a request; those behind the first thousand are asked for by first digit, all
digits at the same time. What the manifests say is remembered on this machine, by etag.
"""

import json
import logging
import re
from collections.abc import Collection

from data.errors import TextmillError
from data.manifest import Manifest, safe_name
from data.storage.bucket import Bucket, at_once
from data.storage.conditional import Conditional
from data.storage.records import Record, damaged, read_record
from data.storage.remembered import WHOLE, Remembered

log = logging.getLogger(__name__)

FOLDER = "manifests/"
DIGITS = "0123456789abcdef"  # that keys are made of
ASKED_ONE_BY_ONE = 100  # keys; more are looked up by listing the stage


class Manifests:
    """May be used from several threads and processes. Raises StorageError when the server or the disk refuses."""

    def __init__(self, bucket: Bucket, conditional: Conditional, memory: Remembered) -> None:
        self.bucket, self.conditional, self.memory = bucket, conditional, memory

    def stages(self) -> list[str]:
        return sorted(self.bucket.folders(FOLDER))

    def etags(self, stage: str, start: str = "") -> dict[str, str]:
        """{key: etag} of every manifest of a stage whose key begins with `start`."""
        found = {}
        below = f"{FOLDER}{stage}/"
        for one in self.bucket.objects_by(DIGITS, below + start):
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
        found = {key: self.memory.record(stage, key, etags[key]) for key in wanted}
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
        self.memory.add(stage, manifest.key, record, text, WHOLE)
        return record

    def delete(self, stage: str, key: str) -> None:
        self.bucket.delete([_object(stage, key)])

    def address(self, stage: str, key: str) -> str:
        return f"{self.bucket}/{_object(stage, key)}"

    def _ask(self, stage: str, key: str, strict: bool = False) -> Record | None:
        """The manifest as it is now; asked for in a way that sends nothing where it is as it is remembered."""
        etag = self.memory.etag(stage, key)
        record = self.memory.record(stage, key, etag) if etag else None
        known = etag if record else None
        content = self.bucket.get(_object(stage, key), known)
        if content is None or (known and content.etag == known):
            return record if content else None
        text = content.body.decode("utf-8", "replace")
        where = self.address(stage, key)
        try:
            found = read_record(json.loads(text), content.etag, where)
        except (ValueError, TextmillError) as error:
            trouble = error if isinstance(error, TextmillError) else TextmillError(damaged(where, str(error)))
            if strict:
                raise trouble from None
            log.warning("%s", trouble)
            return None
        self.memory.add(stage, key, found, json.dumps(json.loads(text)))
        return found


def _object(stage: str, key: str) -> str:
    return f"{FOLDER}{stage}/{key}.json"
