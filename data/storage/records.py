"""What is published of an artifact in a bucket: its manifest, and where its payload lies."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from data.errors import TextmillError
from data.manifest import ArtifactRef, Manifest, safe_name


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


def read_record(content: Any, etag: str, where: str) -> Record:
    """The record that an object's JSON holds. Raises TextmillError when it is damaged; `where` names it then."""
    if not isinstance(content, dict) or "manifest" not in content or not isinstance(content.get("attempt"), str):
        raise TextmillError(damaged(where, "it is no manifest"))
    return Record(Manifest.from_values(content["manifest"], where), str(content["attempt"]), etag)


def damaged(where: str, why: str) -> str:
    """What to tell of an object that is no record."""
    return f"{where} is damaged ({why}). Delete it: the next run builds it again."
