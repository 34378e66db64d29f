"""The raw stage: look at every source, let the ledger assign items to slots, fetch the slots that changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import quote

from data.digests import text_digest
from data.facts import Facts
from data.ledger import assign
from data.manifest import ArtifactRef, canonical_json
from data.sources.base import SlotItem, SourceConfig, slot_identity
from data.store import Build, Store
from tasks.progress import watcher
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import PROJECT_ROOT
from tasks.text import Slot
from tasks.units import Unit, UnitProgress, run_units

_NO_REF = ArtifactRef("raw", "", "", "")  # of a slot that is not fetched yet


@dataclass(frozen=True)
class SlotPlan:
    """A slot as the ledger has it: what it holds, before anything is fetched."""

    slot: Slot
    items: tuple[SlotItem, ...]


def fetch(run: Run, sources: Mapping[str, SourceConfig]) -> list[Slot]:
    """Raw slots of all sources, in the order in which they were opened; only what is new or changed is fetched."""
    opened = datetime.now(UTC).isoformat(timespec="microseconds")
    planned: list[SlotPlan] = []
    for name, source in sources.items():
        slots, notes = look(name, quote(source), quote(run.store), opened)
        planned += slots
        run.notes += notes
    planned.sort(key=lambda plan: (plan.slot.opened, plan.slot.source, plan.slot.number))
    units = [
        Unit(
            plan.slot.name,
            plan.slot.label,
            identity("raw", slot_identity(sources[plan.slot.source], plan.items), {}),
            (),
            partial(_fetch, sources[plan.slot.source], plan.items),
        )
        for plan in planned
    ]
    refs = run_units(run, "raw", units)
    return [
        Slot(plan.slot.source, plan.slot.number, plan.slot.opened, plan.slot.label, ref)
        for plan, ref in zip(planned, refs, strict=True)
    ]


@task(task_run_name="look at {name}", cache_policy=NO_CACHE, persist_result=False)
def look(name: str, source: SourceConfig, store: Store, opened: str) -> tuple[list[SlotPlan], list[str]]:
    """See what a source has now and bring its ledger up to date; returns its slots and what the report must say."""
    found = source.look(PROJECT_ROOT)
    ledger_name = f"ledgers/{text_digest(canonical_json([source.kind, source.location()]))[:32]}"
    seen = store.refs.read(ledger_name)
    ledger, slots, changes = assign(seen.value, found, source.slot_bytes, opened)
    if ledger != seen.value:
        store.refs.swap(ledger_name, seen.token, ledger)
    watcher().note(f"{name}: {changes}")
    notes = [f"{name}: {problem}" for problem in found.problems]
    for note in notes:
        watcher().note(note)
    count = len(slots)
    return [
        SlotPlan(Slot(name, plan.number, plan.opened, f"{name} {at}/{count}", _NO_REF), plan.items)
        for at, plan in enumerate(slots, 1)
    ], notes


def _fetch(source: SourceConfig, items: Sequence[SlotItem], build: Build, progress: UnitProgress) -> Facts:
    return source.fetch(items, PROJECT_ROOT, build.out, build.keep, progress)
