"""Frequent lines on one core: `python -m tests.benchmarks.boilerplate [--documents N] [--megabytes M]`.

Hashing and taking out: MB/s on the text of the tokens benchmark, with a notice put into every document. Join: of tables
that are made slot by slot, without text; a document has 40 lines that count, one of which is one of a thousand that
many documents have.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.boilerplate.config import LinesConfig
from data.boilerplate.join import FrequentLines, LineIndex, merged
from data.boilerplate.lines import lines_of
from data.boilerplate.removal import LineRemoval
from data.boilerplate.tables import COUNTS_FILE, HASHES_FILE
from data.near.shingles import mixed
from tests.benchmarks.table import print_table
from tests.benchmarks.tokens import documents

CONFIG = LinesConfig()
SLOT = 5_000  # documents
LINES = 40  # of a document
NOTICES = 1_000  # lines that many documents have
BATCH = 500  # documents hashed at once


def write_table(slot: int, folder: Path) -> None:
    """The table of a slot."""
    rng = np.random.default_rng(slot)
    notices, counts = np.unique(rng.integers(0, NOTICES, SLOT), return_counts=True)
    hashes = np.concatenate([mixed(notices.astype(np.uint64)), rng.integers(0, 1 << 64, SLOT * (LINES - 1), np.uint64)])
    order = np.argsort(hashes)
    folder.mkdir()
    np.save(folder / HASHES_FILE, hashes[order])
    np.save(folder / COUNTS_FILE, np.append(counts, np.ones(SLOT * (LINES - 1))).astype(np.uint32)[order])


def join(number: int) -> tuple[float, float, float]:
    """Seconds of joining so many slots that are all missing, and of the last alone; lines found in every slot."""
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / str(slot) for slot in range(number)]
        for slot, out in enumerate(folders):
            write_table(slot, out)
        seconds = []
        for wanted in (range(number), [number - 1]):
            begin = time.process_time()
            index = LineIndex(folders, wanted, CONFIG.max_occurrences)
            found = merged([index.join(range_) for range_ in index.ranges()])
            seconds.append(time.process_time() - begin)
        return seconds[0], seconds[1], len(found[number - 1].hashes)


def hashing_and_removal(size: int) -> tuple[float, float, int]:
    """MB/s of both, and lines taken out."""
    notice = "This site uses a notice that every document carries."
    texts = [f"{text}\n\n{notice}".strip("\n") for text in documents(size)]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    key = lines_of([notice], CONFIG).hashes  # tables are made once
    begin = time.process_time()
    for start in range(0, len(texts), BATCH):
        lines_of(texts[start : start + BATCH], CONFIG)
    hashing = time.process_time() - begin
    batches = [
        pa.record_batch({"text": pa.array(texts[at : at + BATCH], pa.string())}) for at in range(0, len(texts), BATCH)
    ]
    removal = LineRemoval(CONFIG, FrequentLines(key, np.array([CONFIG.max_occurrences], np.uint32)))
    begin = time.process_time()
    for _ in removal.decide(batches, np.empty(0, np.int64)):
        pass
    for _ in removal.repeat(batches):
        pass
    return megabytes / hashing, megabytes / (time.process_time() - begin), removal.lines


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--megabytes", type=int, default=20)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    slots = max(2, arguments.documents // SLOT)
    whole, growth, frequent = join(slots)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    hashing, removing, lines = hashing_and_removal(arguments.megabytes * 1_000_000)
    print_table(
        f"Frequent lines: {slots * SLOT:,} documents of {LINES} lines in slots of {SLOT:,}, one core",
        [
            ("join of all slots", [slots * SLOT / whole], "doc/s", ""),
            ("join of one new slot with all others", [growth], "s", ""),
            ("frequent lines in the last slot", [frequent], "", ""),
            ("peak memory of the join, mapped files included", [peak], "GB", ""),
            (f"hashing the lines of {arguments.megabytes} MB of text", [hashing], "MB/s", ""),
            (f"taking out {lines:,} lines, both passes", [removing], "MB/s", ""),
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
