"""Discord exports, raw to documents: `python -m tests.benchmarks.discord [--megabytes M] [--rounds N]`.

A generated export of one channel over some years, in the exporter's layout and with the sample's mix of messages (made
up here, if the sample is not there). Every run is a process of its own on one core: the look (indexing and digests),
fetching its slots, and reading them. All three go over everything once; the figure that the goal is for is their sum.
Peak memory is that of the process. A second look with the memo, where nothing changed, is measured, too.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.benchmarks.table import print_table

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "discord"
GOAL_MEGABYTES = 50  # per second
GOAL_MEMORY = 500  # MB


def sample() -> dict[str, Any]:
    """An export whose messages are repeated."""
    paths = sorted(SHARED.glob("Example Guild*.json")) if SHARED.is_dir() else []
    if paths:
        return dict(json.loads(paths[0].read_text(encoding="utf-8")))
    role = {"id": "3", "name": "helper", "color": "#3498DB", "position": 3}
    messages: list[dict[str, Any]] = [
        {
            **dict.fromkeys(("id", "type", "timestamp", "timestampEdited", "callEndedTimestamp")),
            "type": "GuildMemberJoin" if number % 29 == 0 else "Reply" if number % 6 == 0 else "Default",
            "isPinned": False,
            "content": f"Message {number}, <@{number % 5}>: " + "it works, but takes ages. " * (number % 4),
            "author": {
                "id": f"{number % 7:018}",
                "name": f"example_{number % 7}",
                "discriminator": "0000",
                "nickname": f"Example {number % 7}",
                "color": None,
                "isBot": number % 16 == 0,
                "roles": [role] * (number % 2),
                "avatarUrl": "https://cdn.example.org/embed/avatars/0.png",
            },
            **{key: [] for key in ("attachments", "embeds", "stickers", "reactions", "mentions", "inlineEmojis")},
            **({"reference": {"messageId": "1", "channelId": "2", "guildId": "1"}} if number % 6 == 0 else {}),
        }
        for number in range(1000)
    ]
    return {"guild": {"id": "1", "name": "g"}, "channel": {"id": "2", "name": "c"}, "messages": messages}


def write_export(path: Path, size: int, pause_minutes: float = 7, circles: int = 1) -> int:
    """Write an export of about `size` bytes; returns how many messages it has.

    circles  of people who take turns, each for as many messages as the sample has; those of the first have its ids
    """
    export = sample()
    pattern = export.pop("messages")
    forms = [_form(message) for message in pattern]
    head = json.dumps({**export, "messages": []}, indent=2, ensure_ascii=False)
    at = datetime(2019, 1, 1, tzinfo=UTC)
    ids: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        file.write(head[: head.rindex("]")])
        written = 0
        while file.tell() < size:
            lines = []
            for message, form in zip(pattern, forms, strict=True):
                number = len(ids)
                at += timedelta(minutes=pause_minutes * (30 if number % 11 == 0 else 1))
                ids.append(str((round(at.timestamp() * 1000) - 1_420_070_400_000 << 22) + number % 4096))
                who = message["author"]["id"]
                if circle := number // len(pattern) % circles:
                    who = str(int(who) + 1000 * circle)
                text = form.replace("@ID@", ids[-1]).replace("@AT@", at.isoformat(timespec="milliseconds"))
                lines.append(text.replace("@WHO@", who).replace("@ANSWERED@", ids[max(0, number - number % 40)]))
            file.write(("," if written else "") + ",".join(lines))
            written += len(lines)
        file.write(f'\n  ],\n  "messageCount": {written}\n}}')
    return written


def _form(message: dict[str, Any]) -> str:
    """A message as an export has it, with marks for what differs from copy to copy."""
    marked = {"id": "@ID@", "timestamp": "@AT@", "author": {**message["author"], "id": "@WHO@"}}
    if "reference" in message:
        marked["reference"] = {**message["reference"], "messageId": "@ANSWERED@"}
    text = json.dumps({**message, **marked}, indent=2, ensure_ascii=False)
    return "\n    " + text.replace("\n", "\n    ")


def run(folder: Path) -> None:
    """One measured run in this process; prints a JSON object."""
    from data.ledger import assign
    from data.sources.base import RawDocument
    from data.sources.discord import DiscordConfig

    os.environ["TEXTMILL_PSEUDONYM_KEY"] = "a secret for the benchmark"
    config = DiscordConfig(path="exports")
    times = {"look": 0.0, "fetch": 0.0, "read": 0.0}
    work_begin = time.process_time()
    begin = time.perf_counter()
    look = config.look(folder)
    times["look"] = time.perf_counter() - begin
    memo = json.loads(json.dumps(look.memo))
    documents = characters = 0
    _, slots, _ = assign(None, look, config.slot_bytes, "2024")
    for slot in slots:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            out = Path(name)
            begin = time.perf_counter()
            config.fetch(slot.items, folder, out, out)
            times["fetch"] += time.perf_counter() - begin
            begin = time.perf_counter()
            for document in config.read(out):
                assert isinstance(document, RawDocument), document
                documents += 1
                characters += len(document.text)
            times["read"] += time.perf_counter() - begin
    processor = time.process_time() - work_begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    begin = time.perf_counter()
    config.look(folder, memo)
    again = time.perf_counter() - begin
    print(
        json.dumps(
            times
            | {"again": again, "documents": documents, "characters": characters, "items": len(look.items)}
            | {"memory": memory, "processor": processor, "memo": len(json.dumps(memo))}
        )
    )


def main() -> int:
    """Print the table; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        run(arguments.folder)
        return 0
    with tempfile.TemporaryDirectory() as name:
        exports = Path(name) / "exports"
        exports.mkdir()
        path = exports / "channel.json"
        messages = write_export(path, arguments.megabytes * 1_000_000)
        size = path.stat().st_size / 1e6
        time.sleep(2.5)  # a memo keeps what has been left alone for two seconds
        command = [sys.executable, "-m", "tests.benchmarks.discord", "--folder", name]
        runs = [json.loads(subprocess.check_output(command, text=True)) for _ in range(arguments.rounds)]
    sums = [size / (one["look"] + one["fetch"] + one["read"]) for one in runs]
    rows: list[tuple[str, list[float], str, str]] = [
        ("look, fetch and read", sums, "MB/s", f"at least {GOAL_MEGABYTES}"),
        ("the same, by processor time", [size / one["processor"] for one in runs], "MB/s", ""),
        *((part, [size / one[part] for one in runs], "MB/s", "") for part in ("look", "fetch", "read")),
        ("a look where nothing is new", [one["again"] * 1000 for one in runs], "ms", ""),
        ("peak memory", [one["memory"] for one in runs], "MB", f"under {GOAL_MEMORY}"),
        ("memo", [one["memo"] / 1000 for one in runs], "kB", ""),
    ]
    made = runs[0]
    print_table(
        f"Discord export: {size:.0f} MB, {messages:,} messages, {made['items']} months, "
        f"{made['documents']:,} conversations, {made['characters'] / 1e6:.0f} M characters, {arguments.rounds} runs",
        rows,
    )
    return 0 if max(sums) >= GOAL_MEGABYTES and max(one["memory"] for one in runs) < GOAL_MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
