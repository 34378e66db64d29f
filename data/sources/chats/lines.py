"""Messages of Discord's API as lines of JSON: kept as they came, read back as what conversations are made of."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.sources.chats.conversations import FORGOTTEN, GAP, Message, Quoted, why_dropped
from data.sources.chats.months import sent_at
from data.sources.chats.rest import message_id
from data.sources.pack import CHUNK, PackedItem, PackReader

GAP_LINE = json.dumps({"type": FORGOTTEN}).encode()  # stands for messages that had to be forgotten
_REPLY = 19  # type of a message that answers another


@dataclass(frozen=True)
class Lines:
    """Lines that lie in an earlier slot, if any, and those that were added since, in a file that may not be there."""

    before: tuple[Path, PackedItem] | None
    added: Path

    def chunks(self) -> Iterator[bytes]:
        if self.before is not None:
            with PackReader(self.before[0]) as reader:
                yield from reader.chunks(self.before[1])
        if self.added.exists():
            with self.added.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk


def last_whole_line(path: Path) -> int:
    """The id of the last message in a file of lines, 0 if it has none; a line that was cut off is taken away."""
    if not path.exists():
        return 0
    last, end = 0, 0
    with path.open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n") or not (number := _id_of(line)):
                break
            last, end = number, end + len(line)
        file.truncate(end)
    return last


def messages_in(chunks: Iterable[bytes], dropped: Counter[str]) -> Iterator[Message]:
    """The messages that somebody wrote, in the order of their ids, and gaps; the others are counted by reason.

    A line that cannot be read counts as "damaged".
    """
    last = -1
    for line in lines_in(chunks):
        if line == GAP_LINE:
            yield GAP
            continue
        try:
            message = json.loads(line)
            number = message_id(message)
            author = message.get("author") or {}
            text = message.get("content") or ""
            is_bot = bool(author.get("bot")) or bool(message.get("webhook_id"))
            reason = why_dropped(str(message.get("type", 0)), is_bot, text)
            if not number:
                reason = "damaged"
            elif number <= last:
                reason = "repeated"
            if reason is not None:
                dropped[reason] += 1
                continue
            last = number
            answered, quoted = _answered(message) if message.get("type") == _REPLY else (None, None)
            yield Message(str(number), sent_at(number), _text(author["id"]), text, answered, quoted)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            dropped["damaged"] += 1


def _answered(message: dict[str, Any]) -> tuple[str | None, Quoted | None]:
    """The id of the message that this one answers, and that message, as far as Discord tells."""
    reference = (message.get("message_reference") or {}).get("message_id")
    other = message.get("referenced_message") or {}
    quoted = Quoted(_text(other["author"]["id"]), _text(other.get("content") or "")) if other.get("author") else None
    return (_text(reference) if reference else None), quoted


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} should be a text")
    return value


def _id_of(line: bytes) -> int:
    try:
        return message_id(json.loads(line))
    except (ValueError, AttributeError, RecursionError):
        return 0


def lines_in(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends, given in any chunks."""
    held = io.BytesIO()
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            held.write(line)
            yield held.getvalue()
            held = io.BytesIO()
        held.write(rest)
    if held.tell():
        yield held.getvalue()
