"""What an artifact is called and what it says of itself: identity, key, reference, manifest.

The key is a hash of what determines the payload and of nothing else: no path, host, device, date, worker count or
display name may enter an `Identity`. Knows nothing of directories; `data/published.py` puts manifests on disk.
"""

import hashlib
import json
import re
import unicodedata
from dataclasses import asdict, dataclass, field
from typing import Any

from data.errors import TextmillError

FORMAT = 1  # of manifest.json; raised when a reader of the older one would misread it
KEY_LENGTH = 16  # hexadecimal digits


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value: keys sorted, no white space; NaN and infinity are refused (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def safe_name(text: str) -> str:
    """A display name that is one harmless path component: letters, digits, `.`, `_`, `-`; at most 60 characters."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip(".-_")[:60].rstrip(".-_") or "unnamed"


@dataclass(frozen=True)
class Identity:
    """Everything that determines an artifact's payload.

    stage      name of the stage
    version    raised by hand when the stage's meaning changes
    config     identity config, JSON-able
    inputs     role -> payload digest, or list of them in the order in which they are read
    libraries  versions of libraries that bear on the bytes
    """

    stage: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, str | list[str]] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()[:KEY_LENGTH]


@dataclass(frozen=True, order=True)
class ArtifactRef:
    """A published artifact: where it lies in any store, and the digest of its payload."""

    stage: str
    name: str  # a label for people
    key: str
    digest: str  # of the payload, 64 hexadecimal digits

    def __str__(self) -> str:
        return f"{self.stage}/{self.name}-{self.key}"


def ref_in(text: str) -> ArtifactRef:
    """The reference that manifests spell as `stage/name-key`; its digest is not known from that."""
    stage, _, label = text.partition("/")
    name, _, key = label.rpartition("-")
    return ArtifactRef(stage, name, key, "")


def key_in(text: str) -> str:
    """The key in a reference as manifests spell it."""
    return text.rpartition("-")[2]


@dataclass(frozen=True)
class FileEntry:
    """One file of an artifact: size in bytes, digest of its bytes, digest of what it says."""

    bytes: int
    sha256: str
    logical: str


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`: written last, so its presence is the artifact.

    On disk it also carries `sha256`, a digest of its own content, so that no bit of it changes unseen.
    `recipe` is the identity as it was hashed, `inputs` the references behind its digests, `files` every file but the
    manifest itself. `counts`, `licences`, `notes` and `details` are observations; no key depends on them.
    """

    name: str
    key: str
    recipe: Identity
    inputs: list[str]
    payload_digest: str
    files: dict[str, FileEntry]
    counts: dict[str, int | float]
    licences: list[str]
    notes: list[str]
    details: dict[str, Any]
    created: str  # ISO 8601, UTC
    textmill: str  # version of this project
    format: int = FORMAT

    @property
    def ref(self) -> ArtifactRef:
        return ArtifactRef(self.recipe.stage, self.name, self.key, self.payload_digest)

    def to_json(self) -> str:
        content = json.loads(json.dumps(asdict(self), allow_nan=False))  # keys and tuples as a reader will see them
        content["sha256"] = _content_digest(content)
        return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> "Manifest":
        """Read a manifest; `where` names it in errors. Raises TextmillError when it is damaged or not one of ours."""
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise TextmillError(_damaged(where, error)) from error
        return cls.from_values(raw, where)

    @classmethod
    def from_values(cls, raw: Any, where: str) -> "Manifest":
        """Like `from_json`, from JSON that was read already; `raw` is used up."""
        try:
            if raw.get("format") != FORMAT:
                raise TextmillError(
                    f"{where} has manifest format {raw.get('format')}, this version reads {FORMAT}: "
                    "use the version of Textmill that wrote it, or delete that folder to have it built again."
                )
            recorded = raw.pop("sha256", "missing")
            if recorded != (found := _content_digest(raw)):
                raise ValueError(f"its sha256 is {recorded[:12]}, its content gives {found[:12]}")
            raw["recipe"] = Identity(**raw["recipe"])
            raw["files"] = {path: FileEntry(**entry) for path, entry in raw["files"].items()}
            return cls(**raw)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise TextmillError(_damaged(where, error)) from error


def _damaged(where: str, error: Exception) -> str:
    return f"{where} is damaged ({error}). Delete that folder: the next run builds it again."


def _content_digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def differences(one: Any, other: Any, at: str = "") -> list[tuple[str, Any, Any]]:
    """Where two JSON-able values differ: (dotted path, value in `one`, value in `other`); None stands for absent."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for name in sorted(one.keys() | other.keys()):
            found += differences(one.get(name), other.get(name), f"{at}.{name}" if at else name)
        return found
    if isinstance(one, list) and isinstance(other, list):
        found = []
        for i in range(max(len(one), len(other))):
            left, right = (side[i] if i < len(side) else None for side in (one, other))
            found += differences(left, right, f"{at}[{i}]")
        return found
    return [] if one == other else [(at, one, other)]
