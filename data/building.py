"""What a stage's function gets to build an artifact in, and what the manifest then says of it."""

import json
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from data.digests import file_digest, logical_digest, payload_digest
from data.facts import Facts
from data.manifest import ArtifactRef, FileEntry, Identity, Manifest, safe_name
from data.verification import OBSERVED, payload_files


@dataclass(frozen=True)
class Build:
    """What a stage's function gets: `out` becomes the payload; `keep` outlives a killed build and is found again."""

    out: Path
    keep: Path

    @property
    def observed(self) -> Path:
        """Folder inside `out` for timings, metrics and logs."""
        folder = self.out / OBSERVED
        folder.mkdir(exist_ok=True)
        return folder


def begin_build(work: Path) -> Build:
    """The build in a work folder: `out` is empty, `keep` holds what an earlier try has left."""
    build = Build(work / "out", work / "keep")
    shutil.rmtree(build.out, ignore_errors=True)
    build.out.mkdir(parents=True)
    build.keep.mkdir(exist_ok=True)
    return build


def make_payload(
    build: Build, identity: Identity, name: str, make: Callable[[Build], Facts], inputs: Iterable[ArtifactRef]
) -> Manifest:
    """Let `make` fill the build's `out`, and put the manifest of what it made together; how long it took is noted."""
    started = time.perf_counter()
    facts = make(build)
    seconds = round(time.perf_counter() - started, 3)
    (build.observed / "build.json").write_text(json.dumps({"seconds": seconds}) + "\n")
    return _describe(identity, safe_name(name), facts, [str(ref) for ref in inputs], build.out)


def _describe(identity: Identity, name: str, facts: Facts, inputs: list[str], out: Path) -> Manifest:
    """Digest every file below `out` and put the manifest together."""
    files = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        digest = file_digest(path)
        logical = logical_digest(path) if path.suffix == ".parquet" else digest
        files[path.relative_to(out).as_posix()] = FileEntry(path.stat().st_size, digest, logical)
    return Manifest(
        name=name,
        key=identity.key,
        recipe=identity,
        inputs=inputs,
        payload_digest=payload_digest(payload_files(files)),
        files=files,
        counts=facts.counts,
        licences=sorted(set(facts.licences)),
        notes=facts.notes,
        details=facts.details,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        textmill=_own_version(),
    )


def _own_version() -> str:
    try:
        return version("textmill")
    except PackageNotFoundError:
        return "not installed"
