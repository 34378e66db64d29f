"""`textmill forget --author` on long dumps: `python -m tests.benchmarks.forgetting [--megabytes M] [--kind KIND]`.

A Discord export of one channel, in which fifty circles of people take turns, and a month of Reddit with a window of
2 GiB, each generated (see discord.py and reddit.py), read by the real command up to its documents, of which one person
is then forgotten by the real command. Megabytes are those of the export and of the decompressed lines. The time is that
of the whole command, planning and Python's start included; peak memory that of its process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.benchmarks import discord, reddit
from tests.benchmarks.table import print_table

GOAL_MEMORY = 1000  # MB
KINDS = ("discord", "reddit")
NOBODY = ("[deleted]", "AutoModerator")


def write(kind: str, folder: Path, size: int) -> str:
    """Write a dump of about `size` bytes into a folder; returns an author who is in it."""
    if kind == "discord":
        folder.mkdir()
        discord.write_export(folder / "channel.json", size, circles=50)
        people = Counter(one["author"]["id"] for one in discord.sample()["messages"] if not one["author"]["isBot"])
    else:
        reddit.write_month(folder, size, 31)
        people = Counter(one["author"] for one in reddit.samples("RC_2023-01.zst") if one["author"] not in NOBODY)
    return people.most_common(1)[0][0]


def measured(kind: str, author: str, size: int, folder: Path) -> dict[str, float]:
    """Seconds and peak memory of forgetting somebody of the dump in a folder."""
    environment = {
        **os.environ,
        "TEXTMILL_STORE": str(folder / "store"),
        "TEXTMILL_PSEUDONYM_KEY": "a secret for the benchmark",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "flows"]
    settings = ["--set", "cleaning.profile=none", "--set", "cleaning.privacy=off", "--until", "documents", "--json"]
    run = [*command, "run", kind, "--path", str(folder / "dumps"), *settings]
    subprocess.run(run, check=True, env=environment, stdout=subprocess.DEVNULL)
    begin = time.perf_counter()
    forget = [*command, "forget", "--author", author, "--yes"]
    process = subprocess.Popen(forget, env=environment, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if not status and "lost the bytes" not in said:
        raise SystemExit(f"nothing was taken out:\n{said}")
    if status:
        raise SystemExit(f"forgetting {author} ended with {os.waitstatus_to_exitcode(status)}")
    memory = used.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return {"seconds": seconds, "memory": memory, "speed": size / 1e6 / seconds}


def main() -> int:
    """Print the table; exit code 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = arguments.megabytes * 1_000_000
    if arguments.write:  # in a process of its own, whose memory the measured ones would inherit otherwise
        print(write(arguments.kind, arguments.write, size))
        return 0
    good = True
    for kind in [arguments.kind] if arguments.kind else KINDS:
        command = [sys.executable, "-m", "tests.benchmarks.forgetting", "--kind", kind]
        with tempfile.TemporaryDirectory() as name:
            writing = ["--megabytes", str(arguments.megabytes), "--write", str(Path(name, "dumps"))]
            author = subprocess.check_output([*command, *writing], text=True).strip()
            found = measured(kind, author, size, Path(name))
        rows: list[tuple[str, list[float], str, str]] = [
            ("the whole command", [found["seconds"]], "s", ""),
            ("the same", [found["speed"]], "MB/s", ""),
            ("peak memory", [found["memory"]], "MB", f"under {GOAL_MEMORY}"),
        ]
        print_table(f"Forgetting one author of {kind}, {arguments.megabytes:,} MB, one run", rows)
        good &= found["memory"] < GOAL_MEMORY
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
