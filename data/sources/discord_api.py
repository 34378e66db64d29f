"""Discord channels through the API, as a bot: off until the operator says that it is permitted.

An item is a month of a channel, its fingerprint the id of the month's newest message. Ids grow with time, so a look
asks only for what is newer than the last one saw, and a fetch goes on behind the last message that it has: nothing is
ever asked for twice. The price, on purpose: messages that are edited or deleted after they were fetched stay as they
were, and a conversation is cut where a month (UTC) ends. What lies in a slot are the messages as Discord sent them;
they become conversations by the same rules as exports do (see data/sources/chats/conversations.py).
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from data.facts import Facts, Progress, counted, no_progress
from data.sources.base import Item, Look, Note, Problem, RawDocument, SlotItem, SourceConfig, SourceError, no_note
from data.sources.chats.channels import Memo, bring, items_of
from data.sources.chats.conversations import Conversation, ConversationBuilder, iso_time
from data.sources.chats.lines import Lines, messages_in
from data.sources.chats.rest import (
    GLOBAL_REQUESTS_PER_SECOND,
    ChannelError,
    Discord,
    bot_token,
    looks_like_a_token,
    pause,
)
from data.sources.pack import PackedItem, PackReader, PackWriter, read_items
from data.sources.settings import ConversationSettings
from data.web.client import Web
from data.web.pacing import PACER

_PERMISSION = (
    "discord-api is off until `i_have_permission` is true. Discord's developer policy (July 2024) forbids training "
    "models on message content got through its API unless Discord has expressly permitted it, and what people wrote is "
    "theirs: the consent of Discord, of the server's owner and of its members is yours to get, and setting it says "
    "that you have it."
)
_UNREAD = 10  # empty messages, and none with text, that make a missing intent likely


class DiscordApiConfig(ConversationSettings, SourceConfig):
    """Discord channels that a bot may read; conversations become documents. Needs permission, and asks for it."""

    personal: ClassVar[bool] = True
    needs: ClassVar[str] = (
        "network; a bot token in the secret DISCORD_BOT_TOKEN, with View Channel, Read Message History and the Message "
        "Content intent; i_have_permission: true; a secret to make authors' names with"
    )
    rights: ClassVar[str] = (
        "messages belong to their authors; Discord's policy bars training on them without its permission, and the "
        "consent of the server's owner and members is yours to get; set `licence`"
    )
    example: ClassVar[Mapping[str, Any]] = {
        "kind": "discord-api",
        "channels": ["800000000000000002"],
        "i_have_permission": False,
    }

    kind: Literal["discord-api"] = "discord-api"
    channels: tuple[str, ...] = Field(
        (),
        description="Ids of the channels, in quotes: they have more digits than a number in JSON can hold. What was "
        "fetched of a channel that is taken out stays in the store, and is not read any more.",
    )
    i_have_permission: bool = Field(
        False,
        description="Set to true only if Discord, the server's owner and its members have agreed that models are "
        "trained on what is written there; Discord's developer policy demands it.",
    )
    token: str = Field(
        "DISCORD_BOT_TOKEN",
        min_length=1,
        max_length=100,
        description="Name of the secret that holds the bot's token: an environment variable or a Prefect Secret block. "
        "Never the token itself.",
    )
    requests_per_second: float = Field(
        5.0,
        gt=0,
        le=GLOBAL_REQUESTS_PER_SECOND,
        description="Requests per second, at most; Discord's own limits are kept besides.",
    )
    user_agent: str = Field(
        "DiscordBot (textmill, 0.1.0)",
        pattern=r"^DiscordBot \([ -~]+\)[ -~]*$",
        description="Who asks, in the form that Discord demands: DiscordBot (URL, VERSION).",
    )

    @model_validator(mode="before")
    @classmethod
    def _has_no_token(cls, values: Any) -> Any:
        """Refuses a token where its name should be, and blots it out, since errors show what they refuse."""
        if isinstance(values, dict) and looks_like_a_token(str(values.get("token", ""))):
            values["token"] = "(not shown)"
            raise ValueError(
                "`token` is the name of a secret, but a token stands there. Put the token into the environment "
                "variable DISCORD_BOT_TOKEN, leave `token` out, and have Discord make a new one: this one was written "
                "where others may read it."
            )
        return values

    @field_validator("channels", mode="before")
    @classmethod
    def _are_ids(cls, channels: Any) -> Any:
        for one in channels if isinstance(channels, list | tuple) else ():
            if not isinstance(one, str) or not re.fullmatch(r"[0-9]{15,20}", one):
                raise ValueError('a channel is given by its id, in quotes, such as "800000000000000002"')
        return channels

    def reaches_network(self) -> bool:
        return True

    def location(self) -> str:
        """Discord, and the source's name: channels come and go, and what was fetched of them stays where it is."""
        return f"discord.com {self.name}".strip()

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "request": 1}

    def reading_identity(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "reader": 1,
            "channels": sorted(set(self.channels)),
            **self.conversation_identity(),
        }

    def look(self, root: Path, memo: Any = None) -> Look:
        """The months of each channel. One request tells that a channel has nothing new, one or two more what is new.

        A month that an earlier look saw complete is not looked at again. The listing is a window: what is gone from
        Discord stays here.
        """
        self._may()
        self.pseudonym_identity()  # a secret that is missing is better missed before hours of fetching
        remembered = Memo(memo)
        items: list[Item] = []
        problems: list[Problem] = []
        with self._web() as web:
            discord = self._discord(web)
            for channel in sorted(set(self.channels)):
                try:
                    items += items_of(discord, channel, remembered)
                except ChannelError as error:
                    problems.append(Problem("refused", f"channel {channel}", error.why))
        if not items:
            said = "; ".join(map(str, problems)) or "they are empty"
            raise SourceError(f"No message can be read in the channels {', '.join(self.channels)} ({said}).")
        items.sort(key=lambda item: item.native_id)
        return Look(tuple(items), tuple(problems), complete=False, memo=remembered.entries)

    def fetch(
        self,
        items: Sequence[SlotItem],
        root: Path,
        out: Path,
        work: Path,
        progress: Progress = no_progress,
        earlier: Sequence[Path] = (),
    ) -> Facts:
        """The messages of each month up to the one that the look saw, behind those that an earlier slot has.

        A channel that is not in the settings any more is not asked for; what is not here of it lies in the slot as
        nothing, with the fingerprint of what is.
        """
        self._may()
        kept = {item.native_id: (folder, item) for folder in earlier for item in read_items(folder)}
        total = sum(item.size for item in items)
        asked = 0
        with self._web() as web, PackWriter(out, total, progress) as pack:
            discord = cache(lambda: self._discord(web))
            for item in items:
                before = kept.get(item.native_id)
                has = int(before[1].fingerprint) if before else 0
                added = work / (item.native_id.replace("/", "-") + ".jsonl")
                if has < int(item.fingerprint) and _channel(item) in self.channels:
                    for _ in bring(discord(), item, has, added):
                        asked += 1
                        progress(min(total, pack.bytes + added.stat().st_size), total, "bytes")
                    has = int(item.fingerprint)
                sifted = before is not None and before[1].sifted is not None
                pack.add(replace(item, fingerprint=str(has)), Lines(before, added).chunks(), False, sifted)
        counts: dict[str, int | float] = {"items": pack.items, "bytes": pack.bytes, "requests": asked}
        return Facts(counts=counts, licences=[self.licence])

    def read(self, raw: Path, note: Note = no_note) -> Iterator[RawDocument | Problem]:
        """The conversations of each month. A document's id is that of the channel and of its first message."""
        dropped: Counter[str] = Counter()
        names = self.names("discord")
        builder, channel, kept = None, "", 0
        with PackReader(raw) as reader:
            for item in read_items(raw):
                if _channel(item) not in self.channels:
                    yield Problem("left_out", item.native_id, "its channel is not in the settings any more")
                    continue
                if item.fingerprint == "0":
                    yield Problem("not_fetched", item.native_id, "its channel was not in the settings: refresh `raw`")
                    continue
                if builder is None or channel != _channel(item):
                    channel = _channel(item)
                    builder = ConversationBuilder(self.silence_minutes, self.maximum_characters, names)
                of_item: Counter[str] = Counter()
                for conversation in builder.conversations(messages_in(reader.chunks(item), of_item)):
                    kept += conversation.messages
                    yield _document(item, conversation)
                if damaged := of_item.pop("damaged", 0):
                    yield Problem("damaged", item.native_id, f"{counted(damaged, 'message')} unreadable", damaged)
                dropped += of_item
        if dropped:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common())
            note(f"{counted(kept, 'message')} used and {dropped.total():,} dropped: {reasons}")
        if not kept and dropped["empty"] >= _UNREAD:
            note("no message has any text: the bot probably lacks the Message Content intent (discord.com/developers)")

    def _may(self) -> None:
        if not self.i_have_permission:
            raise SourceError(_PERMISSION)
        if not self.channels:
            raise SourceError("A discord-api source needs `channels`, a list of ids in quotes, and has none.")

    def _web(self) -> Web:
        return Web(self.user_agent, self.requests_per_second, parallel=1, pause=pause, pacer=PACER)

    def _discord(self, web: Web) -> Discord:
        return Discord(web, bot_token(self.token), self.token)


def _channel(item: SlotItem) -> str:
    return item.native_id.partition("/")[0]


def _document(item: PackedItem, conversation: Conversation) -> RawDocument:
    return RawDocument(
        f"{_channel(item)}/{conversation.id}",
        conversation.text,
        authors=conversation.authors,
        url=f"{item.url}/{conversation.id}",
        created=iso_time(conversation.started),
        meta={**item.meta, "look": item.look, "messages": conversation.messages, "ended": iso_time(conversation.ended)},
        position={"offset": item.offset, "item": item.native_id},
    )
