"""Looking at sources: what they hold now, which slots that makes, and the key of each. Nothing is fetched.

Knows nothing of Prefect, so that a command can see within a second or two whether anything is new.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from data.errors import TextmillError
from data.facts import TO_ASK_AGAIN, counted
from data.forgetting.tombstones import read_tombstones
from data.ledger import Changes, LedgerSlot, as_it_stands, assign, place_of, within, without
from data.manifest import ArtifactRef, Identity
from data.sources.base import SlotItem, SourceConfig, of_source
from data.sources.identity import slot_identity
from data.sources.known import note_source, source_id
from data.sources.pack import read_items
from data.store import Store
from tasks.notes import tell_notes
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import PROJECT_ROOT
from tasks.slots import Slot

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
    """What a look at all sources has come to: their slots in the order in which they were opened.

    raw    what each slot's raw artifact is or will be
    again  of each whether it lacks what a server failed to give, and so is to be fetched though it is there
    """

    planned: tuple[SlotPlan, ...]
    raw: tuple[Identity, ...]
    again: tuple[bool, ...]


Look = Callable[[str, SourceConfig, Store, str], tuple[list[SlotPlan], list[str]]]


def look_at(run: Run, sources: Mapping[str, SourceConfig], look: Look) -> Looked:
    """Look at every source, or take its last look where the run is offline, and note what is theirs.

    `look` looks at one: it is given name, source, store and the time for slots that it opens.
    """
    opened = datetime.now(UTC).isoformat(timespec="microseconds")
    planned: list[SlotPlan] = []
    for name, source in sources.items():
        if run.runtime.offline and source.reaches_network():
            plans, notes = last_seen(name, source, run.store)
        else:
            plans, notes = look(name, source, run.store, opened)
        planned += plans
        run.notes += notes
    planned.sort(key=lambda plan: (plan.slot.opened, plan.slot.source, plan.slot.number))
    raw = [_raw_identity(sources[plan.slot.source], plan) for plan in planned]
    for name, source in sources.items():
        keys = [one.key for one, plan in zip(raw, planned, strict=True) if plan.slot.source == name]
        note_source(run.store.refs, source, name, keys)
    again = [not run.runtime.offline and _lacks(run.store, *one) for one in zip(planned, raw, strict=True)]
    return Looked(tuple(planned), tuple(raw), tuple(again))


def _raw_identity(source: SourceConfig, plan: SlotPlan) -> Identity:
    with of_source(plan.slot.source):
        return identity("raw", slot_identity(source, plan.items), {})


def _lacks(store: Store, plan: SlotPlan, raw: Identity) -> bool:
    """Whether the slot is there without what a server failed to give."""
    return any(ref.key == raw.key and store.manifest(ref).counts.get(TO_ASK_AGAIN) for ref in plan.earlier)


def look_once(
    name: str, source: SourceConfig, store: Store, opened: str, tell: Callable[[str], None]
) -> tuple[list[SlotPlan], list[str]]:
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
    store.refs.update(memo_name, partial(replace_by, found.memo))
    tell(f"{name}: {changes}")
    notes = [f"{name}: {problem}" for problem in found.problems]
    if changes.deleted:
        count = len(changes.deleted)
        notes.append(f"{name}: gone at the source, and so here, too ({count:,}): {named(changes.deleted)}.")
    if left_out := sum(forgotten(item.native_id) for item in found.items):
        notes.append(f"{name}: {counted(left_out, 'item')} left out, as `textmill forget` was told.")
    tell_notes(tell, notes, "the report has them all")
    plans, capped = _plans(name, source, store, slots)
    return plans, notes + capped


def last_seen(name: str, source: SourceConfig, store: Store) -> tuple[list[SlotPlan], list[str]]:
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
        plans.append(SlotPlan(slot, one.items, earlier[slot_place(one)]))
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
    found = {slot_place(one): [fetched[slot_place(one)]] if slot_place(one) in fetched else [] for one in used}
    strays = fetched.keys() - {slot_place(one) for one in slots}
    at = {(item.native_id, item.fingerprint): slot_place(one) for one in used for item in one.items} if strays else {}
    for stray in sorted(strays):
        held = {(item.native_id, item.fingerprint) for item in read_items(store.path(fetched[stray]))}
        for place in {at[one] for one in held & at.keys()}:
            found[place].append(fetched[stray])
    return {place: tuple(refs) for place, refs in found.items()}


def slot_place(slot: Slot | LedgerSlot) -> str:
    """What no two slots of a source share, nor a slot of a ledger and one of the ledger that was lost before it."""
    return place_of(slot.opened, slot.number)


def named(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")


def _extent(slots: Sequence[LedgerSlot]) -> tuple[int, int]:
    """How many items, and how many bytes of them."""
    items = [item for slot in slots for item in slot.items]
    return len(items), sum(item.size for item in items)


def replace_by(new: Any, _old: Any) -> Any:
    return new
