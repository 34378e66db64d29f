"""The months of a Discord channel: which have messages, and which message is the newest of each.

Ids of messages hold their time, so one page of messages before the beginning of a month tells the newest message of
the month before it, and the size of that month well enough. Older months are remembered and not asked for again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from data.sources.chats.conversations import month_of
from data.sources.chats.rest import message_id

EPOCH_MS = 1_420_070_400_000  # 2015, when Discord's ids begin
LARGEST_ESTIMATE = 32_000_000  # bytes of a month
Months = dict[str, tuple[int, int]]
"""{month: (id of its newest message, bytes of its messages, estimated)}"""


def sent_at(message: int) -> int:
    """When a message was sent, by its id, in milliseconds since the epoch."""
    return (message >> 22) + EPOCH_MS


def month(message: int) -> str:
    """The month in UTC in which a message was sent, as `2024-05`."""
    return month_of(sent_at(message))[0]


def first_id(name: str) -> int:
    """The lowest id that a message of the month `name` can have."""
    begin = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
    return (round(begin.timestamp() * 1000) - EPOCH_MS) << 22


def line_of(message: Mapping[str, Any]) -> bytes:
    """A message as a line of JSON, with all that it came with."""
    try:
        return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def months_of(messages_before: Callable[[int | None], Sequence[Mapping[str, Any]]], known: Months) -> Months:
    """The months of a channel, going back from now until one is `known` with the same newest message.

    messages_before  the last ones before an id, or the newest of all, oldest first; none where there is none before
    """
    found: Months = {}
    before: int | None = None
    while page := messages_before(before):
        held: dict[str, list[Mapping[str, Any]]] = {}
        for message in page:
            held.setdefault(month(message_id(message)), []).append(message)
        oldest = min(held)
        for name in sorted(held, reverse=True):
            newest = message_id(held[name][-1])
            if known.get(name, (0, 0))[0] == newest:
                return {**{one: of for one, of in known.items() if one <= name}, **found}
            found[name] = (newest, _size(held[name], name, is_whole=name != oldest))
        before = first_id(oldest)
    return found


def _size(messages: Sequence[Mapping[str, Any]], name: str, is_whole: bool) -> int:
    """Bytes of a month's messages; where only the last ones are at hand, as many as fit in at their pace."""
    size = sum(len(line_of(message)) for message in messages)
    if is_whole:
        return size
    first, last = message_id(messages[0]), message_id(messages[-1])
    before = (first - first_id(name)) / max(1, last - first)
    return min(max(size, LARGEST_ESTIMATE), round(size * (1 + before)))
