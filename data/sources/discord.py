"""Discord channels from DiscordChatExporter JSON files: one document per conversation.

An item is a month of a channel, by the start of its conversations; several exports of a channel, split parts among
them, make one (see data/sources/chats/merge.py). So exporting the same channel every day, longer each time, into the
same file or into another, changes the last month's item only. What is fetched are records without names (see
chats/messages.py); authors get theirs when a slot is read. The listing is complete: a message that is in no file any
more goes, one that a newer export lacks and an older one has stays.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from data.facts import Facts, Progress, counted, no_progress
from data.sources.base import Item, Look, Note, Problem, RawDocument, SlotItem, SourceConfig, SourceError, no_note
from data.sources.chats import export_files as discord_files
from data.sources.chats.conversations import (
    FORGOTTEN,
    GAP,
    Conversation,
    ConversationBuilder,
    Message,
    iso_time,
)
from data.sources.chats.export_files import Exports, latest_look, look_at
from data.sources.chats.merge import month_lines
from data.sources.chats.messages import read_records
from data.sources.pack import EarlierPacks, PackedItem, PackReader, PackWriter, read_items
from data.sources.settings import ConversationSettings, LocalPath, PathSettings

_MAX_NAMED = 20  # problems named in one error


class DiscordConfig(ConversationSettings, PathSettings, SourceConfig):
    """Discord channels exported with DiscordChatExporter as JSON, also in parts; conversations become documents."""

    personal: ClassVar[bool] = True
    needs: ClassVar[str] = "JSON exports of DiscordChatExporter, and a secret to make authors' names with"
    rights: ClassVar[str] = (
        "messages belong to their authors: the consent of the server's owner and members is yours to get; set `licence`"
    )
    example: ClassVar[Mapping[str, Any]] = {"kind": "discord", "path": "discord-exports"}

    kind: Literal["discord"] = "discord"
    path: LocalPath = Field(
        description="The folder of exports (.json, also in folders below), or one export; a relative path is below "
        "the project's root.",
    )

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "records": 1, "silence_minutes": self.silence_minutes}

    def reading_identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "reader": 1, **self.conversation_identity()}

    def look(self, root: Path, memo: Any = None) -> Look:
        """One item per channel and month. With a memo, exports that were not touched are not read again."""
        self.pseudonym_identity()  # a secret that is missing is better missed before hours of fetching
        exports = look_at(self.place(root), self.silence_minutes, memo)
        items = [self._item(exports, native_id) for native_id in sorted(exports.months)]
        if not items:
            found = "; ".join(str(problem) for problem in exports.problems[:_MAX_NAMED]) or "it is empty"
            raise SourceError(
                f"{exports.place} (path: {self.path!r}) holds no message of a Discord export ({found}). Export a "
                "channel with DiscordChatExporter, as JSON, and put the file there."
            )
        return Look(tuple(items), tuple(exports.problems), exports.complete, exports.memo)

    def fetch(
        self,
        items: Sequence[SlotItem],
        root: Path,
        out: Path,
        work: Path,
        progress: Progress = no_progress,
        earlier: Sequence[Path] = (),
    ) -> Facts:
        """Write the records of each month, merged from its exports."""
        exports = cache(lambda: latest_look(self.place(root), self.silence_minutes))
        kept = EarlierPacks(earlier)
        with PackWriter(out, sum(item.size for item in items), progress, lambda: kept) as pack:
            for item in items:
                pack.add(item, kept.chunks(item) or self._records(exports, item))
        return Facts(counts={"items": pack.items, "bytes": pack.bytes}, licences=[self.licence])

    def read(self, raw: Path, note: Note = no_note) -> Iterator[RawDocument | Problem]:
        """The conversations of each month. A document's id is that of the channel and of its first message.

        A reply quotes what it answers as far as that is in the same slot, in the same channel.
        """
        dropped: Counter[str] = Counter()
        names = self.names("discord")
        builder, channel = None, ""
        kept = 0
        with PackReader(raw) as reader:
            for item in read_items(raw):
                if builder is None or channel != _channel(item):
                    channel = _channel(item)
                    builder = ConversationBuilder(self.silence_minutes, self.maximum_characters, names)
                messages = _Messages(reader, item, dropped)
                for conversation in builder.conversations(messages):
                    kept += conversation.messages
                    yield _document(item, channel, conversation)
                if messages.damaged:
                    yield Problem(
                        "damaged", item.native_id, f"{counted(messages.damaged, 'record')} unreadable", messages.damaged
                    )
        if dropped:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common())
            note(f"{counted(kept, 'message')} used and {dropped.total():,} dropped: {reasons}")

    def _item(self, exports: Exports, native_id: str) -> Item:
        month = exports.months[native_id]
        size, sha256 = exports.contents[native_id]
        guild = "@me" if month.guild == "0" else month.guild  # a direct message has no guild
        return Item(native_id, sha256, size, url=f"https://discord.com/channels/{guild}/{month.channel}")

    def _records(self, exports: Callable[[], Exports], item: SlotItem) -> Iterator[bytes]:
        found = exports()
        month = found.months.get(item.native_id)
        try:
            if month is None:
                raise SourceError(
                    f"No export in {found.place} has {item.native_id} any more, and no slot fetched earlier has it as "
                    "it was seen. Put its export back; or, if it is gone for good, set mirror to true for its source. "
                    "Then run again."
                )
            yield from discord_files.spare.take(item.fingerprint) or month_lines(month, found.indexes, found)
        except OSError as error:
            raise SourceError(
                f"The exports of {item.native_id} in {found.place} cannot be read any more ({error.strerror}). Put "
                "them back, and run again."
            ) from error


def _channel(item: PackedItem) -> str:
    return item.native_id.partition("/")[0]


class _Messages:
    """The messages of an item, counting what is dropped and what cannot be read on the way."""

    def __init__(self, reader: PackReader, item: PackedItem, dropped: Counter[str]) -> None:
        self._reader = reader
        self._item = item
        self._dropped = dropped
        self.damaged = 0

    def __iter__(self) -> Iterator[Message]:
        for record in read_records(self._reader.chunks(self._item)):
            if record is None:
                self.damaged += 1
            elif record.text:
                yield record
            elif record.author == FORGOTTEN:
                yield GAP
            else:
                self._dropped[record.author] += 1


def _document(item: PackedItem, channel: str, conversation: Conversation) -> RawDocument:
    return RawDocument(
        f"{channel}/{conversation.id}",
        conversation.text,
        authors=conversation.authors,
        url=f"{item.url}/{conversation.id}",
        created=iso_time(conversation.started),
        meta={
            **item.meta,
            "look": item.look,
            "messages": conversation.messages,
            "ended": iso_time(conversation.ended),
        },
        position={"offset": item.offset, "item": item.native_id},
    )
