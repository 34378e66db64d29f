"""Exports as DiscordChatExporter writes them, for tests, and a plain reader of them that knows nothing of ours."""

import json
from datetime import UTC, datetime, timedelta

from data.sources.discord import DiscordConfig
from tests.source_runs import SourceRuns

GUILD, CHANNEL = "800000000000000001", "800000000000000002"


def ms(at):
    return round(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() * 1000)


def message(at, text="Some words.", author="1", number=0, **more):
    """A message sent at a time such as 2024-01-31T23:50, in UTC; `number` tells messages of one instant apart."""
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    return {
        "id": str((ms(at) - 1_420_070_400_000 << 22) + number),
        "type": "Default",
        "timestamp": moment.isoformat(timespec="milliseconds"),
        "timestampEdited": None,
        "callEndedTimestamp": None,
        "isPinned": False,
        "content": text,
        "author": {
            "id": author,
            "name": f"name{author}",
            "discriminator": "0000",
            "nickname": f"Nick {author}",
            "color": None,
            "isBot": False,
            "roles": [{"id": "9", "name": "helper", "color": None, "position": 3}],
            "avatarUrl": "https://cdn.example.org/0.png",
        },
        "attachments": [],
        "embeds": [],
        "stickers": [],
        "reactions": [],
        "mentions": [],
        "inlineEmojis": [],
    } | more


def chat(begin, count, minutes=5.0, pause_every=0, pause_minutes=90.0):
    """Numbered messages of three people, with a pause now and then."""
    at = datetime.fromisoformat(begin)
    made = []
    for number in range(count):
        made.append(message(at.isoformat(), f"Message {number} of {begin}.", str(number % 3)))
        at += timedelta(minutes=pause_minutes if pause_every and number % pause_every == pause_every - 1 else minutes)
    return made


def export(messages, exported="2024-06-01T00:00:00+00:00", channel=CHANNEL, indent=2, **more):
    """The bytes of an export file."""
    content = {
        "guild": {"id": GUILD, "name": "Example", "iconUrl": "https://cdn.example.org/0.png"},
        "channel": {"id": channel, "type": "GuildTextChat", "name": "general", "topic": 'the "messages": [ of \\ all'},
        "dateRange": {"after": None, "before": None},
        "exportedAt": exported,
        **more,
        "messages": messages,
        "messageCount": len(messages),
    }
    return json.dumps(content, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")


def plain_conversations(messages, silence_minutes=60):
    """Lists of kept messages between silences, worked out the slow way from parsed exports."""
    kept = [
        one
        for one in sorted(messages, key=lambda one: int(one["id"]))
        if one["type"] in ("Default", "Reply") and not one["author"]["isBot"] and one["content"].strip()
    ]
    found = []
    for one in kept:
        at = datetime.fromisoformat(one["timestamp"])
        if not found or at - datetime.fromisoformat(found[-1][-1]["timestamp"]) >= timedelta(minutes=silence_minutes):
            found.append([])
        found[-1].append(one)
    return found


def discord_runs(root, **settings):
    """Runs of the source over the folder `exports` below `root`."""
    return SourceRuns(root, DiscordConfig(**{"path": "exports", **settings}), again=True)


def sentences(documents):
    """All messages, without who wrote them, in order."""
    return [line.partition(": ")[2] for _, one in sorted(documents.items()) for line in one.text.split("\n")]
