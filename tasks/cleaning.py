"""The documents stage: every raw slot cleaned, large ones in processes of their own."""

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from data.apart import Processes
from data.boilerplate.config import LinesConfig
from data.cleaning import CleanConfig, normalise
from data.documents import Beside, clean_raw
from data.errors import TextmillError
from data.facts import Facts
from data.forgetting.tombstones import read_tombstones
from data.near.config import NearConfig
from data.overlap.benchmarks import read_benchmarks
from data.overlap.config import DecontaminationConfig
from data.overlap.decontaminating import CONTAMINATED, Decontamination
from data.privacy.pipelines import pipeline_for
from data.quality.rules import QualityConfig
from data.sources.base import SourceConfig, of_source
from data.sources.known import source_id
from data.sources.pack import content_bytes
from data.store import Build
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import PROJECT_ROOT
from tasks.slots import Slot, with_refs
from tasks.units import Unit, UnitProgress, run_units

APART_BYTES = 4_000_000  # of a raw slot that is worth a process of its own
RULE_GROUPS = tuple(f"{group}_" for group in QualityConfig.model_fields)  # begin the names of its drops


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
    pipeline = pipeline_for(config, any(source.personal for source in sources.values()), PROJECT_ROOT)
    units = []
    processes = None if run.runner.is_apart else Processes()
    tombstones = {name: read_tombstones(run.store.refs, source_id(source)) for name, source in sources.items()}
    for slot in slots:
        source = sources[slot.source]
        with of_source(slot.source):
            reading = source.reading_identity()
        recipe = {
            "cleaning": config.identity(source.personal, pipeline),
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
        beside = Beside(near, benchmarks, lines, sieve, pipeline)
        raw = run.store.place(slot.ref)
        make = partial(_clean, source, raw, config, slot.source, beside, processes, threading.get_ident())
        units.append(Unit(slot.name, slot.label, what, (slot.ref,), make, reads={slot.ref: "*"}))
    with processes or nullcontext():
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
    processes: Processes | None,
    flow_thread: int,
    build: Build,
    progress: UnitProgress,
) -> Facts:
    """In a process of its own where others are built at the same time, if it is worth starting one."""
    arguments = (source, raw, build.out, config, name, beside)
    if processes is None or threading.get_ident() == flow_thread or content_bytes(raw) < APART_BYTES:
        return clean_raw(*arguments, progress=progress)
    return processes.call(clean_raw, *arguments, progress=progress)
