"""Messages of Discord, taken out of slots: of exports as short records, and of channels as lines of the API.

Where messages went a gap is left (see chats/conversations.py), so that what is around it stays apart; of their number,
ids and times nothing stays. What other messages of the API hold of them (the message that they answer, the people that
they mention) goes from these, too; what somebody wrote does not change.
"""

import json
import operator
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from data.forgetting.chats import Authors, Found, Way
from data.sources.base import Problem, RawDocument
from data.sources.chats.conversations import FORGOTTEN, GAP, Conversation, ConversationBuilder, Message
from data.sources.chats.lines import GAP_LINE, lines_in, messages_in
from data.sources.chats.messages import read_records
from data.sources.chats.months import line_of
from data.sources.chats.rest import message_id
from data.sources.pack import PackedItem, PackReader

_GAP_RECORD = msgspec.json.encode(("", 0, FORGOTTEN, ""))
_record = msgspec.json.Decoder(Message)


class _Discord(ABC):
    """What both have in common. `_gone` are ids of messages, by item."""

    quotes = True

    def __init__(self, ways: Sequence[Way], authors: Authors) -> None:
        self._ways = ways
        self._authors = authors
        self._gone: dict[str, set[str]] = {}
        self._all_gone: set[str] = set()
        self._let_be: set[str] = set()

    def search(self, reader: PackReader, items: Sequence[PackedItem]) -> set[str]:
        self._gone = {item.native_id: set() for item in items}
        for way in self._ways:
            for item, conversation, ids in self._conversations(reader, items, way):
                if way.sieve.holds(_document(item, conversation)):
                    self._gone[item.native_id].update(ids)
        for way in self._ways if len(self._ways) > 1 else ():
            for item, conversation, ids in self._conversations(reader, items, way):
                if not way.sieve.holds(_document(item, conversation)):
                    self._gone[item.native_id].difference_update(ids)
        self._settle()
        return {item.native_id for item in items if self._is_touched(reader, item)}

    def give_up(self, items: Collection[str]) -> None:
        self._let_be |= set(items)
        self._settle()

    def _settle(self) -> None:
        self._all_gone = set().union(*(ids for item, ids in self._gone.items() if item not in self._let_be))

    def _is_touched(self, reader: PackReader, item: PackedItem) -> bool:
        return any(self.line(line) is not line for line in lines_in(reader.chunks(item)))

    def sifted(self, reader: PackReader, item: PackedItem) -> tuple[PackedItem, Iterable[bytes]]:
        return item, self._without(lines_in(reader.chunks(item)))

    def _without(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        in_gap = False
        for line in lines:
            new = self.line(line)
            is_gap = new is None or new == self.gap
            if not is_gap:
                yield (new or b"") + b"\n"
            elif not in_gap:
                yield self.gap + b"\n"
            in_gap = is_gap

    def read(
        self, reader: PackReader, items: Sequence[PackedItem], way: Way, unquoted: bool = False
    ) -> Iterator[Found]:
        for item, conversation, _ in self._conversations(reader, items, way, unquoted):
            yield item.native_id, _document(item, conversation)
        for item in items:
            if unread := self.unread(reader, item):
                yield item.native_id, Problem("damaged", item.native_id, "", unread)

    def _conversations(
        self, reader: PackReader, items: Sequence[PackedItem], way: Way, unquoted: bool = False
    ) -> Iterator[tuple[PackedItem, Conversation, list[str]]]:
        """The conversations of a slot, each with its item and the ids of its messages."""
        builder, channel = None, ""
        limits = float(way.identity["silence_minutes"]), int(way.identity["maximum_characters"])
        for item in items:
            its_channel = item.native_id.partition("/")[0]
            if its_channel not in way.identity.get("channels", (its_channel,)) or item.fingerprint == "0":
                continue
            if builder is None or channel != its_channel:
                channel, builder = its_channel, ConversationBuilder(*limits, way.names)
            ids: list[str] = []
            messages = _noting(self.messages(reader, item), ids)
            if unquoted:
                messages = map(self._unquoted, messages)
            for conversation in builder.conversations(messages):
                yield item, conversation, ids[: conversation.messages]
                del ids[: conversation.messages]

    def _unquoted(self, message: Message) -> Message:
        if message.reply_to in self._all_gone:
            return Message(message.id, message.at, message.author, message.text)
        if message.quoted is not None and self._authors.hold(message.quoted.author):
            return Message(message.id, message.at, message.author, message.text, message.reply_to)
        return message

    gap: bytes

    @abstractmethod
    def messages(self, reader: PackReader, item: PackedItem) -> Iterator[Message]:
        """What is read of an item, gaps included."""

    @abstractmethod
    def unread(self, reader: PackReader, item: PackedItem) -> int:
        """How many lines of an item cannot be read."""

    @abstractmethod
    def line(self, line: bytes) -> bytes | None:
        """A line without what goes; the same object where it holds nothing of it, None where all of it goes."""


class ExportRecords(_Discord):
    """Slots of the kind `discord`."""

    gap = _GAP_RECORD

    def messages(self, reader: PackReader, item: PackedItem) -> Iterator[Message]:
        for record in read_records(reader.chunks(item)):
            if record is not None and record.text:
                yield record
            elif record is not None and record.author == FORGOTTEN:
                yield GAP

    def unread(self, reader: PackReader, item: PackedItem) -> int:
        return sum(record is None for record in read_records(reader.chunks(item)))

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


class ApiLines(_Discord):
    """Slots of the kind `discord-api`."""

    gap = GAP_LINE

    def messages(self, reader: PackReader, item: PackedItem) -> Iterator[Message]:
        return messages_in(reader.chunks(item), Counter())

    def unread(self, reader: PackReader, item: PackedItem) -> int:
        dropped: Counter[str] = Counter()
        for _ in messages_in(reader.chunks(item), dropped):
            pass
        return dropped["damaged"]

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


def _noting(messages: Iterable[Message], ids: list[str]) -> Iterator[Message]:
    """The messages, while their ids are noted."""
    for message in messages:
        if message is not GAP:
            ids.append(message.id)
        yield message


def _document(item: PackedItem, conversation: Conversation) -> RawDocument:
    return RawDocument(
        f"{item.native_id.partition('/')[0]}/{conversation.id}",
        conversation.text,
        conversation.authors,
        meta={"started": conversation.started, "ended": conversation.ended, "messages": conversation.messages},
    )


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
