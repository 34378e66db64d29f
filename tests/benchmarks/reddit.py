"""Reddit dumps, raw to documents: `python -m tests.benchmarks.reddit [--megabytes M] [--rounds N]`.

A generated month of comments and submissions in the 2023 schema, packed as the dumps are, with a window of 2 GiB; what
is written repeats the samples' lines with other ids (made up here, if the samples are not there). Every run is a
process of its own on one core, for threads and for single posts. Megabytes are those of the decompressed lines. Peak
memory is that of the process, and holds as much of the window as the file fills; it is measured again with a window of
8 MiB, once with all posts in memory and once with threads put together in files.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import zstandard

from tests.benchmarks.table import print_table

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "reddit"
GOAL_MEGABYTES = 80  # decompressed, per second
GOAL_MEMORY = 500  # MB, the window aside
COMMENTS_PER_THREAD = 12
JANUARY = 1_672_531_200
PER_SECOND = 100  # comments, which a dump has by time


def samples(name: str) -> list[dict[str, Any]]:
    """Lines that are repeated."""
    if SHARED.is_dir():
        unpacked = (
            zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader((SHARED / name).read_bytes()).read()
        )
        return [json.loads(line) for line in unpacked.split(b"\n") if line.endswith(b"}")]
    fill = {f"key_{number}": None if number % 3 else "a value" for number in range(35)}
    text = "It works, but compiling takes ages. " * 6
    common = {"subreddit": "example", "created_utc": 1_672_531_200, "score": 3}
    posts = [{"author": f"example_user_{n}", **common, "id": "a"} for n in range(100)]
    if name.startswith("RC"):
        return [{**post, "body": f"{text} &gt; {n}", **fill} for n, post in enumerate(posts)]
    return [{**post, "title": f"Title {n}", "selftext": text, **fill} for n, post in enumerate(posts)]


class DumpWriter:
    """A .zst file, written line by line."""

    def __init__(self, path: Path, window_log: int) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=window_log)
        self._file = path.open("wb")
        self._packed = zstandard.ZstdCompressor(compression_params=parameters).stream_writer(self._file)
        self.bytes = 0

    def add(self, post: dict[str, Any]) -> None:
        line = json.dumps(post).encode() + b"\n"
        self.bytes += self._packed.write(line) or len(line)

    def close(self) -> None:
        self._packed.close()


def write_month(folder: Path, size: int, window_log: int) -> int:
    """Write RC_2023-01.zst and RS_2023-01.zst; returns their decompressed size, which is about `size`."""
    rng = random.Random(0)
    comments, submissions = samples("RC_2023-01.zst"), samples("RS_2023-01.zst")
    folder.mkdir()
    rc, rs = (DumpWriter(folder / f"{kind}_2023-01.zst", window_log) for kind in ("RC", "RS"))
    written = number = 0
    threads = max(1, size // 17_000)
    while written < size:
        thread = rng.randrange(threads)
        body = comments[number % len(comments)]["body"]
        words = body if body[:1] in ("[", "") else f"{rng.random()} {body} {rng.random()}"
        parent = f"t3_s{thread}" if rng.random() < 0.5 else f"t1_c{rng.randrange(number + 1)}"
        changed = {"id": f"c{number}", "link_id": f"t3_s{thread}", "parent_id": parent, "body": words}
        changed["created_utc"] = JANUARY + number // PER_SECOND
        rc.add(comments[number % len(comments)] | changed)
        if number % COMMENTS_PER_THREAD == 0:
            rs.add(submissions[number % len(submissions)] | {"id": f"s{number // COMMENTS_PER_THREAD}"})
        number += 1
        if number % 1000 == 0:
            written = rc.bytes + rs.bytes
    rc.close()
    rs.close()
    return sum(
        len(chunk)
        for path in folder.iterdir()
        for chunk in zstandard.ZstdDecompressor(max_window_size=1 << 31).read_to_iter(path.open("rb"))
    )


def run(folder: Path, dumps: str, form: str, held: int) -> None:
    """One measured run in this process; prints a JSON object."""
    from data.ledger import assign
    from data.sources.base import Problem
    from data.sources.dumps import grouping
    from data.sources.reddit import RedditConfig

    os.environ["TEXTMILL_PSEUDONYM_KEY"] = "a secret for the benchmark"
    grouping.HELD_BYTES = held or grouping.HELD_BYTES
    config = RedditConfig.model_validate({"kind": "reddit", "path": dumps, "as": form})
    begin, work_begin = time.perf_counter(), time.process_time()
    look = config.look(folder)
    seconds = {"look": time.perf_counter() - begin}
    (slot,) = assign(None, look, 1 << 40, "2024")[1]
    documents = characters = 0
    with tempfile.TemporaryDirectory(dir=folder) as name:
        begin = time.perf_counter()
        config.fetch(slot.items, folder, Path(name), Path(name))
        seconds["fetch"] = time.perf_counter() - begin
        begin = time.perf_counter()
        for document in config.read(Path(name)):
            if not isinstance(document, Problem):
                documents += 1
                characters += len(document.text)
        seconds["read"] = time.perf_counter() - begin
    seconds["processor"] = time.process_time() - work_begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    print(json.dumps(seconds | {"memory": memory, "documents": documents, "characters": characters}))


def main() -> int:
    """Print the table; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=int, help=argparse.SUPPRESS)  # window, as a power of two
    arguments = parser.parse_args()
    if arguments.write:  # in a process of its own, whose peak memory the measured ones would inherit otherwise
        print(write_month(arguments.folder, arguments.megabytes * 1_000_000, arguments.write))
        return 0
    if arguments.folder:
        dumps, form, held = arguments.run
        run(arguments.folder, dumps, form, int(held))
        return 0
    cases = {
        "threads": ("wide", "threads", 0),
        "posts": ("wide", "posts", 0),
        "threads, window of 8 MiB": ("narrow", "threads", 0),
        "threads in files, window of 8 MiB": ("narrow", "threads", 10_000_000),
    }
    with tempfile.TemporaryDirectory() as name:
        module = [sys.executable, "-m", "tests.benchmarks.reddit", "--megabytes", str(arguments.megabytes), "--folder"]
        for folder, window in (("wide", 31), ("narrow", 23)):
            command = [*module, str(Path(name) / folder), "--write", str(window)]
            size = int(subprocess.check_output(command, text=True)) / 1e6
        packed = sum(path.stat().st_size for path in (Path(name) / "wide").iterdir()) / 1e6
        rows: list[tuple[str, list[float], str, str]] = []
        good = True
        for case, (dumps, form, held) in cases.items():
            command = [
                sys.executable,
                "-m",
                "tests.benchmarks.reddit",
                "--folder",
                name,
                "--run",
                dumps,
                form,
                str(held),
            ]
            runs = [json.loads(subprocess.check_output(command, text=True)) for _ in range(arguments.rounds)]
            sums = [size / (one["look"] + one["fetch"] + one["read"]) for one in runs]
            memory = [one["memory"] for one in runs]
            is_window_aside = dumps == "narrow"
            rows.append((f"{case}: look, fetch and read", sums, "MB/s", f"at least {GOAL_MEGABYTES}"))
            rows.append((f"{case}: by processor time", [size / one["processor"] for one in runs], "MB/s", ""))
            rows.append((f"{case}: peak memory", memory, "MB", f"under {GOAL_MEMORY}" if is_window_aside else ""))
            good = good and max(sums) >= GOAL_MEGABYTES and (not is_window_aside or max(memory) < GOAL_MEMORY)
        print_table(
            f"Reddit month: {size:.0f} MB of lines in {packed:.0f} MB of .zst, {runs[0]['documents']:,} threads, "
            f"{runs[0]['characters'] / 1e6:.0f} M characters, {arguments.rounds} runs each",
            rows,
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
