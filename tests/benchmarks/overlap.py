"""Runs of words on one core: `python -m tests.benchmarks.overlap [--rounds N] [--megabytes M] [--items I]`.

MB/s of comparing documents with benchmarks, as the documents stage does it batch by batch, and of sampling, as the
stage `overlap` does; reading Parquet is left out. The items are made of words that no document has side by side, but
for one in 50, which is planted in one. Exactly those documents must be found.
"""

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np

from data.near.shingles import mixed
from data.overlap.benchmarks import read_benchmarks
from data.overlap.config import DecontaminationConfig
from data.overlap.decontaminating import Decontamination, Decontaminator
from data.overlap.runs import runs_in, words_in
from data.overlap.sampling import NGRAM, ONE_IN
from tests.benchmarks.table import print_table
from tests.benchmarks.tokens import documents

GOAL = 30.0  # MB/s
BATCH = 500  # documents
WORDS = 60  # in an item
PLANTED_EVERY = 50  # items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--items", type=int, default=10_000)
    given = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    rng = random.Random(0)
    texts = list(documents(given.megabytes * 1_000_000))
    vocabulary = sorted({word for text in texts[:200] for word in text.split() if word.isalpha()})
    items = [" ".join(rng.choices(vocabulary, k=WORDS)) for _ in range(given.items)]
    planted = rng.sample(range(len(texts)), min(len(texts), given.items // PLANTED_EVERY))
    for number, at in enumerate(planted):
        texts[at] += "\n\n" + items[number * PLANTED_EVERY]
    size = sum(len(text.encode()) for text in texts) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.jsonl"
        path.write_text("".join(json.dumps({"text": item}) + "\n" for item in items))
        config = DecontaminationConfig.model_validate({"benchmarks": {"made": {"path": str(path), "fields": ["text"]}}})
        begin = time.process_time()
        benchmarks = read_benchmarks(config, Path(folder))
        reading = time.process_time() - begin
    speeds: dict[str, list[float]] = {"compared": [], "sampled": []}
    for _ in range(given.rounds):
        judge = Decontaminator(Decontamination(config, benchmarks))
        begin = time.process_time()
        found = {
            start + at for start in range(0, len(texts), BATCH) for at in judge.judge(texts[start : start + BATCH])
        }
        speeds["compared"].append(size / (time.process_time() - begin))
        assert found == set(planted), "documents were found that hold no item, or the other way round"
        begin = time.process_time()
        for start in range(0, len(texts), BATCH):
            for runs in runs_in(words_in(texts[start : start + BATCH]), [NGRAM]):
                np.flatnonzero(mixed(runs.hashes) % np.uint64(ONE_IN) == 0)
        speeds["sampled"].append(size / (time.process_time() - begin))
    print_table(
        f"{size:.0f} MB of documents, {given.items:,} items, {len(benchmarks.known.hashes):,} runs",
        [
            ("compared with benchmarks", speeds["compared"], "MB/s", f"at least {GOAL:g}"),
            ("sampled for the overlap", speeds["sampled"], "MB/s", ""),
            ("reading the benchmark, once per run", [reading], "s", ""),
        ],
    )


if __name__ == "__main__":
    main()
