"""Messages of exports as short records: what conversations need, in one line of JSON each, without names.

A record is `[id, at, author, text]` or `[id, at, author, text, reply_to]`, `at` in milliseconds since the epoch; for a
message that is dropped the text is empty, and the reason stands in the author's place. What changes from one export to
the next although nobody wrote anything (signed addresses of attachments, reactions, roles, nicknames) is not in it, so
that the same messages are the same bytes. Mentions by name, as exports have them, become mentions by id.
"""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from data.sources.chats.conversations import Message, why_dropped

_DISCORD_EPOCH_MS = 1_420_070_400_000
_LATEST_MS = 32_503_680_000_000  # the year 3000
_REPLIES = frozenset({"Reply", "19"})
_dump_line = msgspec.json.Encoder().encode
_from_iso = datetime.fromisoformat


class Author(msgspec.Struct, gc=False):
    """Who wrote a message."""

    id: str | None = None
    isBot: bool | None = None  # noqa: N815


class Mentioned(msgspec.Struct, gc=False):
    """Somebody whom a message mentions."""

    id: str
    name: str | None = None
    nickname: str | None = None


class Reference(msgspec.Struct, gc=False):
    """What a message replies to."""

    messageId: str | None = None  # noqa: N815


class Exported(msgspec.Struct, gc=False):
    """A message as an export has it, as far as it is used; keys that older exports lack are taken to say nothing."""

    id: str
    type: str | None = None
    timestamp: str | None = None
    timestampEdited: str | None = None  # noqa: N815
    content: str | None = None
    author: Author | None = None
    mentions: list[Mentioned] | None = None
    reference: Reference | None = None


class Row(msgspec.Struct, gc=False):
    """A record with what is needed to put it in its place.

    id      of the message
    at      milliseconds since the epoch
    edited  the same of its last edit, 0 if it was not edited
    kept    whether somebody wrote it
    line    the record, with its line end
    """

    id: int
    at: int
    edited: int
    kept: bool
    line: bytes


_one = msgspec.json.Decoder(Exported)
_several = msgspec.json.Decoder(list[Exported])
_records = msgspec.json.Decoder(list[Message])
_record = msgspec.json.Decoder(Message)


def parse_several(data: bytes) -> list[Exported] | None:
    """Messages with commas between them, or None if one of them is none."""
    try:
        return _several.decode(b"[" + data + b"]")
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def parse_one(data: bytes) -> Exported | None:
    """A message, or None if it is none; half characters (lone surrogates) become question marks."""
    try:
        return _one.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        try:
            whole = json.dumps(json.loads(data), ensure_ascii=False)
            return _one.decode(whole.encode("utf-8", "replace"))
        except (ValueError, RecursionError, msgspec.MsgspecError):
            return None


def row_of(message: Exported) -> Row | None:
    """The record of a message, or None if it has no usable id, time or author."""
    try:
        native_id, written, changed = message.id, message.timestamp, message.timestampEdited
        number = int(native_id)
        if not (native_id.isdecimal() and native_id.isascii() and number < 1 << 64):
            return None
        at = milliseconds(written) if written else (number >> 22) + _DISCORD_EPOCH_MS
        edited = milliseconds(changed) if changed else 0
    except (ValueError, OverflowError):
        return None
    if not 0 <= at < _LATEST_MS:
        return None
    author, text, kind = message.author, message.content or "", message.type or "Default"
    reason = why_dropped(kind, author is not None and author.isBot is True, text)
    if reason is not None:
        return Row(number, at, edited, False, _dump_line((native_id, at, reason, "")) + b"\n")
    if author is None or author.id is None:
        return None
    if "@" in text and message.mentions:
        text = _with_ids(text, message.mentions)
    if kind in _REPLIES and message.reference and message.reference.messageId:
        line = _dump_line((native_id, at, author.id, text, message.reference.messageId))
    else:
        line = _dump_line((native_id, at, author.id, text))
    return Row(number, at, edited, True, line + b"\n")


def milliseconds(time: str) -> int:
    """A time as exports write it, with 0 to 7 digits of a second and an offset (none: UTC), since the epoch."""
    when = _from_iso(time)
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return int(when.timestamp() * 1000 + 0.5)


def _with_ids(text: str, mentions: Iterable[Mentioned]) -> str:
    """`text` with `<@id>` for `@name`, where the message says whom it mentions."""
    names = {}
    for person in mentions:
        for name in (person.name, person.nickname):
            if name:
                names[name] = f"<@{person.id}>"
    if not names:
        return text
    longest_first = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(
        rf"<@!?[0-9]+>|@({longest_first})(?:#[0-9]{{4}})?(?!\w)",
        lambda match: names[match[1]] if match[1] else match[0],
        text,
    )


def read_records(chunks: Iterable[bytes]) -> Iterator[Message | None]:
    """The messages of records, given in any chunks; dropped ones have no text; None stands for a damaged line."""
    held = b""
    for chunk in chunks:
        lines, end, rest = chunk.rpartition(b"\n")
        if end:
            yield from _parsed(held + lines)
            held = rest
        else:
            held += rest
    if held:
        yield from _parsed(held)


def _parsed(lines: bytes) -> list[Message] | list[Message | None]:
    try:
        return _records.decode(b"[" + lines.replace(b"\n", b",") + b"]")
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return [_parsed_one(line) for line in lines.split(b"\n")]


def _parsed_one(line: bytes) -> Message | None:
    try:
        return _record.decode(line)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
