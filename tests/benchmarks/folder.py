"""The folder source from files on disk to documents: ten thousand small files, and one large file of JSON lines.

`python -m tests.benchmarks.folder [--rounds N] [--files F] [--megabytes M]`. Every run is a fresh process held to one
core; it looks, assigns slots, fetches them and reads every document, as the first run of a recipe does, and the second
look of an unchanged folder is timed as well. Peak memory is that of the process, with its libraries.

The text is that of the tokens benchmark: real sentences in ever new orders. The small files are of 300 to 3,500
characters, in a hundred folders: plain text, and in a second row one half as Markdown and one half as JSON.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tests.benchmarks.table import median, print_table
from tests.benchmarks.tokens import documents

GOAL_FILES = 5_000.0  # a second
GOAL_MEMORY = 500.0  # MB
SIZES = (300, 1_200, 3_500, 700, 2_000)  # characters of a small file, in turn


def _texts(total: int) -> Iterator[str]:
    text = ""
    while True:
        for document in documents(total):
            text += document
            while len(text) > max(SIZES) * 2:
                for size in SIZES:
                    piece, text = text[:size], text[size:]
                    yield piece


def make_files(folder: Path, number: int, mixed: bool) -> int:
    """Write small files in a hundred folders; returns their bytes."""
    total = 0
    for at, text in enumerate(islice(_texts(8_000_000), number)):
        place = folder / f"{at % 100:02d}"
        if at < 100:
            place.mkdir(parents=True)
        if mixed and at % 2:
            name, data = f"{at}.json", json.dumps({"title": f"Number {at}", "text": text}).encode()
        else:
            name, data = f"{at}.{'md' if mixed else 'txt'}", text.encode()
        (place / name).write_bytes(data)
        total += len(data)
    return total


def make_lines(path: Path, total: int) -> int:
    """Write about `total` bytes of JSON lines; returns how many they are."""
    written = 0
    path.parent.mkdir()
    with path.open("w", encoding="utf-8") as file:
        while written < total:
            for number, text in enumerate(documents(min(total, 50_000_000))):
                line = json.dumps({"id": number, "url": f"http://example.org/{number}", "text": text}) + "\n"
                written += file.write(line)
                if written >= total:
                    break
    return path.stat().st_size


def run_source(path: str, folder: Path) -> None:
    """One measured run in this process; prints a JSON object with seconds, counts and peak memory."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    from data.ledger import assign
    from data.sources.base import RawDocument
    from data.sources.folder import FolderConfig

    config = FolderConfig(path=path)
    begin = time.perf_counter()
    look = config.look(folder)
    _, slots, _ = assign(None, look, config.slot_bytes, "2026")
    looked = time.perf_counter()
    raws = []
    for slot in slots:
        raws.append(folder / f"slot-{os.getpid()}-{slot.number}")
        raws[-1].mkdir()
        config.fetch(slot.items, folder, raws[-1], raws[-1])
    fetched = time.perf_counter()
    found = characters = 0
    for raw in raws:
        for one in config.read(raw):
            assert isinstance(one, RawDocument), one
            found += 1
            characters += len(one.text)
    read = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    config.look(folder, look.memo)
    again = time.perf_counter()
    for raw in raws:
        for file in raw.iterdir():
            file.unlink()
        raw.rmdir()
    seconds = {"look": looked - begin, "fetch": fetched - looked, "read": read - fetched, "again": again - read}
    print(json.dumps({**seconds, "all": read - begin, "documents": found, "characters": characters, "peak": peak}))


def measure(path: str, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Runs one after the other."""
    command = [sys.executable, "-m", "tests.benchmarks.folder", "--run", path, "--folder", str(folder)]
    return [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(rounds)
    ]


def main() -> int:
    """Print the tables; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=1_000)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_source(arguments.run, arguments.folder)
        return 0
    met = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, mixed in (("text", False), ("mixed", True)):
            size = make_files(folder / kind, arguments.files, mixed)
            runs = measure(kind, folder, arguments.rounds)
            assert all(run["documents"] == arguments.files for run in runs)
            rates = [arguments.files / run["all"] for run in runs]
            rows = [("files a second, raw to documents", rates, "files/s", f"at least {GOAL_FILES:,.0f}")]
            rows += [(part, [run[part] for run in runs], "s", "") for part in ("look", "fetch", "read")]
            rows.append(("second look, nothing new", [run["again"] for run in runs], "s", ""))
            rows.append(("peak memory", [run["peak"] for run in runs], "MB", f"at most {GOAL_MEMORY:g}"))
            print_table(f"Folder of {arguments.files:,} small files ({kind}), {size / 1e6:.1f} MB, one core", rows)
            met &= median(rates) >= GOAL_FILES and max(run["peak"] for run in runs) <= GOAL_MEMORY
        if arguments.megabytes:
            size = make_lines(folder / "lines" / "all.jsonl", arguments.megabytes * 1_000_000)
            runs = measure("lines", folder, max(1, arguments.rounds // 2))
            rows = [(part, [size / 1e6 / run[part] for run in runs], "MB/s", "") for part in ("look", "fetch", "read")]
            rows.append(("peak memory", [run["peak"] for run in runs], "MB", f"at most {GOAL_MEMORY:g}"))
            number = runs[0]["documents"]
            print_table(f"One file of JSON lines, {size / 1e6:.0f} MB, {number:,} documents, one core", rows)
            met &= max(run["peak"] for run in runs) <= GOAL_MEMORY
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
