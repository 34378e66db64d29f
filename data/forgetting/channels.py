"""Slots of Discord, read as conversations to find what of them is to be forgotten, and written without it.

Which messages go follows from the conversations in which they lie, and what is left quotes them no more. What a line
looks like is the matter of data/forgetting/messages.py.
"""

from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from data.forgetting.chats import Authors, Way
from data.forgetting.sums import ID_BYTES, Found, Sums
from data.sources.base import Problem, RawDocument
from data.sources.chats.conversations import GAP, Conversation, ConversationBuilder, Message
from data.sources.chats.lines import lines_in
from data.sources.chats.pseudonyms import NumberedNames
from data.sources.pack import PackedItem, PackReader


class Channels(ABC):
    """What slots of exports and of the API have in common. `_gone` are ids of messages, by item."""

    def __init__(self, ways: Sequence[Way], authors: Authors) -> None:
        self.ways = ways
        self._authors = authors
        self._gone: dict[str, set[str]] = {}
        self._all_gone: set[str] = set()
        self._let_be: set[str] = set()
        self._touched: set[str] = set()
        self._answered: dict[str, array[int]] = {}  # hashes of ids, by the item in which a message answers them
        self._expected: dict[int, Sums] = {}  # by the number of the way
        self.sums: list[Sums] = []
        self.has_seen_everyone = False

    def search(self, reader: PackReader, items: Sequence[PackedItem]) -> set[str]:
        self._gone = {item.native_id: set() for item in items}
        self._answered = {item.native_id: array("q") for item in items}
        self.sums = [Sums(way.sieve) for way in self.ways]
        read: set[str] = set()
        for number in range(len(self.ways)):
            read |= self._search(reader, items, number)
        for way in self.ways if len(self.ways) > 1 else ():
            for item, conversation, messages in self._conversations(reader, items, way):
                if not way.sieve.holds(_document(item, conversation)):
                    self._gone[item.native_id].difference_update(message.id for message in messages)
        self._settle()
        gone = set(map(hash, self._all_gone))
        late = {item for item, answered in self._answered.items() if not gone.isdisjoint(answered)}
        if late or len(self.ways) > 1:
            self._expected.clear()
        self._answered.clear()
        unseen = [item for item in items if self.is_nested or item.native_id not in read]
        self.has_seen_everyone = not unseen
        self._touched |= {item for item, gone in self._gone.items() if gone} | late
        unsure = [item for item in unseen if item.native_id not in self._touched]
        return self._touched | {item.native_id for item in unsure if self._is_touched(reader, item)}

    def _search(self, reader: PackReader, items: Sequence[PackedItem], number: int) -> set[str]:
        """Read the slot in one way, and at once as it will be without what goes, as far as that is known by then;
        returns the items that are read in this way."""
        way, read = self.ways[number], set()
        again = replace(way, names=NumberedNames()) if isinstance(way.names, NumberedNames) else way
        expected = self._expected[number] = Sums(way.sieve)
        for (item, builder), (_, other) in zip(_builders(items, way), _builders(items, again), strict=True):
            read.add(item.native_id)
            damaged: Counter[str] = Counter()
            for conversation in other.conversations(self._judged(reader, item, builder, self.sums[number], damaged)):
                expected.add(item.native_id, _document(item, conversation))
            for one in _unread(item, damaged):
                self.sums[number].add(item.native_id, one)
                expected.add(item.native_id, one)
        return read

    def _judged(
        self, reader: PackReader, item: PackedItem, builder: ConversationBuilder, sums: Sums, damaged: Counter[str]
    ) -> Iterator[Message]:
        """The messages of an item, without quotes of what goes, once it is known of their conversation."""
        for conversation, messages in _grouped(builder, self.messages(reader, item, damaged)):
            if conversation and sums.add(item.native_id, _document(item, conversation)):
                ids = {message.id for message in messages}
                self._gone[item.native_id] |= ids
                self._all_gone |= ids
            for message in messages:
                new = self._unquoted(message)
                if (message is not GAP and self._authors.hold(message.author)) or (
                    new is not message and len(self.ways) == 1
                ):
                    self._touched.add(item.native_id)
                elif message.reply_to is not None:
                    self._answered[item.native_id].append(hash(message.reply_to))
                yield new

    def held_bytes(self) -> int:
        return ID_BYTES * len(self._all_gone) + sum(one.bytes() for one in (*self.sums, *self._expected.values()))

    def expected(self, reader: PackReader, items: Sequence[PackedItem], number: int) -> Sums:
        if number not in self._expected:
            found = self._read(reader, items, self.ways[number], self._unquoted)
            self._expected[number] = Sums(self.ways[number].sieve).add_all(found)
        return self._expected[number]

    def give_up(self, items: Collection[str]) -> None:
        if not set(items) <= self._let_be:
            self._let_be |= set(items)
            self._expected.clear()
            self._settle()

    def _settle(self) -> None:
        self._all_gone = set().union(*(ids for item, ids in self._gone.items() if item not in self._let_be))

    def _is_touched(self, reader: PackReader, item: PackedItem) -> bool:
        return any(self.line(line) is not line for line in lines_in(reader.chunks(item)))

    def sifted(self, reader: PackReader, item: PackedItem) -> tuple[PackedItem, Iterable[bytes]]:
        return item, self._without(_whole_lines(reader.chunks(item)))

    def _without(self, texts: Iterable[bytes]) -> Iterator[bytes]:
        in_gap = False
        for text in texts:
            if not (in_gap and text.startswith(self.gap)) and self.is_free(text):
                yield text
                in_gap = text.endswith(self.gap + b"\n")
                continue
            new: list[bytes] = []
            for line in text.split(b"\n")[:-1]:
                left = self.line(line)
                is_gap = left is None or left == self.gap
                if not (is_gap and in_gap):
                    new.append((self.gap if is_gap else left or b"") + b"\n")
                in_gap = is_gap
            yield b"".join(new)

    def read(self, reader: PackReader, items: Sequence[PackedItem], way: Way) -> Iterator[Found]:
        return self._read(reader, items, way)

    def _read(
        self,
        reader: PackReader,
        items: Sequence[PackedItem],
        way: Way,
        change: Callable[[Message], Message] | None = None,
    ) -> Iterator[Found]:
        for item, builder in _builders(items, way):
            damaged: Counter[str] = Counter()
            messages = self.messages(reader, item, damaged)
            for conversation in builder.conversations(map(change, messages) if change else messages):
                yield item.native_id, _document(item, conversation)
            for one in _unread(item, damaged):
                yield item.native_id, one

    def _conversations(
        self, reader: PackReader, items: Sequence[PackedItem], way: Way
    ) -> Iterator[tuple[PackedItem, Conversation, list[Message]]]:
        """The conversations of a slot, each with its item and its messages."""
        for item, builder in _builders(items, way):
            for conversation, messages in _grouped(builder, self.messages(reader, item, Counter())):
                if conversation:
                    yield item, conversation, messages

    def _unquoted(self, message: Message) -> Message:
        if message.reply_to in self._all_gone:
            return Message(message.id, message.at, message.author, message.text)
        if message.quoted is not None and self._authors.hold(message.quoted.author):
            return Message(message.id, message.at, message.author, message.text, message.reply_to)
        return message

    gap: bytes
    is_nested: bool
    """Whether lines hold more of other messages than their ids."""

    @abstractmethod
    def messages(self, reader: PackReader, item: PackedItem, damaged: Counter[str]) -> Iterator[Message]:
        """What is read of an item, gaps included; lines that cannot be read are counted as "damaged"."""

    @abstractmethod
    def line(self, line: bytes) -> bytes | None:
        """A line without what goes; the same object where it holds nothing of it, None where all of it goes."""

    def is_free(self, text: bytes) -> bool:
        """Whether whole lines surely hold nothing of what goes."""
        return False


def _builders(items: Iterable[PackedItem], way: Way) -> Iterator[tuple[PackedItem, ConversationBuilder]]:
    """The items that are read in this way, each with what makes conversations of its channel."""
    builder, channel = None, ""
    limits = float(way.identity["silence_minutes"]), int(way.identity["maximum_characters"])
    for item in items:
        its_channel = item.native_id.partition("/")[0]
        if its_channel not in way.identity.get("channels", (its_channel,)) or item.fingerprint == "0":
            continue
        if builder is None or channel != its_channel:
            channel, builder = its_channel, ConversationBuilder(*limits, way.names)
        yield item, builder


def _grouped(
    builder: ConversationBuilder, messages: Iterable[Message]
) -> Iterator[tuple[Conversation | None, list[Message]]]:
    """Conversations with their messages; gaps come by themselves, in their places."""
    waiting: list[Message] = []

    def noted() -> Iterator[Message]:
        for message in messages:
            waiting.append(message)
            yield message

    for conversation in builder.conversations(noted()):
        gaps = next(number for number, message in enumerate(waiting) if message is not GAP)
        end = gaps + conversation.messages
        if gaps:
            yield None, waiting[:gaps]
        yield conversation, waiting[gaps:end]
        del waiting[:end]
    if waiting:
        yield None, waiting


def _unread(item: PackedItem, damaged: Counter[str]) -> Iterator[Problem]:
    if count := damaged["damaged"]:
        yield Problem("damaged", item.native_id, "", count)


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their ends, many at a time."""
    held: list[bytes] = []
    for chunk in chunks:
        lines, end, rest = chunk.rpartition(b"\n")
        if end:
            yield b"".join([*held, lines, end])
            held = []
        if rest:
            held.append(rest)
    if held:
        yield b"".join([*held, b"\n"])


def _document(item: PackedItem, conversation: Conversation) -> RawDocument:
    return RawDocument(
        f"{item.native_id.partition('/')[0]}/{conversation.id}",
        conversation.text,
        conversation.authors,
        meta={"started": conversation.started, "ended": conversation.ended, "messages": conversation.messages},
    )
