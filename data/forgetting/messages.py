"""Messages of Discord, taken out of slots: of exports as short records, and of channels as lines of the API.

Where messages went a gap is left (see chats/conversations.py), so that what is around it stays apart; of their number,
ids and times nothing stays. What other messages of the API hold of them (the message that they answer, the people that
they mention) goes from these, too; what somebody wrote does not change.
"""

import json
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from data.forgetting.channels import Channels
from data.sources.chats.conversations import FORGOTTEN, GAP, Message
from data.sources.chats.lines import GAP_LINE, messages_in
from data.sources.chats.messages import read_records
from data.sources.chats.months import line_of
from data.sources.chats.rest import message_id
from data.sources.pack import PackedItem, PackReader

_GAP_RECORD = msgspec.json.encode(("", 0, FORGOTTEN, ""))
_record = msgspec.json.Decoder(Message)


class ExportRecords(Channels):
    """Slots of the kind `discord`."""

    gap = _GAP_RECORD
    is_nested = False

    def messages(self, reader: PackReader, item: PackedItem, damaged: Counter[str]) -> Iterator[Message]:
        for record in read_records(reader.chunks(item)):
            if record is None:
                damaged["damaged"] += 1
            elif record.text:
                yield record
            elif record.author == FORGOTTEN:
                yield GAP

    def is_free(self, text: bytes) -> bool:
        gone, hold = self._all_gone, self._authors.hold
        return all(
            record is not None
            and not (record.id in gone or record.reply_to in gone or (record.text and hold(record.author)))
            for record in read_records([text])
        )

    def line(self, line: bytes) -> bytes | None:
        try:
            record = _record.decode(line)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return line
        if record.id in self._all_gone or (record.text and self._authors.hold(record.author)):
            return None
        if record.reply_to in self._all_gone:
            return msgspec.json.encode((record.id, record.at, record.author, record.text))
        return line


class ApiLines(Channels):
    """Slots of the kind `discord-api`."""

    gap = GAP_LINE
    is_nested = True

    def messages(self, reader: PackReader, item: PackedItem, damaged: Counter[str]) -> Iterator[Message]:
        return messages_in(reader.chunks(item), damaged)

    def line(self, line: bytes) -> bytes | None:
        try:
            message = json.loads(line)
            if str(message_id(message)) in self._all_gone or self._is_by_forgotten(message):
                return None
            found = _without(message, self._goes)
            reference = found.get("message_reference")
            if isinstance(reference, dict) and reference.get("message_id") in self._all_gone:
                found = found | {"message_reference": None}
        except (ValueError, AttributeError, RecursionError):
            return line
        return line if found is message else line_of(found).rstrip(b"\n")

    def _is_by_forgotten(self, value: dict[str, Any]) -> bool:
        author = value.get("author")
        return isinstance(author, dict) and self._authors.hold(_text(author.get("id")))

    def _goes(self, value: dict[str, Any]) -> bool:
        """Whether an object within a message is a forgotten message or person."""
        native_id = _text(value.get("id"))
        if "author" in value:
            return native_id in self._all_gone or self._is_by_forgotten(value)
        return "username" in value and self._authors.hold(native_id)


def _without(value: Any, goes: Callable[[dict[str, Any]], bool]) -> Any:
    """`value` without the objects within that go, null in the place of one; the very same where none goes."""
    if isinstance(value, dict):
        new = {name: None if isinstance(one, dict) and goes(one) else _without(one, goes)
               for name, one in value.items()}  # fmt: skip
        if all(new[name] is one for name, one in value.items()):
            return value
        return {name: one for name, one in new.items() if one is not None or not name.isdecimal()}  # keyed by ids
    if isinstance(value, list):
        kept = [_without(one, goes) for one in value if not (isinstance(one, dict) and goes(one))]
        if len(kept) == len(value) and all(map(operator.is_, kept, value)):
            return value
        return kept
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
