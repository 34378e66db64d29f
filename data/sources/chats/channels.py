"""Channels of Discord: what a look finds in one, and how a fetch brings what is new of a month.

Which channels, and whether that is permitted, is settled before; what messages mean comes later.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.sources.base import Item, SlotItem
from data.sources.chats.lines import last_whole_line
from data.sources.chats.months import Months, first_id, line_of, months_of
from data.sources.chats.rest import Discord, message_id


class Memo:
    """What earlier looks saw of each channel: its last message and its months. Anything else is taken for nothing."""

    def __init__(self, memo: Any) -> None:
        self._known = memo if isinstance(memo, dict) else {}
        self.entries: dict[str, Any] = dict(self._known)

    def get(self, channel: str) -> tuple[str, Months]:
        try:
            entry = self._known[channel]
            months = {str(name): (int(newest), int(size)) for name, (newest, size) in entry["months"].items()}
            return str(entry["last"]), months
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return "", {}

    def put(self, channel: str, last: str, months: Months) -> None:
        self.entries[channel] = {"last": last, "months": months}


def items_of(discord: Discord, channel: str, remembered: Memo) -> Iterator[Item]:
    """The months of a channel as items, by what is remembered of it as far as that holds. Raises ChannelError."""
    about = discord.channel(channel)
    last = str(about.get("last_message_id"))
    seen, months = remembered.get(channel)
    if not months or last != seen:
        months = months_of(
            lambda before: discord.messages(channel) if before is None else discord.messages(channel, before=before),
            months,
        )
        remembered.put(channel, last, months)
    url = f"https://discord.com/channels/{about.get('guild_id') or '@me'}/{channel}"
    for name, (newest, size) in months.items():
        yield Item(f"{channel}/{name}", str(newest), size, url=url)


def bring(discord: Discord, item: SlotItem, has: int, into: Path) -> Iterator[None]:
    """Append the messages after the id `has` to a file, a page at a time, going on where an earlier call was cut off.

    Yields after each request.
    """
    channel, _, name = item.native_id.partition("/")
    newest = int(item.fingerprint)
    after = max(has, first_id(name) - 1, last_whole_line(into))
    with into.open("ab") as file:
        while after < newest:
            page = discord.messages(channel, after=after)
            file.write(b"".join(line_of(one) for one in page if after < message_id(one) <= newest))
            file.flush()
            yield
            if not page:
                break  # the newest one has been deleted since the look
            after = message_id(page[-1])
