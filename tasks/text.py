"""The stages between raw slots and the corpus, but for duplicates: documents, corpus shards, and the index on top.

Each works slot by slot, in the order in which slots were opened, over all sources; that order never changes as a
corpus grows, so a later slot is compared with earlier ones and never the other way round.
"""

import json
import threading
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from data.apart import Processes
from data.boilerplate.config import LinesConfig
from data.boilerplate.join import FILES as FREQUENT_LINES
from data.boilerplate.join import FrequentLines
from data.boilerplate.removal import LineRemoval
from data.cleaning import CleanConfig, normalise
from data.corpus import TRAIN_FILE, VALIDATION_FILE, SplitConfig, split_slot
from data.documents import Beside, clean_raw
from data.duplicates import DROPS_FILE
from data.errors import TextmillError
from data.facts import Facts
from data.manifest import ArtifactRef
from data.near.config import NearConfig
from data.overlap.benchmarks import read_benchmarks
from data.overlap.config import DecontaminationConfig
from data.overlap.decontaminating import CONTAMINATED, Decontamination
from data.quality.rules import QualityConfig
from data.sources.base import SourceConfig, of_source
from data.sources.known import source_id
from data.sources.pack import content_bytes
from data.store import Build
from data.tombstones import read_tombstones
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import PROJECT_ROOT
from tasks.units import StageWork, Unit, UnitProgress, run_units, stage_work

INDEX_FILE = "index.json"
APART_BYTES = 4_000_000  # of a raw slot that is worth a process of its own
RULE_GROUPS = tuple(f"{group}_" for group in QualityConfig.model_fields)  # begin the names of its drops


@dataclass(frozen=True)
class Slot:
    """One slot of one source on its way through the stages; `ref` is what the last stage made of it."""

    source: str  # the recipe's name for the source
    number: int  # of the slot in its source, from 0
    opened: str  # ISO 8601; orders slots over sources
    label: str  # e.g. `python-docs 1/1`
    ref: ArtifactRef

    @property
    def name(self) -> str:
        return f"{self.source}-{self.number:04d}"


def clean(
    run: Run,
    slots: Sequence[Slot],
    sources: Mapping[str, SourceConfig],
    config: CleanConfig,
    near: NearConfig | None = None,
    decontamination: DecontaminationConfig | None = None,
    lines: LinesConfig | None = None,
) -> list[Slot]:
    """Documents of every raw slot; `near` and `lines` say what is prepared for finding near duplicates and lines that
    come in many documents."""
    benchmarks: Decontamination | None = None
    if decontamination:
        items = read_benchmarks(decontamination, PROJECT_ROOT, partial(normalise, config=config))
        benchmarks = Decontamination(decontamination, items)
    units = []
    processes = Processes()
    tombstones = {name: read_tombstones(run.store.refs, source_id(source)) for name, source in sources.items()}
    for slot in slots:
        source = sources[slot.source]
        with of_source(slot.source):
            reading = source.reading_identity()
        recipe = {
            "cleaning": config.identity(source.personal),
            "reading": reading,
            "source": slot.source,
            "licence": source.licence,
        }
        if near:
            recipe["near"] = near.signing_identity()
        if benchmarks:
            recipe["decontamination"] = benchmarks.identity()
        if lines:
            recipe["lines"] = lines.counting_identity()
        what = identity("documents", recipe, {"raw": slot.ref.digest})
        sieve = tombstones[slot.source].concerning(what.key)
        if sieve:
            what = identity("documents", recipe | {"forgotten": sieve.digest()}, {"raw": slot.ref.digest})
        beside = Beside(near, benchmarks, lines, sieve)
        raw = run.store.path(slot.ref)
        make = partial(_clean, source, raw, config, slot.source, beside, processes, threading.get_ident())
        units.append(Unit(slot.name, slot.label, what, (slot.ref,), make))
    with processes:
        documents = with_refs(slots, run_units(run, "documents", units))
    for name, source in sources.items():
        _refuse_empty(run, name, source, [slot for slot in documents if slot.source == name])
    return documents


def _refuse_empty(run: Run, name: str, source: SourceConfig, documents: Sequence[Slot]) -> None:
    """Raise TextmillError when cleaning left nothing of a source, with where it lies and what became of it."""
    manifests = [run.store.manifest(slot.ref) for slot in documents]
    if any(manifest.counts["documents_out"] for manifest in manifests):
        return
    reasons: dict[str, int] = defaultdict(int)
    for manifest in manifests:
        for field, count in manifest.counts.items():
            if field.startswith("dropped_"):
                reasons[field.removeprefix("dropped_")] += int(count)
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "it holds none"
    examples = [note.rstrip(".") for manifest in manifests for note in manifest.notes][:3]
    settings = ["cleaning.min_characters"] if "too_short" in reasons else []
    settings += ["cleaning.quality"] if any(reason.startswith(RULE_GROUPS) for reason in reasons) else []
    settings += ["cleaning.languages"] if any(reason.startswith("language") for reason in reasons) else []
    loosen = f", or loosen cleaning ({', '.join(settings)})" if settings else ""
    if any(reason.startswith(CONTAMINATED) for reason in reasons):
        loosen += ", or compare it with fewer benchmarks (decontamination.benchmarks)"
    remedy = f"Add text there{loosen}."
    raise TextmillError(
        f"The source {name!r} ({source.kind}, {source.location()}) has no usable document left: {dropped}. "
        f"{' '.join(f'{example}.' for example in examples)} {remedy}"
    )


def _clean(
    source: SourceConfig,
    raw: Path,
    config: CleanConfig,
    name: str,
    beside: Beside,
    processes: Processes,
    flow_thread: int,
    build: Build,
    progress: UnitProgress,
) -> Facts:
    """In a process of its own where others are built at the same time, if it is worth starting one."""
    arguments = (source, raw, build.out, config, name, beside)
    if threading.get_ident() == flow_thread or content_bytes(raw) < APART_BYTES:
        return clean_raw(*arguments, progress=progress)
    return processes.call(clean_raw, *arguments, progress=progress)


def split(
    run: Run,
    documents: Sequence[Slot],
    drops: Sequence[Slot],
    config: SplitConfig,
    name: str,
    lines: LinesConfig | None = None,
) -> tuple[list[Slot], ArtifactRef]:
    """Train and validation shards of every slot, and the index of them all; with `lines` the lines that `drops` lists
    are taken out. The flow says itself when the stage is done, after its card.

    How many validation passages a slot must still contribute, and how many bytes it may, depends on the earlier slots
    of its source; once both are settled the rest is looked up in bulk.
    """
    made: dict[int, ArtifactRef] = {}
    with stage_work(run, "corpus", len(documents)) as work:
        by_source: dict[str, list[int]] = defaultdict(list)
        for at, slot in enumerate(documents):
            by_source[slot.source].append(at)
        for positions in by_source.values():
            passages = bytes_ = 0
            waiting = list(positions)
            while waiting:
                need = max(0, config.min_passages - passages)
                room = _coarse(config.max_validation_bytes - bytes_, config.max_validation_bytes)
                batch = waiting[:1] if need or room else waiting
                units = [_split_unit(run, documents[at], drops[at], config, need, room, lines) for at in batch]
                refs = work.build(units)
                for at, ref in zip(batch, refs, strict=True):
                    made[at] = ref
                    counts = run.store.manifest(ref).counts
                    passages += int(counts["validation_passages"])
                    bytes_ += int(counts["validation_bytes"])
                waiting = waiting[len(batch) :]
        slots = with_refs(documents, [made[at] for at in range(len(documents))])
        index = _publish_index(run, work, slots, config, name)
    return slots, index


def _coarse(room: int, limit: int) -> int:
    """`room` rounded down to a tenth of the limit, so that an edited document does not move every later slot's key."""
    tenth = max(1, limit // 10)
    return max(0, room) // tenth * tenth


def _split_unit(
    run: Run, slot: Slot, drops: Slot, config: SplitConfig, need: int, room: int, lines: LinesConfig | None
) -> Unit:
    recipe = {"split": config.model_dump(mode="json"), "need": need, "room": room}
    files = run.store.manifest(drops.ref).files
    inputs: dict[str, str | list[str]] = {"documents": slot.ref.digest, "drops": files[DROPS_FILE].logical}
    if lines:
        recipe["lines"] = {**lines.counting_identity(), "unicode": unicodedata.unidata_version}
        inputs["lines"] = [files[name].logical for name in FREQUENT_LINES]
    make = partial(_split, run.store.path(slot.ref), run.store.path(drops.ref), config, need, room, lines)
    return Unit(slot.name, slot.label, identity("corpus", recipe, inputs), (slot.ref, drops.ref), make)


def _split(
    documents: Path,
    drops: Path,
    config: SplitConfig,
    need: int,
    room: int,
    lines: LinesConfig | None,
    build: Build,
    progress: UnitProgress,
) -> Facts:
    removal = LineRemoval(lines, FrequentLines.read(drops)) if lines else None
    return split_slot(documents, drops / DROPS_FILE, build.out, config, need, room, progress, removal)


def _publish_index(run: Run, work: StageWork, slots: Sequence[Slot], config: SplitConfig, name: str) -> ArtifactRef:
    """The corpus as one artifact: references to its slots and the sums of what they hold."""
    entries: list[dict[str, Any]] = [
        {"source": slot.source, "number": slot.number, "slot": slot.ref.key, "digest": slot.ref.digest}
        for slot in slots
    ]
    recipe = {"index": [[slot.source, slot.number] for slot in slots]}
    unit = Unit(
        name,
        f"index of {name}",
        identity("corpus", recipe, {"slots": [slot.ref.digest for slot in slots]}),
        tuple(slot.ref for slot in slots),
        partial(_write_index, entries, [run.store.manifest(slot.ref).counts for slot in slots],
                sorted({licence for slot in slots for licence in run.store.manifest(slot.ref).licences})),
    )  # fmt: skip
    return work.build([unit])[0]


def _write_index(
    entries: list[dict[str, Any]],
    counts: list[dict[str, int | float]],
    licences: list[str],
    build: Build,
    progress: UnitProgress,
) -> Facts:
    (build.out / INDEX_FILE).write_text(json.dumps({"slots": entries}, indent=1, sort_keys=True) + "\n")
    total: dict[str, int | float] = defaultdict(int)
    for one in counts:
        for field, number in one.items():
            total[field] += number
    return Facts(counts=dict(total), licences=licences)


def train_shards(run: Run, corpus: Sequence[Slot]) -> dict[str, list[tuple[Path, str]]]:
    """{source: [(train shard, logical digest)]} of the slots that have training text."""
    return _shards(run, corpus, TRAIN_FILE)


def validation_shards(run: Run, corpus: Sequence[Slot]) -> dict[str, list[tuple[Path, str]]]:
    """{source: [(validation shard, logical digest)]} of the slots that have validation text."""
    return _shards(run, corpus, VALIDATION_FILE)


def _shards(run: Run, corpus: Sequence[Slot], file: str) -> dict[str, list[tuple[Path, str]]]:
    found: dict[str, list[tuple[Path, str]]] = {}
    for slot in corpus:
        files = run.store.manifest(slot.ref).files
        if file in files:
            found.setdefault(slot.source, []).append((run.store.path(slot.ref) / file, files[file].logical))
    return found


def with_refs(slots: Sequence[Slot], refs: Sequence[ArtifactRef]) -> list[Slot]:
    """The slots as the next stage made them."""
    return [replace(slot, ref=ref) for slot, ref in zip(slots, refs, strict=True)]
