"""The builds behind a run: all that its artifacts were made from, how long that took, by which versions, with which
warnings. What of it is gone is left out. Knows nothing of pages.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from data.errors import TextmillError
from data.manifest import ArtifactRef, Manifest, ref_in
from data.store import Store
from data.verification import OBSERVED
from tasks.registry import STAGES, Stage
from tasks.report_facts import Made
from tasks.run import StageRecord

PACKAGES = ("prefect", "torch", "numpy", "pyarrow", "tokenizers", "tiktoken", "gigatoken", "safetensors", "matplotlib")


@dataclass(frozen=True)
class Note:
    """A warning and where it comes from."""

    where: str
    text: str


@dataclass(frozen=True)
class StageBuilds:
    """The artifacts of one stage that a run cites.

    seconds        spent in the stage's function, over all artifacts; None where nobody noted it
    built          when the newest was built, ISO 8601; None when no manifest is left
    reused, fresh  how many of them this run found and built; None for a stage that did not run
    """

    stage: Stage
    artifacts: tuple[str, ...]
    made_from: tuple[str, ...]  # stages
    seconds: float | None
    built: str | None
    reused: int | None
    fresh: int | None


def trace(store: Store, made: Made) -> dict[str, Manifest]:
    """{`stage/name-key`: manifest} of a run's artifacts and of whatever they were made from, as far as it is left."""
    found: dict[str, Manifest] = {}
    waiting = list(made.refs())
    while waiting:
        ref = waiting.pop()
        if str(ref) in found:
            continue
        try:
            manifest = store.manifest(ref)
        except TextmillError:
            continue  # deleted since; what was made from it stands without it
        found[str(ref)] = manifest
        waiting += [ref_in(name) for name in manifest.inputs]
    by_name = sorted(found.items())
    return {name: manifest for stage in STAGES for name, manifest in by_name if manifest.recipe.stage == stage}


def read_notes(manifests: Mapping[str, Manifest], run_notes: Sequence[str]) -> list[Note]:
    """Every warning once: of the run, then of the artifacts, upstream first."""
    notes = [Note("this run", text) for text in run_notes]
    for manifest in manifests.values():
        notes += [Note(f"{manifest.recipe.stage} {manifest.name}", text) for text in manifest.notes]
    return list({note.text: note for note in reversed(notes)}.values())[::-1]


def read_builds(
    store: Store, manifests: Mapping[str, Manifest], records: Mapping[Stage, StageRecord]
) -> list[StageBuilds]:
    """Every stage behind a run, in order: what it left, from what, in which time."""
    builds = []
    for stage in STAGES:
        ours = {name: manifest for name, manifest in manifests.items() if manifest.recipe.stage == stage}
        if not ours:
            continue
        seconds = [_build_seconds(store, manifest.ref) for manifest in ours.values()]
        inputs = {name.partition("/")[0] for manifest in ours.values() for name in manifest.inputs} - {stage}
        record = records.get(stage)
        builds.append(
            StageBuilds(
                stage,
                tuple(ours),
                tuple(other for other in STAGES if other in inputs),
                None if None in seconds else sum(number for number in seconds if number is not None),
                max(manifest.created for manifest in ours.values()),
                record.reused if record else None,
                record.built if record else None,
            )
        )
    return builds


def read_versions(manifests: Mapping[str, Manifest]) -> list[tuple[str, str, str]]:
    """(program, version here and now, versions that the cited builds recorded) for whatever bears on the result."""
    recorded: dict[str, set[str]] = {"textmill": {manifest.textmill for manifest in manifests.values()}}
    for manifest in manifests.values():
        for library, one in manifest.recipe.libraries.items():
            recorded.setdefault(library, set()).add(one)
    here = {"python": platform.python_version(), "machine": platform.machine()}
    here |= {package: _installed(package) for package in ("textmill", *PACKAGES)}
    names = list(dict.fromkeys([*here, *recorded]))
    return [(name, here.get(name, ""), ", ".join(sorted(recorded.get(name, ())))) for name in names]


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _build_seconds(store: Store, ref: ArtifactRef) -> float | None:
    try:
        return float(json.loads(store.read(ref, f"{OBSERVED}/build.json"))["seconds"])
    except FileNotFoundError:
        return None
