"""Reading fetched slots of hub Parquet into documents, and looking at a snapshot in which nothing is new.

`python -m tests.benchmarks.hub`. The text is that of tests/benchmarks/tokens.py (real sentences, in new orders), in the
shapes that datasets on the hub have: pages with address and date in row groups of 1,000, and sentences to be joined.
Each slot is fetched by ranges from a stand-in hub on the loopback, and read in a process of its own on one processor,
several times; the clean-up that follows is not part of it. Peak memory is that of the whole process, its libraries
included. The look is at 400 Parquet files of 300 row groups each, the hub's own time included, with the memo of the
look before.
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
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.table import median, print_table
from tests.benchmarks.tokens import documents, sentences

MEGABYTES = 150  # a slot of 64 MB holds about so much text
GOAL = 150.0  # MB/s
GOAL_MEMORY = 500.0  # MB
GOAL_LOOK = 5.0  # s
SHARDS = 400
SHAPES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "web pages, snappy": ("snappy", 1_000, {"id_field": "id", "url_field": "url", "date_field": "date"}),
    "web pages, zstd": ("zstd", 1_000, {}),
    "sentences, joined by 200": ("snappy", 1_000, {"join_rows": 200, "row_separator": " "}),
}


def make_table(shape: str, total: int, path: Path) -> int:
    """Write the Parquet file of a shape; returns the bytes of its text."""
    compression, group, _ = SHAPES[shape]
    texts: list[str] = list(_sentences(total)) if "sentences" in shape else list(documents(total))
    columns: dict[str, list[object]] = {"text": list(texts)}
    if "sentences" not in shape:
        columns |= {
            "id": [f"<urn:uuid:00000000-0000-4000-8000-{n:012d}>" for n in range(len(texts))],
            "url": [f"https://pages.example/{n}/of/a/web/site.html" for n in range(len(texts))],
            "date": [f"2013-05-18T0{n % 10}:25:30Z" for n in range(len(texts))],
            "language_score": [n / len(texts) for n in range(len(texts))],
        }
    pq.write_table(pa.table(columns), path, compression=compression, row_group_size=group)
    return sum(len(text.encode()) for text in texts)


def _sentences(total: int) -> Iterator[str]:
    pool = [" ".join(one.lower().split()) for one in sentences()]
    left = total
    while left > 0:
        for one in pool:
            yield one
            left -= len(one.encode())
            if left <= 0:
                return


def fetch(shape: str, table: Path, folder: Path) -> float:
    """Fetch a file by ranges into one slot; returns seconds."""
    from data.ledger import assign
    from tests.hub_toys import Runs
    from tests.stand_in_hub import stand_in_hub

    with stand_in_hub() as hub:
        hub.dataset("people/texts").push({"train.parquet": table.read_bytes()})
        source = Runs(hub, folder, route="ranges", slot_bytes=10**9, **SHAPES[shape][2]).source
        _, (slot,), _ = assign(None, source.look(folder), 10**9, "2024")
        begin = time.perf_counter()
        source.fetch(slot.items, folder, folder, folder / "work")
        return time.perf_counter() - begin


def read_slot(shape: str, folder: Path) -> None:
    """One measured run in this process; prints a JSON object."""
    from data.sources.base import RawDocument
    from data.sources.huggingface import HuggingFaceConfig

    source = HuggingFaceConfig(id="people/texts", **SHAPES[shape][2])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    begin, work_begin = time.perf_counter(), time.process_time()
    number = characters = 0
    for document in source.read(folder):
        assert isinstance(document, RawDocument), document
        number += 1
        characters += len(document.text)
    seconds, work = time.perf_counter() - begin, time.process_time() - work_begin
    print(json.dumps({"seconds": seconds, "work": work, "documents": number, "peak": peak_memory()}))


def peak_memory() -> float:
    """MB that this process has held at most. Linux's ru_maxrss would count what the parent held when it forked."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def look_again(folder: Path, rounds: int) -> tuple[list[float], int, int]:
    """Seconds of looks at a snapshot of `SHARDS` files in which nothing is new, their requests, and the items."""
    from data.sources.hub import client
    from tests.hub_toys import Runs, parquet
    from tests.stand_in_hub import stand_in_hub

    client.REQUESTS_PER_SECOND = 1e9  # our own time is asked for, and this hub has nobody else
    with stand_in_hub() as hub:
        files = {
            f"data/train-{n:05d}-of-{SHARDS:05d}.parquet": parquet([f"{n} {i}" for i in range(300)], group=1)
            for n in range(SHARDS)
        }
        hub.dataset("people/texts").push(files)
        source = Runs(hub, folder, route="ranges", slot_bytes=3_000).source
        first = source.look(folder)
        memo = json.loads(json.dumps(first.memo))
        seconds = []
        hub.forget()
        for _ in range(rounds):
            begin = time.perf_counter()
            assert source.look(folder, memo).items == first.items
            seconds.append(time.perf_counter() - begin)
        return seconds, hub.count() // rounds, len(first.items)


def main() -> int:
    """Print the table; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    parser.add_argument("--run", choices=tuple(SHAPES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        read_slot(arguments.run, arguments.folder)
        return 0
    rows: list[tuple[str, list[float], str, str]] = []
    good = True
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            size = make_table(shape, arguments.megabytes * 1_000_000, folder / "table.parquet")
            fetched = fetch(shape, folder / "table.parquet", folder)
            slot = (folder / "content.bin").stat().st_size
            command = [sys.executable, "-m", "tests.benchmarks.hub", "--run", shape, "--folder", name]
            runs = [
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                for _ in range(arguments.rounds)
            ]
        what = f"{shape}: {size / 1e6:.0f} MB, {runs[0]['documents']:,} documents"
        speeds = [size / 1e6 / run["seconds"] for run in runs]
        peaks = [run["peak"] for run in runs]
        rows.append((what, speeds, "MB/s", f"at least {GOAL:g}"))
        rows.append(("  by processor time", [size / 1e6 / run["work"] for run in runs], "MB/s", ""))
        rows.append(("  peak memory", peaks, "MB", f"under {GOAL_MEMORY:g}"))
        rows.append((f"  fetch of {slot / 1e6:.0f} MB, both ends on one machine", [slot / 1e6 / fetched], "MB/s", ""))
        good = good and median(speeds) >= GOAL and max(peaks) < GOAL_MEMORY
    with tempfile.TemporaryDirectory() as name:
        seconds, requests, items = look_again(Path(name), arguments.rounds)
    what = f"look, nothing new: {SHARDS} shards, {items:,} items, {requests} request"
    rows.append((what, seconds, "s", f"under {GOAL_LOOK:g}"))
    print_table(f"Hub Parquet to documents, one processor, {arguments.rounds} runs each", rows)
    return 0 if good and median(seconds) < GOAL_LOOK else 1


if __name__ == "__main__":
    sys.exit(main())
