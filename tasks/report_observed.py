"""What was observed while a run's artifacts were built: curves, samples along the way, timings, notes, versions.

None of it is part of an identity; any of it may be missing, and then the report does without. Knows nothing of pages.
"""

import json
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data.errors import TextmillError
from data.manifest import ArtifactRef, Manifest
from data.store import Store
from data.verification import OBSERVED
from tasks.prompts import written
from tasks.registry import STAGES, Stage
from tasks.report_facts import Made, read_json, read_lines
from tasks.run import StageRecord

COMPLETIONS_FILE = "completions.json"
DROPS_FILE = "drops.json"
PACKAGES = ("prefect", "torch", "numpy", "pyarrow", "tokenizers", "tiktoken", "gigatoken", "safetensors", "matplotlib")
MAX_ATTEMPTS = 4  # columns of samples side by side, the last of them by the published model
MAX_BOILERPLATE = 20  # lines shown
MAX_EXAMPLES = 3  # dropped documents shown per reason

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Curve:
    """Values over steps; both tuples have one length, steps ascend."""

    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)


@dataclass(frozen=True)
class Curves:
    """How training went. Losses in nats per token; `best_step` is that of the published weights, None if unknown."""

    train: Curve = Curve()
    validation: Curve = Curve()
    bits_per_byte: Curve = Curve()
    best_step: int | None = None


@dataclass(frozen=True)
class Attempt:
    """What a model wrote after a prompt; of a prompt with gaps, the whole text with them filled in."""

    label: str  # e.g. `Step 100`
    text: str


@dataclass(frozen=True)
class PromptSamples:
    """One prompt and what the model made of it as it learned."""

    prompt: str
    attempts: tuple[Attempt, ...]

    @property
    def beginning(self) -> str:
        """What stands before each attempt's text."""
        return written(self.prompt, "")


@dataclass(frozen=True)
class Drop:
    """Documents dropped for one reason, with a few of them."""

    reason: str
    count: int
    examples: tuple[Mapping[str, Any], ...]  # native_id, position, characters, excerpt


@dataclass(frozen=True)
class Boilerplate:
    """A line that was taken out, and how many documents of the slots that show it lost it."""

    text: str
    documents: int


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


def read_curves(store: Store, model: ArtifactRef) -> Curves:
    """Loss curves of a model, empty ones where it left no metrics."""
    lines = list(read_lines(_observed_file(store, model, "metrics.jsonl")))
    best = store.manifest(model).counts.get("best_step")
    return Curves(
        _curve(lines, "train", "loss"),
        _curve(lines, "evaluation", "val_loss"),
        _curve(lines, "evaluation", "val_bpb"),
        None if best is None else int(best),
    )


def _curve(lines: Sequence[Mapping[str, Any]], kind: str, field: str) -> Curve:
    points = [
        (int(line["step"]), float(line[field]))
        for line in lines
        if line.get("kind") == kind and line.get(field) is not None
    ]
    return Curve(tuple(step for step, _ in points), tuple(value for _, value in points))


def read_completions(store: Store, samples: ArtifactRef) -> dict[str, str]:
    """{prompt: what the published model wrote after it}, the first completion of each prompt."""
    found: dict[str, str] = {}
    for one in read_json(store.path(samples) / COMPLETIONS_FILE)["completions"]:
        found.setdefault(one["prompt_text"], one["text"])
    return found


def read_samples(store: Store, made: Made, decode: Decode) -> list[PromptSamples]:
    """What the model wrote at its first step, on the way and at its best, prompt by prompt.

    The model's manifest names the prompts that it was given along the way; a model reused with other prompts has no
    attempts for those.
    """
    completions = read_completions(store, made.samples)
    prompts = store.manifest(made.model).details.get("prompts", list(completions))
    earlier: dict[str, dict[int, str]] = {prompt: {} for prompt in completions}
    for line in read_lines(_observed_file(store, made.model, "samples.jsonl")):
        if line["prompt"] < len(prompts) and prompts[line["prompt"]] in earlier:
            earlier[prompts[line["prompt"]]][line["step"]] = decode(line["ids"])
    return [
        PromptSamples(
            prompt,
            (
                *(Attempt(f"Step {step:,}", earlier[prompt][step]) for step in _spread(sorted(earlier[prompt]))),
                Attempt("Best weights", text),
            ),
        )
        for prompt, text in completions.items()
    ]


def _spread(steps: Sequence[int]) -> list[int]:
    """The first step and some between it and the last, evenly spread; the last is left to the published model."""
    room = MAX_ATTEMPTS - 1
    candidates = list(steps[:-1]) or list(steps)
    if len(candidates) <= room:
        return candidates
    return [candidates[round(i * (len(candidates) - 1) / (room - 1))] for i in range(room)]


def read_drops(store: Store, documents: Iterable[ArtifactRef]) -> list[Drop]:
    """Documents that cleaning dropped, the commonest reason first, with a few examples."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[Mapping[str, Any]]] = {}
    for ref in documents:
        drops = json.loads(store.read(ref, DROPS_FILE))
        counts.update(drops["counts"])
        for reason, found in drops["examples"].items():
            shown = examples.setdefault(reason, [])
            shown += found[: MAX_EXAMPLES - len(shown)]
    return [Drop(reason, count, tuple(examples.get(reason, ()))) for reason, count in counts.most_common()]


def read_boilerplate(store: Store, made: Made) -> list[Boilerplate]:
    """Lines that were taken out of many documents, the most frequent first, as the slots' examples show them."""
    found: Counter[str] = Counter()
    for ref in made.corpus:
        for one in store.manifest(ref).details.get("boilerplate_examples", ()):
            found[one["text"]] += one["documents"]
    return [Boilerplate(text, times) for text, times in found.most_common(MAX_BOILERPLATE)]


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
        waiting += [_parse(name) for name in manifest.inputs]
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


def _observed_file(store: Store, ref: ArtifactRef, name: str) -> Path:
    """Where a model's artifact has a file about its training: at its top, or below `observed`."""
    folder = store.path(ref)
    return folder / name if (folder / name).exists() else folder / OBSERVED / name


def _build_seconds(store: Store, ref: ArtifactRef) -> float | None:
    try:
        return float(json.loads(store.read(ref, f"{OBSERVED}/build.json"))["seconds"])
    except FileNotFoundError:
        return None


def _parse(name: str) -> ArtifactRef:
    """The reference that a manifest names as `stage/name-key`; its digest is not known from that."""
    stage, _, rest = name.partition("/")
    label, _, key = rest.rpartition("-")
    return ArtifactRef(stage, label, key, "")
