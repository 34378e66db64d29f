"""The ledger of a source: which item belongs to which slot, and since which look. Pure: the caller keeps it.

Items are assigned in first-seen order, by native id within one look. Only the last slot is open: it is closed when it
holds `slot_bytes` or when the next item would overfill it, and a closed slot never opens again, even when deletions
have made it small. What follows:

- An assignment never moves. A changed item keeps its slot and its position, however much it has grown; a deleted one
  leaves its slot and moves nobody else; one that comes back, or returns under another name, is new.
- An item as large as a slot or larger has a slot of its own.
- A slot whose items are all gone stays known, so that numbers do not shift, but is not handed out.

The same looks in the same order give the same ledger, in whatever order each of them listed its items.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from data.ledger_json import LedgerState, SlotState, ledger_json, read_ledger
from data.sources.base import Item, Look, SlotItem, SourceError


@dataclass(frozen=True)
class LedgerSlot:
    """A slot as it is now.

    number  in its source, from 0; never reused
    opened  ISO 8601 time of the look that opened it; only orders the slots of several sources
    items   in first-seen order
    """

    number: int
    opened: str
    items: tuple[SlotItem, ...]


@dataclass(frozen=True)
class Changes:
    """What a look changed: native ids, each tuple sorted.

    new, changed, deleted  as the words say
    absent                 not listed any more, but kept: the listing is not complete, or the source is not mirrored
    unchanged              how many
    """

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    unchanged: int = 0

    def __str__(self) -> str:
        counts = {name: len(getattr(self, name)) for name in ("new", "changed", "deleted", "absent")}
        said = [f"{count} {name}" for name, count in counts.items() if count]
        return ", ".join([*said, f"{self.unchanged} unchanged"]) if said else f"nothing new, {self.unchanged} unchanged"


def assign(
    ledger: Any,
    look: Look,
    slot_bytes: int,
    opened: str,
    mirror: bool = True,
    where: str = "the ledger",
    forgotten: Callable[[str], bool] | None = None,
) -> tuple[dict[str, Any], list[LedgerSlot], Changes]:
    """Bring a ledger up to date with a look.

    ledger      JSON value returned by an earlier call, or None at the first look; not altered
    slot_bytes  > 0
    opened      ISO 8601 time for the slots that this look opens
    mirror      whether items that a complete listing lacks are dropped
    where       names the ledger in errors
    forgotten   tells the native ids of items that shall not be there, whatever the look lists

    returns     the new JSON value (equal to the old one when nothing changed), the slots that hold anything, by
                number, and what changed

    A look's number counts the looks that found something new, this one included. Raises DamagedLedgerError, and
    SourceError when the look lists an id twice.
    """
    state = LedgerState() if ledger is None else read_ledger(ledger, where)
    listed = _by_id(look.items)
    if forgotten:
        _leave_out(state, forgotten)
        listed = {native_id: item for native_id, item in listed.items() if not forgotten(native_id)}
    known = {native_id for slot in state.slots for native_id in slot.items}
    new = [item for native_id, item in listed.items() if native_id not in known]
    gone = known - listed.keys()
    dropped = gone if look.complete and mirror else set()

    changed = []
    for slot in state.slots:
        slot.items = {native_id: item for native_id, item in slot.items.items() if native_id not in dropped}
        for native_id in slot.items.keys() & listed.keys():
            old = slot.items[native_id]
            slot.items[native_id] = _placed(listed[native_id], old.look)
            if slot.items[native_id] != old:
                changed.append(native_id)
    _place(state, new, slot_bytes, opened)

    changes = Changes(
        new=tuple(item.native_id for item in new),
        changed=tuple(sorted(changed)),
        deleted=tuple(sorted(dropped)),
        absent=tuple(sorted(gone - dropped)),
        unchanged=len(known) - len(gone) - len(changed),
    )
    return ledger_json(state), _held(state), changes


def as_it_stands(ledger: Any, where: str = "the ledger") -> list[LedgerSlot]:
    """The slots of a ledger that hold anything, by number, without another look. Raises DamagedLedgerError."""
    return _held(read_ledger(ledger, where))


def place_of(opened: str, number: int) -> str:
    """What no two slots of a source share, nor a slot of a ledger and one of the ledger that was lost before it."""
    return f"{opened} {number}"


def without(ledger: Any, forgotten: Callable[[str], bool], where: str = "the ledger") -> dict[str, Any]:
    """The ledger without the items that are forgotten, which moves nobody else. Raises DamagedLedgerError."""
    state = read_ledger(ledger, where)
    _leave_out(state, forgotten)
    return ledger_json(state)


def within(slots: Sequence[LedgerSlot], max_bytes: int | None) -> list[LedgerSlot]:
    """The first items of `slots` that together have no more than `max_bytes`, at least one; None: all of them.

    Slots without any such item are left out. As the ledger only grows at its end, a raised cap adds items and moves
    none.
    """
    if max_bytes is None:
        return list(slots)
    kept: list[LedgerSlot] = []
    taken = 0
    for slot in slots:
        items: list[SlotItem] = []
        for item in slot.items:
            if (kept or items) and taken + item.size > max_bytes:
                return [*kept, replace(slot, items=tuple(items))] if items else kept
            items.append(item)
            taken += item.size
        kept.append(replace(slot, items=tuple(items)))
    return kept


def _leave_out(state: LedgerState, forgotten: Callable[[str], bool]) -> None:
    for slot in state.slots:
        slot.items = {native_id: item for native_id, item in slot.items.items() if not forgotten(native_id)}


def _held(state: LedgerState) -> list[LedgerSlot]:
    slots = enumerate(state.slots)
    return [LedgerSlot(number, slot.opened, tuple(slot.items.values())) for number, slot in slots if slot.items]


def _by_id(items: Iterable[Item]) -> dict[str, Item]:
    listed: dict[str, Item] = {}
    for item in sorted(items, key=lambda item: item.native_id):
        if item.native_id in listed:
            raise SourceError(
                f"The source lists {item.native_id!r} twice; ids must be unique for items to keep their place."
            )
        listed[item.native_id] = item
    return listed


def _placed(item: Item, look: int) -> SlotItem:
    return SlotItem(item.native_id, item.fingerprint, item.size, item.url, item.created, dict(item.meta), look)


def _place(state: LedgerState, new: Sequence[Item], slot_bytes: int, opened: str) -> None:
    """Assign the new items, sorted by native id, to the open slot and to slots opened for them."""
    if not new:
        return
    state.looks += 1
    held = sum(item.size for item in state.slots[-1].items.values()) if state.open else 0
    for item in new:
        if not state.open or held + item.size > slot_bytes or item.size >= slot_bytes:
            state.slots.append(SlotState(opened))
            held = 0
        state.slots[-1].items[item.native_id] = _placed(item, state.looks)
        held += item.size
        state.open = held < slot_bytes
