"""The corpus stage: what is left of documents as shards for training and validation, slot by slot, and their index."""

import json
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from data.boilerplate.config import LinesConfig
from data.boilerplate.join import FILES as FREQUENT_LINES
from data.boilerplate.join import FrequentLines
from data.boilerplate.removal import LineRemoval
from data.corpus import TRAIN_FILE, VALIDATION_FILE, SplitConfig, split_slot
from data.duplicates import DROPS_FILE
from data.facts import Facts
from data.manifest import ArtifactRef
from data.store import Build
from tasks.registry import identity
from tasks.run import Run
from tasks.slots import Slot, with_refs
from tasks.units import StageWork, Unit, UnitProgress, stage_work

INDEX_FILE = "index.json"


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
    make = partial(_split, run.store.place(slot.ref), run.store.place(drops.ref), config, need, room, lines)
    cited = (slot.ref, drops.ref)
    return Unit(slot.name, slot.label, identity("corpus", recipe, inputs), cited, make, reads=dict.fromkeys(cited, "*"))


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
    """{source: [(train shard, logical digest)]} of slots with training text; the files need not lie there yet."""
    return _shards(run, corpus, TRAIN_FILE)


def validation_shards(run: Run, corpus: Sequence[Slot]) -> dict[str, list[tuple[Path, str]]]:
    """{source: [(validation shard, logical digest)]} of slots with validation text; as `train_shards`."""
    return _shards(run, corpus, VALIDATION_FILE)


def _shards(run: Run, corpus: Sequence[Slot], file: str) -> dict[str, list[tuple[Path, str]]]:
    found: dict[str, list[tuple[Path, str]]] = {}
    for slot in corpus:
        files = run.store.manifest(slot.ref).files
        if file in files:
            found.setdefault(slot.source, []).append((run.store.place(slot.ref) / file, files[file].logical))
    return found
