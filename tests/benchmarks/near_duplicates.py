"""Near duplicates on one core: `python -m tests.benchmarks.near_duplicates [--documents N] [--megabytes M]`.

Signatures: MB/s on the text of the tokens benchmark, and how many of its edited copies the whole way finds, whose true
similarity is counted. Table and join: documents/s, of signatures that are made slot by slot, so that millions of
documents need no text and little memory. A tenth of them copy a document of an earlier slot (similarity 0.85 to 1),
and one in a hundred agrees in one band with all others of its kind and in nothing else. With `--texts` the documents
are texts of some 2,000 characters, made of sentences slot by slot and stored nowhere: a tenth of them have all but one
of the twenty sentences of an earlier one, and signing them is part of the time.
"""

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.near.bands import write_bands
from data.near.config import NearConfig
from data.near.join import Matches, NearIndex, merged
from data.near.shingles import shingles_of
from data.near.signatures import Signatures, near_signatures
from tests.benchmarks.table import print_table
from tests.benchmarks.tokens import documents, sentences

CONFIG = NearConfig()
GOAL = 20_000.0  # documents/s, table and join
SIGNATURE_GOAL = 20.0  # MB/s
RECALL_GOAL = 95.0  # % of the pairs at 0.85 and above
SLOT = 20_000  # documents
BATCH = 500  # documents signed at once
TEXT_COPIES = 1_000
SENTENCES = 20  # of a text that is made


def originals(slot: int) -> Signatures:
    """Signatures of a slot without its copies: of documents that have nothing in common but a band of a few."""
    rng = np.random.default_rng([1, slot])
    signatures = rng.integers(0, 1 << 31, (SLOT, CONFIG.values), np.uint32)
    signatures[rng.random(SLOT) < 0.01, : CONFIG.rows] = 7
    return signatures


def is_copy(slot: int) -> NDArray[np.bool_]:
    """Which rows of a slot copy a document of one earlier slot."""
    copies: NDArray[np.bool_] = np.random.default_rng([2, slot]).random(SLOT) < (0.1 if slot else 0)
    return copies


def slot_signatures(slot: int) -> Signatures:
    """Signatures of a slot."""
    signatures, copies = originals(slot), is_copy(slot)
    if slot:
        rng = np.random.default_rng([3, slot])
        earlier = int(rng.integers(slot))
        copied = originals(earlier)[rng.choice(np.flatnonzero(~is_copy(earlier)), copies.sum())]
        kept = rng.random(copied.shape) < rng.uniform(0.85, 1, len(copied))[:, None]
        signatures[copies] = np.where(kept, copied, signatures[copies])
    return signatures


def sentence_numbers(slot: int, sentences: int) -> NDArray[np.int64]:
    """Which sentences the texts of a slot are made of, (SLOT, SENTENCES), its copies aside."""
    return np.random.default_rng([4, slot]).integers(sentences, size=(SLOT, SENTENCES))


def slot_texts(slot: int, pool: Sequence[str]) -> list[str]:
    """Texts of a slot."""
    numbers, copies = sentence_numbers(slot, len(pool)), is_copy(slot)
    if slot:
        rng = np.random.default_rng([5, slot])
        earlier = int(rng.integers(slot))
        copied = sentence_numbers(earlier, len(pool))[rng.choice(np.flatnonzero(~is_copy(earlier)), copies.sum())]
        copied[np.arange(len(copied)), rng.integers(SENTENCES, size=len(copied))] = rng.integers(len(pool))
        numbers[copies] = copied
    return ["".join([pool[number] for number in row]) for row in numbers.tolist()]


def join(folders: Sequence[Path], wanted: Sequence[int]) -> Matches:
    index = NearIndex(folders, wanted, CONFIG)
    return merged([index.join(range_) for range_ in index.ranges()])


def tables_and_join(number: int, with_texts: bool) -> dict[str, float]:
    """Seconds of CPU, recall, and wrong matches of `number` documents in slots."""
    found: dict[str, float] = {"tables": 0.0, "signing": 0.0, "bytes": 0.0}
    pool = [one for one in sentences() if 40 <= len(one) <= 200] if with_texts else []
    with tempfile.TemporaryDirectory() as folder:
        folders: list[Path] = []
        for slot in range(max(2, number // SLOT)):
            if with_texts:
                texts = slot_texts(slot, pool)
                begin = time.process_time()
                signatures = np.concatenate(
                    [near_signatures(texts[start : start + BATCH], CONFIG) for start in range(0, SLOT, BATCH)]
                )
                found["signing"] += time.process_time() - begin
                found["bytes"] += sum(map(len, texts))
                del texts
            else:
                signatures = slot_signatures(slot)
            folders.append(Path(folder) / str(slot))
            folders[-1].mkdir()
            begin = time.process_time()
            write_bands(signatures, CONFIG, folders[-1])
            found["tables"] += time.process_time() - begin
        found["documents"] = len(folders) * SLOT
        begin = time.process_time()
        matches = join(folders, range(len(folders)))
        found["join"] = time.process_time() - begin
        begin = time.process_time()
        join(folders, [len(folders) - 1])
        found["growth"] = time.process_time() - begin
    planted = np.concatenate([slot * SLOT + np.flatnonzero(is_copy(slot)) for slot in range(len(folders))])
    matched = matches.slots * SLOT + matches.rows
    found["recall"] = 100 * float(np.isin(planted, matched).mean())
    found["wrong"] = int((~np.isin(matched, planted)).sum())
    return found


def edited(text: str, rng: random.Random) -> str:
    """The text with up to 3% of its words replaced."""
    words = text.split()
    for _ in range(1 + int(len(words) * rng.uniform(0, 0.03))):
        words[rng.randrange(len(words))] = f"new{rng.randrange(10**6)}"
    return " ".join(words)


def text_and_signatures(size: int) -> tuple[float, float, int]:
    """MB/s of signatures, recall in % of pairs of true similarity 0.85 and above, and how many those are."""
    texts = list(documents(size))
    near_signatures(texts[:10], CONFIG)  # tables are made once
    begin = time.process_time()
    for start in range(0, len(texts), BATCH):
        near_signatures(texts[start : start + BATCH], CONFIG)
    speed = sum(len(text.encode()) for text in texts) / 1e6 / (time.process_time() - begin)
    rng = random.Random(0)
    texts = texts[:TEXT_COPIES]
    copies = [edited(text, rng) for text in texts]
    runs = [shingles_of(side, CONFIG.shingle_words) for side in (texts, copies)]
    near = []
    for row in range(len(texts)):
        ours, theirs = (set(side.hashes[side.bounds[row] : side.bounds[row + 1]].tolist()) for side in runs)
        if len(ours & theirs) >= 0.85 * len(ours | theirs):
            near.append(row)
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / name for name in ("originals", "copies")]
        for out, side in zip(folders, (texts, copies), strict=True):
            out.mkdir()
            write_bands(near_signatures(side, CONFIG), CONFIG, out)
        matches = join(folders, [1])
    return speed, 100 * float(np.isin(near, matches.rows).mean()), len(near)


def main() -> int:
    """Print the table; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--texts", action="store_true", help="sign texts made for it, instead of made-up signatures")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    found = tables_and_join(arguments.documents, arguments.texts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    speed, recall, pairs = text_and_signatures(arguments.megabytes * 1_000_000)
    number, seconds = found["documents"], found["tables"] + found["join"]
    signing = [("signing of a million documents", [1e6 * found["signing"] / number], "s", "")] * arguments.texts
    print_table(
        f"Near duplicates: {number:,.0f} documents in slots of {SLOT:,}, {found['bytes'] / 1e9:.1f} GB of text",
        [
            *signing,
            ("table and join", [number / seconds], "doc/s", f"at least {GOAL:g}"),
            ("  tables", [number / found["tables"]], "doc/s", ""),
            ("  join of all slots", [number / found["join"]], "doc/s", ""),
            ("table and join of a million documents", [1e6 * seconds / number], "s", ""),
            ("join of one new slot with all others", [found["growth"]], "s", ""),
            ("peak memory, mapped files included", [peak], "GB", "at most 4"),
            ("planted copies found", [found["recall"]], "%", f"at least {RECALL_GOAL:g}"),
            ("documents matched that copy nothing", [found["wrong"]], "", "0"),
            (f"signatures of {arguments.megabytes} MB of text", [speed], "MB/s", f"at least {SIGNATURE_GOAL:g}"),
            (f"edited copies found, of {pairs} at 0.85 and above", [recall], "%", f"at least {RECALL_GOAL:g}"),
        ],
    )
    reached = number / seconds >= GOAL and speed >= SIGNATURE_GOAL and min(recall, found["recall"]) >= RECALL_GOAL
    return 0 if reached and not found["wrong"] and peak <= 4 else 1


if __name__ == "__main__":
    sys.exit(main())
