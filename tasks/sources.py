"""The raw stage: look at every source, let the ledger assign items to slots, fetch the slots that changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from data.digests import text_digest
from data.errors import TextmillError
from data.facts import Facts
from data.ledger import Changes, LedgerSlot, as_it_stands, assign, within
from data.manifest import ArtifactRef, canonical_json
from data.sources.base import SlotItem, SourceConfig, slot_identity
from data.store import Build, Store
from tasks.progress import watcher
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import PROJECT_ROOT
from tasks.secrets import ask_prefect_too
from tasks.text import Slot
from tasks.units import Unit, UnitProgress, as_it_is, stage_work

ask_prefect_too()
_MAX_NAMED = 10  # slots named in one error
_NOT_FETCHED = ArtifactRef("raw", "", "", "")


@dataclass(frozen=True)
class SlotPlan:
    """A slot as the ledger has it, before anything is fetched; `earlier` may hold items of it: what it held before."""

    slot: Slot
    items: tuple[SlotItem, ...]
    earlier: tuple[ArtifactRef, ...]


def fetch(run: Run, sources: Mapping[str, SourceConfig]) -> list[Slot]:
    """Raw slots of all sources, in the order in which they were opened; only what is new or changed is fetched."""
    opened = datetime.now(UTC).isoformat(timespec="microseconds")
    planned: list[SlotPlan] = []
    for name, source in sources.items():
        if run.runtime.offline and source.reaches_network():
            plans, notes = _last_seen(name, source, run.store)
        else:
            plans, notes = look(name, as_it_is(source), as_it_is(run.store), opened)
        planned += plans
        run.notes += notes
    planned.sort(key=lambda plan: (plan.slot.opened, plan.slot.source, plan.slot.number))
    units = [_unit(run.store, sources[plan.slot.source], plan) for plan in planned]
    if run.runtime.offline:
        _refuse_to_fetch(run, [unit for unit, plan in zip(units, planned, strict=True)
                               if sources[plan.slot.source].reaches_network()])  # fmt: skip
    with stage_work(run, "raw", len(planned)) as work:
        refs = work.build(units)
    slots = [replace(plan.slot, ref=ref) for plan, ref in zip(planned, refs, strict=True)]
    for name, source in sources.items():
        fetched = {str(slot.number): slot.ref.key for slot in slots if slot.source == name}
        run.store.refs.update(f"fetched/{_source_id(source)}", partial(_replace_by, fetched))
    run.finish("raw")
    return slots


@task(task_run_name="look at {name}", cache_policy=NO_CACHE, persist_result=False)
def look(name: str, source: SourceConfig, store: Store, opened: str) -> tuple[list[SlotPlan], list[str]]:
    """See what a source has now and bring its ledger up to date; returns its slots and what the report must say."""
    ledger_name, memo_name = f"ledgers/{_source_id(source)}", f"looks/{_source_id(source)}"
    found = source.look(PROJECT_ROOT, store.refs.read(memo_name).value)
    where = str(store.refs.root / ledger_name)
    slots: list[LedgerSlot] = []
    changes = Changes()
    is_first_look = True

    def bring_up_to_date(ledger: Any) -> Any:
        nonlocal slots, changes, is_first_look
        is_first_look = ledger is None
        updated, slots, changes = assign(ledger, found, source.slot_bytes, opened, source.mirror, where)
        return updated

    store.refs.update(ledger_name, bring_up_to_date)
    store.refs.update(memo_name, partial(_replace_by, found.memo))
    watcher().note(f"{name}: {changes}")
    notes = [f"{name}: {problem}" for problem in found.problems]
    for note in notes:
        watcher().note(note)
    plans, capped = _plans(name, source, store, slots, is_first_look)
    return plans, notes + capped


def _last_seen(name: str, source: SourceConfig, store: Store) -> tuple[list[SlotPlan], list[str]]:
    """The slots of a source as its ledger has them, without a look. Raises TextmillError when there was never one."""
    ledger_name = f"ledgers/{_source_id(source)}"
    ledger = store.refs.read(ledger_name).value
    if ledger is None:
        raise TextmillError(
            f"The source {name!r} ({source.kind}, {source.location()}) was never looked at from this store, and "
            "runtime.offline is true: run once without it, or set the source's `enabled` to false."
        )
    plans, capped = _plans(name, source, store, as_it_stands(ledger, str(store.refs.root / ledger_name)))
    return plans, [f"{name}: offline, so its text is that of the last look.", *capped]


def _refuse_to_fetch(run: Run, units: Sequence[Unit]) -> None:
    """Raise TextmillError naming the slots of sources on the network that are not in the store."""
    there = {} if "raw" in run.refresh else run.store.find("raw", [unit.identity.key for unit in units])
    missing = [unit.label for unit in units if unit.identity.key not in there]
    if missing:
        shown = ", ".join(missing[:_MAX_NAMED]) + (", ..." if len(missing) > _MAX_NAMED else "")
        why = "they were to be refreshed" if "raw" in run.refresh else "they were never fetched into this store"
        raise TextmillError(
            f"runtime.offline is true, but {len(missing)} of {len(units)} slots need the network ({why}): {shown}. "
            "Run once without offline, or leave their sources out (`enabled`: false)."
        )


def _plans(
    name: str, source: SourceConfig, store: Store, slots: Sequence[LedgerSlot], is_first_look: bool = False
) -> tuple[list[SlotPlan], list[str]]:
    """The slots that are used of a source, and what the report must say of those that are not."""
    used = within(slots, source.max_bytes)
    notes = []
    count, total = _extent(slots)
    taken, taken_bytes = _extent(used)
    if taken < count:
        notes.append(
            f"{name}: max_bytes ({source.max_bytes:,}) takes {taken:,} of {count:,} items, {taken_bytes:,} of "
            f"{total:,} bytes."
        )
    before = store.refs.read(f"fetched/{_source_id(source)}").value or {}
    known = store.find("raw", before.values())
    plans = []
    for at, one in enumerate(used, 1):
        slot = Slot(name, one.number, one.opened, f"{name} {at}/{len(used)}", _NOT_FETCHED)
        own = known.get(before.get(str(one.number), ""))
        others = known.values() if is_first_look else ()  # the ledger was lost, so items may have moved
        plans.append(SlotPlan(slot, one.items, tuple(dict.fromkeys([*([own] if own else []), *others]))))
    return plans, notes


def _extent(slots: Sequence[LedgerSlot]) -> tuple[int, int]:
    """How many items, and how many bytes of them."""
    items = [item for slot in slots for item in slot.items]
    return len(items), sum(item.size for item in items)


def _source_id(source: SourceConfig) -> str:
    """What makes a source the same one, whatever a recipe calls it: hash(kind, location)."""
    return text_digest(canonical_json([source.kind, source.location()]))[:32]


def _replace_by(new: Any, _old: Any) -> Any:
    return new


def _unit(store: Store, source: SourceConfig, plan: SlotPlan) -> Unit:
    slot = plan.slot
    earlier = [store.path(ref) for ref in plan.earlier]
    make = partial(_fetch, source, plan.items, earlier)
    return Unit(slot.name, slot.label, identity("raw", slot_identity(source, plan.items), {}), (), make)


def _fetch(
    source: SourceConfig, items: Sequence[SlotItem], earlier: Sequence[Path], build: Build, progress: UnitProgress
) -> Facts:
    return source.fetch(items, PROJECT_ROOT, build.out, build.keep, progress, earlier)
