"""A DiscordChatExporter file as a stream: what it says of its channel, then its messages, some thousand at a time.

The exporter indents its JSON, and a string holds no line break, so the spaces before `{` tell where a message begins
without looking at what is in it; some messages at a time are then parsed at once. Files in one line, or
indented in their own way, are cut by a JSON scanner instead, at a quarter of the speed. A damaged message costs itself
and at most the one behind it, and memory holds a few megabytes, however large the file. What messages mean is the
matter of data/sources/chats/messages.py.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from data.sources.chats.messages import Exported, parse_one, parse_several

BLOCK_BYTES = 1 << 20  # read at a time
MESSAGE_BYTES = 1 << 24  # a longer message is given up
HEAD_BYTES = 1 << 22  # in which the messages must begin

_BEGIN = re.compile(rb'"messages"\s*:\s*\[')
_MESSAGE = re.compile(rb'\{\s*"id"\s*:\s*"\d+"\s*,\s*"type"\s*:')  # nothing else in an export begins so
_BETWEEN = re.compile(rb"[, \t\r\n]*")
_scan = json.JSONDecoder().raw_decode


class ForeignFileError(Exception):
    """A file that is no export: `why` in a sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass
class Head:
    """What an export says before its messages.

    guild, channel  ids
    exported        when it was made, as it stands there; "" if it does not say
    begin           byte at which the first message may begin
    indent          line break and spaces before each message's `{`; empty when the file is not indented
    """

    guild: str
    channel: str
    exported: str
    begin: int
    indent: bytes


@dataclass
class Damage:
    """What could not be read of a file: places in bytes, the first few of them, and how many there are."""

    places: list[int] = field(default_factory=list)
    count: int = 0
    cut: bool = False  # the file ends before its messages do

    def add(self, place: int) -> None:
        self.count += 1
        if len(self.places) < 5:
            self.places.append(place)


@dataclass
class Block:
    """Some messages of a file, one after the other; `at` is the place of the first, in bytes from the file's start."""

    at: int
    data: bytes
    messages: list[Exported]
    indent: bytes = b""
    known_places: list[int] | None = None

    def places(self) -> list[int]:
        """Where each message begins, in bytes from the file's start."""
        if self.known_places is None:
            begin = b"}," + self.indent + b"{"
            found, place = [0], self.data.find(begin)
            while place >= 0:
                found.append(place + len(begin) - 1)
                place = self.data.find(begin, place + len(begin))
            self.known_places = [self.at + place for place in found]
        return self.known_places


def read_head(file: BinaryIO) -> Head:
    """The head of an export, from the beginning of a file. Raises ForeignFileError."""
    data = file.read(HEAD_BYTES)
    if not data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        raise ForeignFileError("it does not begin with {")
    found = _BEGIN.search(data)
    if not found:
        raise ForeignFileError('it has no list of "messages"')
    try:
        head = json.loads(data[: found.end()].removeprefix(b"\xef\xbb\xbf") + b"]}")
        channel, guild = str(head["channel"]["id"]), str((head.get("guild") or {}).get("id", "0"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ForeignFileError('it names no channel with an id before its "messages"') from error
    if not (channel.isdecimal() and channel.isascii() and guild.isdecimal() and guild.isascii()):
        raise ForeignFileError(f"the ids of its channel and guild, {channel!r} and {guild!r}, are no numbers")
    blank = re.match(rb"\s*", data[found.end() :])
    indent = blank[0] if blank else b""
    exported = head.get("exportedAt")
    is_indented = b"\n" in indent and data[found.end() + len(indent) :][:1] == b"{"
    return Head(
        guild,
        channel,
        exported if isinstance(exported, str) else "",
        found.end(),
        indent if is_indented else b"",
    )


def blocks(file: BinaryIO, begin: int, end: int | None, indent: bytes, damage: Damage) -> Iterator[Block]:
    """The messages that begin at bytes `begin` to `end` of a file, up to the end of their list.

    begin   where the list or a message begins
    end     where a message begins, or None for all that are left
    damage  gets what cannot be read
    """
    file.seek(begin)
    held, at = b"", begin  # bytes read but not yet handed out, and where they begin
    wanted = BLOCK_BYTES
    while True:
        size = wanted if end is None else min(wanted, end - at - len(held))
        chunk = file.read(size) if size > 0 else b""
        held += chunk
        is_last = len(chunk) < wanted
        block, used, finished = _messages(held, at, indent, is_last, damage)
        if block.messages:
            yield block
        if finished or (is_last and end is not None):
            return
        at, held = at + used, held[used:]
        if is_last and not used:
            damage.cut = True
            if not _BETWEEN.fullmatch(held):
                damage.add(at)
            return
        if len(held) > MESSAGE_BYTES:
            damage.add(at)
            used = max(0, len(held) - BLOCK_BYTES)
            at, held = at + used, held[used:]
        wanted = max(BLOCK_BYTES, len(held))  # a long message is not looked through again and again


def _messages(held: bytes, at: int, indent: bytes, is_last: bool, damage: Damage) -> tuple[Block, int, bool]:
    """The whole messages at the beginning of `held`, how many bytes they use, and whether the list ended."""
    begin = _after_blanks(held, 0)
    if held[begin : begin + 1] == b"]":
        return Block(at, b"", []), begin, True
    if indent and (last := held.rfind(indent + b"}")) > begin:
        data = held[begin : last + len(indent) + 1]
        messages = parse_several(data)
        if messages is None:
            return _one_by_one(held, begin, at, indent, damage)
        return Block(at + begin, data, messages, indent), last + len(indent) + 1, False
    return (Block(at, b"", []), 0, False) if indent else _scanned(held, begin, at, is_last, damage)


def _one_by_one(held: bytes, begin: int, at: int, indent: bytes, damage: Damage) -> tuple[Block, int, bool]:
    """Indented messages of which one, or what follows the list, cannot be parsed."""
    closing = indent + b"}"
    messages, places = [], []
    used = begin
    while (last := held.find(closing, begin)) >= 0:
        piece = held[begin : last + len(closing)]
        used = last + len(closing)
        parsed = parse_one(piece) if piece.startswith(b"{") else None
        if parsed is None:
            damage.add(at + begin)
            again = piece.rfind(indent + b"{")  # a message without an end swallows the next one otherwise
            parsed = parse_one(piece[again + len(indent) :]) if again > 0 else None
            begin += again + len(indent) if parsed is not None else 0
        if parsed is not None:
            messages.append(parsed)
            places.append(at + begin)
        begin = _after_blanks(held, used)
        if held[begin : begin + 1] == b"]":
            return Block(at, b"", messages, indent, places), used, True
    return Block(at, b"", messages, indent, places), used, False


def _scanned(held: bytes, begin: int, at: int, is_last: bool, damage: Damage) -> tuple[Block, int, bool]:
    """Messages that are not indented in the exporter's way."""
    text = held.decode("latin-1")  # one character for each byte; only used to find where objects end
    messages, places = [], []
    used = begin
    finished = False
    while begin < len(held):
        if held[begin : begin + 1] == b"]":
            finished = True
            break
        try:
            if text[begin] != "{":
                raise ValueError("no object")
            end = _scan(text, begin)[1]
        except (ValueError, RecursionError):
            again = _MESSAGE.search(held, begin + 1)
            if not (is_last or len(held) - begin > MESSAGE_BYTES) or not again:
                break
            damage.add(at + begin)
            begin = used = again.start()
            continue
        parsed = parse_one(held[begin:end])
        if parsed is None:
            damage.add(at + begin)
        else:
            messages.append(parsed)
            places.append(at + begin)
        used = end
        begin = _after_blanks(held, end)
    return Block(at, b"", messages, b"", places), used, finished


def _after_blanks(data: bytes, at: int) -> int:
    blanks = _BETWEEN.match(data, at)
    return blanks.end() if blanks else at
