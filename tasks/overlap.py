"""The stage beside the corpus: how much of its validation text its training text holds, too.

Each slot is sampled by itself, so that a growing corpus samples only what is new; one artifact on top compares the
samples. Nothing is built from it but the report.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from data.duplicates import DROPS_FILE
from data.facts import Facts
from data.manifest import ArtifactRef
from data.overlap.report import SlotParts, write_overlap
from data.overlap.sampling import NGRAM, ONE_IN, sample_slot
from data.store import Build
from tasks.registry import identity
from tasks.run import Run
from tasks.slots import Slot
from tasks.units import Unit, UnitProgress, stage_work


def measure_overlap(
    run: Run, documents: Sequence[Slot], drops: Sequence[Slot], corpus: Sequence[Slot], index: ArtifactRef, name: str
) -> ArtifactRef:
    """Sample every slot and compare the samples; `index` is that of the corpus."""
    place = run.store.place
    config = {"ngram": NGRAM, "one_in": ONE_IN}
    units = []
    for document, drop, slot in zip(documents, drops, corpus, strict=True):
        inputs: dict[str, str | list[str]] = {
            "documents": document.ref.digest,
            "drops": run.store.manifest(drop.ref).files[DROPS_FILE].logical,
            "corpus": slot.ref.digest,
        }
        make = partial(_sample, place(document.ref), place(drop.ref) / DROPS_FILE, place(slot.ref))
        cited = (document.ref, drop.ref, slot.ref)
        what = identity("overlap", config, inputs)
        units.append(Unit(slot.name, slot.label, what, cited, make, reads=dict.fromkeys(cited, "*")))
    with stage_work(run, "overlap", len(units) + 1) as work:
        samples = work.build(units)
        parts = [
            SlotParts(slot.source, place(sample), place(drop.ref), place(slot.ref))
            for slot, sample, drop in zip(corpus, samples, drops, strict=True)
        ]
        inputs = {
            "index": index.digest,
            "samples": [sample.digest for sample in samples],
            "duplicates": [drop.ref.digest for drop in drops],
        }
        whole = config | {"sources": [slot.source for slot in corpus]}
        its_identity = identity("overlap", whole, inputs)
        reads = dict.fromkeys((*samples, *(slot.ref for slot in (*drops, *corpus))), "*")
        compare = partial(_compare, parts)
        unit = Unit(name, f"overlap in {name}", its_identity, (index, *samples), compare, reads=reads)
        (ref,) = work.build([unit])
    run.finish("overlap")
    return ref


def _sample(documents: Path, drops: Path, corpus: Path, build: Build, progress: UnitProgress) -> Facts:
    return sample_slot(documents, drops, corpus, build.out)


def _compare(parts: Sequence[SlotParts], build: Build, progress: UnitProgress) -> Facts:
    return write_overlap(parts, build.out, progress)
