"""Chat messages into conversations: cut by silence, authors renamed, replies in their context.

The messages come in a neutral form, oldest first, from wherever the source has them; this module knows nothing of
files, requests and items. What it writes of a conversation is one paragraph per message:

    Tokaviru: The second season drags.
    Belamiko: It does.
    Sudoneba (to Tokaviru): Only until episode six.
    > Ganilopu: Has anybody seen the new one…
    Tokaviru: Yes, last night.

A reply to the message just before it needs no mark; one to an earlier message of the conversation names its author; one
to a message outside quotes the beginning of that, if the source gave it or it is among the last messages (at least
half of `REMEMBERED`).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from data.sources.chats.pseudonyms import Names

REMEMBERED = 10_000  # messages that a later reply may quote; 5 MB at most
QUOTED_CHARACTERS = 120
LATEST_START_MS = 24 * 3_600_000  # after the first instant of a month, see `StartMonths`
KEPT_KINDS = frozenset({"Default", "Reply", "0", "19"})  # as exports call them, and by the API's numbers

_REMEMBERED_CHARACTERS = 4 * QUOTED_CHARACTERS  # markup is longer than what is shown for it
_CUT_MARKUP = re.compile(r"<[^<>\s]*\Z")
_MARKUP = re.compile(r"<(?:@(&?)!?(\d+)|#(\d+)|a?:(\w+):\d+|(?:id|sound):\w+|/([^:<>]+):\d+)>")


class Quoted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a message replies to, as far as its source knows."""

    author: str
    text: str


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message that somebody wrote.

    id        unique in the channel
    at        milliseconds since the epoch
    author    id of who wrote it, not the name
    text      as it was sent: people mentioned as <@id>, channels as <#id>, roles as <@&id>, custom emoji as <:name:id>
    reply_to  id of the message that it answers
    quoted    that message, if the source has it at hand
    """

    id: str
    at: int
    author: str
    text: str
    reply_to: str | None = None
    quoted: Quoted | None = None


FORGOTTEN = "forgotten"  # the author of a gap
GAP = Message("", 0, FORGOTTEN, "")  # where messages were that had to be forgotten: what is around it stays apart


@dataclass(frozen=True)
class Conversation:
    """Messages without a long silence between them, as text.

    id        of the first message
    started   of the first and `ended` of the last message, milliseconds since the epoch
    messages  how many
    authors   names of those who wrote, in order of appearance
    """

    id: str
    started: int
    ended: int
    messages: int
    authors: tuple[str, ...]
    text: str


def why_dropped(kind: str, is_bot: bool, text: str) -> str | None:
    """Why a message is none that somebody wrote, in one word, or None to keep it.

    kind  name or number of its type; joins, pins, calls, thread notices and commands each have one
    """
    if kind not in KEPT_KINDS:
        return f"kind_{kind}" if kind.isdigit() else kind
    if is_bot:
        return "bot"
    return None if text.strip() else "empty"


@dataclass
class _Open:
    """A conversation that may still go on."""

    first: Message
    last: Message
    authors: dict[str, None] = field(default_factory=dict)
    writers: dict[str, str] = field(default_factory=dict)  # message -> author, both by id
    paragraphs: list[str] = field(default_factory=list)
    characters: int = 0


class ConversationBuilder:
    """Cuts the messages of one channel into conversations; remembers some for the replies that come later.

    silence_minutes     a pause of at least this length ends a conversation
    maximum_characters  of text; the message that would exceed it begins the next conversation
    """

    def __init__(self, silence_minutes: float, maximum_characters: int, names: Names) -> None:
        self._silence = round(silence_minutes * 60_000)
        self._maximum = maximum_characters
        self._names = names
        self._remembered: dict[str, Quoted] = {}  # at most half of them; the others are those before
        self._remembered_before: dict[str, Quoted] = {}

    def conversations(self, messages: Iterable[Message]) -> Iterator[Conversation]:
        """The conversations of `messages`, which are oldest first; one ends at a gap, and the last with them."""
        now: _Open | None = None
        names, silence, maximum = self._names, self._silence, self._maximum
        for message in messages:
            if message is GAP:
                if now is not None:
                    yield _closed(now)
                now = None
                continue
            if now is not None and message.at - now.last.at >= silence:
                yield _closed(now)
                now = None
            if now is not None:
                name = names.name(message.author)
                paragraph = self._paragraph(message, name, now)
                if now.characters + len(paragraph) > maximum:
                    yield _closed(now)
                    now = None
            if now is None:
                names.begin()
                name = names.name(message.author)
                paragraph = self._paragraph(message, name, None)
                now = _Open(message, message)
            now.last = message
            now.authors[name] = None
            now.writers[message.id] = message.author
            now.paragraphs.append(paragraph)
            now.characters += len(paragraph) + 1
            self._remember(message)
        if now is not None:
            yield _closed(now)

    def _paragraph(self, message: Message, name: str, now: _Open | None) -> str:
        text = message.text.strip()
        if "<" in text:
            text = readable(text, self._names)
        answered = message.reply_to
        if answered is None or (now and answered == now.last.id):
            return f"{name}: {text}"
        if now and answered in now.writers:
            other = now.writers[answered]
            return f"{name}: {text}" if other == message.author else f"{name} (to {self._names.name(other)}): {text}"
        quoted = self._remembered.get(answered) or self._remembered_before.get(answered) or message.quoted
        if quoted is None or not quoted.text.strip():
            return f"{name}: {text}"
        return f"> {self._names.name(quoted.author)}: {self._beginning(quoted.text)}\n{name}: {text}"

    def _beginning(self, text: str) -> str:
        beginning = text[:_REMEMBERED_CHARACTERS]
        if len(beginning) == _REMEMBERED_CHARACTERS:
            beginning = _CUT_MARKUP.sub("", beginning)  # a part of somebody's id would stay one
        words = " ".join(readable(beginning, self._names).split())
        if len(words) <= QUOTED_CHARACTERS:
            return words
        return words[:QUOTED_CHARACTERS].rsplit(" ", 1)[0] + "…"

    def _remember(self, message: Message) -> None:
        if len(self._remembered) >= REMEMBERED // 2:
            self._remembered_before, self._remembered = self._remembered, {}
        self._remembered[message.id] = Quoted(message.author, message.text[:_REMEMBERED_CHARACTERS])


def _closed(now: _Open) -> Conversation:
    return Conversation(
        now.first.id, now.first.at, now.last.at, len(now.paragraphs), tuple(now.authors), "\n".join(now.paragraphs)
    )


def readable(text: str, names: Names) -> str:
    """A message's text with names instead of ids, and emoji by their name."""

    def plain(match: re.Match[str]) -> str:
        role, person, channel, emoji, command = match.groups()
        if person:
            return "@role" if role else f"@{names.name(person)}"
        if channel:
            return "#channel"
        return f":{emoji}:" if emoji else f"/{command}" if command else ""

    return _MARKUP.sub(plain, text)


class StartMonths:
    """Tells for messages, oldest first, the month in which their conversation began, so that a conversation over the
    end of a month stays whole while messages are added behind it.

    A month (in UTC) begins with the first message after a silence, or, where nobody falls silent, with the first one
    after its first 24 hours. So the months of a channel depend on what was written around their beginnings only.
    """

    def __init__(self, silence_minutes: float) -> None:
        self._silence = round(silence_minutes * 60_000)
        self._last: int | None = None
        self._month = ""
        self.ends = 0  # milliseconds since the epoch; all messages up to here are of the same month as the last one

    def month(self, at: int) -> str:
        """The month, as `2024-05`, of a message sent `at`; not to be asked for messages that are dropped."""
        last, self._last = self._last, at
        return self.month_after(last, at)

    def month_after(self, last: int | None, at: int) -> str:
        """The same, told when the message before was sent; for those who do not ask for messages before `ends`."""
        if last is None or (at >= self.ends and (at - last >= self._silence or at >= self.ends + LATEST_START_MS)):
            self._month, self.ends = month_of(at)
        return self._month


def month_of(at: int) -> tuple[str, int]:
    """The month in UTC of a time, as `2024-05`, and when it ends; both times in milliseconds since the epoch."""
    day = datetime.fromtimestamp(at / 1000, UTC)
    following = datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=UTC)
    return f"{day.year:04d}-{day.month:02d}", round(following.timestamp() * 1000)


def iso_time(at: int) -> str:
    """A time in milliseconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
