"""What the JSON of a ledger holds; it is read with suspicion, as others may have written or edited it.

{"format": 1, "looks": looks that found something new, "open": whether the last slot takes more,
 "slots": [{"opened": ISO 8601 time, "items": [in first-seen order; see `item_record`]}]}
"""

from dataclasses import dataclass, field
from typing import Any

from data.errors import TextmillError
from data.sources.base import SlotItem
from data.sources.identity import item_record

FORMAT = 1  # raised when a reader of the older one would misread it

_REMEDY = "Delete it: the next run assigns all items anew, and rebuilds what that changes."


class DamagedLedgerError(TextmillError):
    """A ledger that is not one, or that contradicts itself."""


@dataclass
class SlotState:
    """A slot while the ledger is brought up to date; items by native id, in first-seen order."""

    opened: str
    items: dict[str, SlotItem] = field(default_factory=dict)


@dataclass
class LedgerState:
    """A ledger while it is brought up to date. `open` says whether the last slot takes more."""

    looks: int = 0
    open: bool = False
    slots: list[SlotState] = field(default_factory=list)


def read_ledger(ledger: Any, where: str) -> LedgerState:
    """The state behind a ledger's JSON. Raises DamagedLedgerError when it is none, or contradicts itself."""
    try:
        if ledger["format"] != FORMAT:
            raise DamagedLedgerError(
                f"{where} has format {ledger['format']!r}, this version reads {FORMAT}: use the version of Textmill "
                "that wrote it."
            )
        slots = [
            SlotState(_text(slot["opened"]), {record["native_id"]: _item(record) for record in slot["items"]})
            for slot in ledger["slots"]
        ]
        state = LedgerState(_number(ledger["looks"]), ledger["open"] is True, slots)
        recorded = sum(len(slot["items"]) for slot in ledger["slots"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedLedgerError(f"{where} is damaged ({error!r}). {_REMEDY}") from error
    items = [item for slot in slots for item in slot.items.values()]
    if len({item.native_id for item in items}) != recorded:
        raise DamagedLedgerError(f"{where} is damaged (an item has two places). {_REMEDY}")
    if items and not 1 <= min(item.look for item in items) <= max(item.look for item in items) <= state.looks:
        raise DamagedLedgerError(f"{where} is damaged (an item of a look after the last, {state.looks}). {_REMEDY}")
    return state


def ledger_json(state: LedgerState) -> dict[str, Any]:
    """The JSON value of a ledger."""
    slots = [
        {"opened": slot.opened, "items": [item_record(item) for item in slot.items.values()]} for slot in state.slots
    ]
    return {"format": FORMAT, "looks": state.looks, "open": state.open, "slots": slots}


def _item(record: dict[str, Any]) -> SlotItem:
    url, created, meta = record.get("url"), record.get("created"), record.get("meta", {})
    return SlotItem(
        native_id=_text(record["native_id"]),
        fingerprint=_text(record["fingerprint"]),
        size=_number(record["bytes"]),
        url=None if url is None else _text(url),
        created=None if created is None else _text(created),
        meta=dict(meta),
        look=_number(record["look"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} should be a text")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} should be a whole number, not negative")
    return value
