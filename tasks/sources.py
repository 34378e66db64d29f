"""The raw stage: look at every source, let the ledger assign items to slots, fetch the slots that changed."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from data.errors import TextmillError
from data.facts import TO_ASK_AGAIN, Facts, counted
from data.forgetting.blanking import KIND, blank_slot, concerns, readings_of
from data.forgetting.tombstones import read_tombstones
from data.ledger import Changes, LedgerSlot, as_it_stands, assign, place_of, within, without
from data.manifest import ArtifactRef
from data.sources.base import SlotItem, SourceConfig, of_source, slot_identity
from data.sources.known import note_source, source_id
from data.sources.pack import content_bytes, read_items
from data.store import Build, Store
from tasks.progress import watcher
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import PROJECT_ROOT
from tasks.secrets import ask_prefect_too
from tasks.slots import Slot
from tasks.units import Unit, UnitProgress, as_it_is, stage_work

ask_prefect_too()
_MAX_NAMED = 10  # slots or items named in one sentence
_NOT_FETCHED = ArtifactRef("raw", "", "", "")


@dataclass(frozen=True)
class SlotPlan:
    """A slot as the ledger has it, before anything is fetched; `earlier` are slots that hold items of it."""

    slot: Slot
    items: tuple[SlotItem, ...]
    earlier: tuple[ArtifactRef, ...]


@dataclass(frozen=True)
class Looked:
    """What a look at all sources has come to: their slots in the order in which they were opened, nothing fetched."""

    planned: tuple[SlotPlan, ...]
    units: tuple[Unit, ...]  # of `planned`


def look_at(run: Run, sources: Mapping[str, SourceConfig]) -> Looked:
    """Look at every source, or take its last look where the run is offline, and note what is theirs."""
    opened = datetime.now(UTC).isoformat(timespec="microseconds")
    planned: list[SlotPlan] = []
    for name, source in sources.items():
        if run.runtime.offline and source.reaches_network():
            plans, notes = _last_seen(name, source, run.store)
        elif FlowRunContext.get():
            plans, notes = look(name, as_it_is(source), as_it_is(run.store), opened)
        else:
            plans, notes = look.fn(name, source, run.store, opened)  # which needs no server
        planned += plans
        run.notes += notes
    planned.sort(key=lambda plan: (plan.slot.opened, plan.slot.source, plan.slot.number))
    units = [_unit(run, sources[plan.slot.source], plan) for plan in planned]
    for name, source in sources.items():
        keys = [unit.identity.key for unit, plan in zip(units, planned, strict=True) if plan.slot.source == name]
        note_source(run.store.refs, source, name, keys)
    return Looked(tuple(planned), tuple(units))


def fetch(run: Run, sources: Mapping[str, SourceConfig], looked: Looked | None = None) -> list[Slot]:
    """Raw slots of all sources, in the order in which they were opened; only what is new or changed is fetched.

    `looked` is the look that this run has taken already.
    """
    looked = looked or look_at(run, sources)
    planned, units = looked.planned, looked.units
    if run.runtime.offline:
        _refuse_to_fetch(run, [unit for unit, plan in zip(units, planned, strict=True)
                               if sources[plan.slot.source].reaches_network()])  # fmt: skip
    with stage_work(run, "raw", len(planned)) as work:
        refs = work.build(units)
    slots = [replace(plan.slot, ref=ref) for plan, ref in zip(planned, refs, strict=True)]
    for name, source in sources.items():
        fetched = {_place(slot): slot.ref.key for slot in slots if slot.source == name}
        run.store.refs.update(f"fetched/{source_id(source)}", partial(_replace_by, fetched))
    run.finish("raw")
    return slots


@task(task_run_name="look at {name}", cache_policy=NO_CACHE, persist_result=False)
def look(name: str, source: SourceConfig, store: Store, opened: str) -> tuple[list[SlotPlan], list[str]]:
    """See what a source has now and bring its ledger up to date; returns its slots and what the report must say."""
    ledger_name, memo_name = f"ledgers/{source_id(source)}", f"looks/{source_id(source)}"
    with of_source(name):
        found = source.look(PROJECT_ROOT, store.refs.read(memo_name).value)
    where = store.refs.place(ledger_name)
    forgotten = read_tombstones(store.refs, source_id(source)).holds_item
    slots: list[LedgerSlot] = []
    changes = Changes()

    def bring_up_to_date(ledger: Any) -> Any:
        nonlocal slots, changes
        updated, slots, changes = assign(ledger, found, source.slot_bytes, opened, source.mirror, where, forgotten)
        return updated

    store.refs.update(ledger_name, bring_up_to_date)
    store.refs.update(memo_name, partial(_replace_by, found.memo))
    watcher().note(f"{name}: {changes}")
    notes = [f"{name}: {problem}" for problem in found.problems]
    if changes.deleted:
        count = len(changes.deleted)
        notes.append(f"{name}: gone at the source, and so here, too ({count:,}): {_named(changes.deleted)}.")
    if left_out := sum(forgotten(item.native_id) for item in found.items):
        notes.append(f"{name}: {counted(left_out, 'item')} left out, as `textmill forget` was told.")
    for note in notes:
        watcher().note(note)
    plans, capped = _plans(name, source, store, slots)
    return plans, notes + capped


def _last_seen(name: str, source: SourceConfig, store: Store) -> tuple[list[SlotPlan], list[str]]:
    """The slots of a source as its ledger has them, without a look. Raises TextmillError when there was never one."""
    ledger_name = f"ledgers/{source_id(source)}"
    ledger = store.refs.read(ledger_name).value
    if ledger is None:
        raise TextmillError(
            f"The source {name!r} ({source.kind}, {source.location()}) was never looked at from this store, and "
            "runtime.offline is true: run once without it, or set the source's `enabled` to false."
        )
    where = store.refs.place(ledger_name)
    left = without(ledger, read_tombstones(store.refs, source_id(source)).holds_item, where)
    plans, capped = _plans(name, source, store, as_it_stands(left, where))
    return plans, [f"{name}: offline, so its text is that of the last look.", *capped]


def _refuse_to_fetch(run: Run, units: Sequence[Unit]) -> None:
    """Raise TextmillError naming the slots of sources on the network that are not in the store."""
    there = {} if "raw" in run.refresh else run.store.find("raw", [unit.identity.key for unit in units])
    missing = [unit.label for unit in units if unit.identity.key not in there]
    if missing:
        why = "they were to be refreshed" if "raw" in run.refresh else "they were never fetched into this store"
        raise TextmillError(
            f"runtime.offline is true, but {len(missing)} of {len(units)} slots need the network ({why}): "
            f"{_named(missing)}. Run once without offline, or leave their sources out (`enabled`: false)."
        )


def _plans(
    name: str, source: SourceConfig, store: Store, slots: Sequence[LedgerSlot]
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
    earlier = _fetched_before(store, source, slots, used)
    plans = []
    for at, one in enumerate(used, 1):
        slot = Slot(name, one.number, one.opened, f"{name} {at}/{len(used)}", _NOT_FETCHED)
        plans.append(SlotPlan(slot, one.items, earlier[_place(one)]))
    return plans, notes


def _fetched_before(
    store: Store, source: SourceConfig, slots: Sequence[LedgerSlot], used: Sequence[LedgerSlot]
) -> dict[str, tuple[ArtifactRef, ...]]:
    """For each slot that is used, by place, what was fetched for it before.

    After a lost ledger nothing was: then, until a run has fetched all, every slot that holds an item of it.
    """
    before: Mapping[str, str] = store.refs.read(f"fetched/{source_id(source)}").value or {}
    known = store.find("raw", before.values())
    fetched = {place: known[key] for place, key in before.items() if key in known}
    found = {_place(one): [fetched[_place(one)]] if _place(one) in fetched else [] for one in used}
    strays = fetched.keys() - {_place(one) for one in slots}
    at = {(item.native_id, item.fingerprint): _place(one) for one in used for item in one.items} if strays else {}
    for stray in sorted(strays):
        held = {(item.native_id, item.fingerprint) for item in read_items(store.path(fetched[stray]))}
        for place in {at[one] for one in held & at.keys()}:
            found[place].append(fetched[stray])
    return {place: tuple(refs) for place, refs in found.items()}


def _place(slot: Slot | LedgerSlot) -> str:
    """What no two slots of a source share, nor a slot of a ledger and one of the ledger that was lost before it."""
    return place_of(slot.opened, slot.number)


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")


def _extent(slots: Sequence[LedgerSlot]) -> tuple[int, int]:
    """How many items, and how many bytes of them."""
    items = [item for slot in slots for item in slot.items]
    return len(items), sum(item.size for item in items)


def _replace_by(new: Any, _old: Any) -> Any:
    return new


def _unit(run: Run, source: SourceConfig, plan: SlotPlan) -> Unit:
    """The unit of a slot. One that lacks what a server failed to give is made again, unless the run is offline."""
    slot, store = plan.slot, run.store
    with of_source(slot.source):
        what = identity("raw", slot_identity(source, plan.items), {})
    forgotten = read_tombstones(store.refs, source_id(source)).documents if source.kind == KIND else frozenset()
    lacks = [ref for ref in plan.earlier if ref.key == what.key and store.manifest(ref).counts.get(TO_ASK_AGAIN)]
    make = partial(_fetch, slot.source, source, plan.items, store, plan.earlier, forgotten)
    again = bool(lacks) and not run.runtime.offline
    return Unit(slot.name, slot.label, what, (), make, again, here=source.reaches_network())  # which keeps one pace


def _fetch(
    name: str,
    source: SourceConfig,
    items: Sequence[SlotItem],
    store: Store,
    earlier: Sequence[ArtifactRef],
    forgotten: Collection[str],
    build: Build,
    progress: UnitProgress,
) -> Facts:
    """Fetch a slot; the bytes of forgotten documents do not come back with the files in which they still stand."""
    with store.using(earlier), of_source(name):
        folders = [store.place(ref) for ref in earlier]
        facts = source.fetch(items, PROJECT_ROOT, build.out, build.keep, progress, folders)
        if forgotten and concerns(forgotten, items):
            fetched = build.keep / "fetched"
            shutil.rmtree(fetched, ignore_errors=True)
            build.out.rename(fetched)
            build.out.mkdir()
            blank_slot(fetched, build.out, forgotten, readings_of([source.reading_identity()]))
            shutil.rmtree(fetched)
            facts.counts["bytes"] = content_bytes(build.out)
        return facts
