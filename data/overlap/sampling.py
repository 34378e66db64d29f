"""What one slot of a corpus tells about the overlap of its two sides: sampled runs of words, and where documents lie.

Of all runs of 13 words (GPT-3 looked for as many: Brown et al. 2020, appendix C) those are kept whose hash is divisible
by 64: the same ones wherever they stand, so that samples can be compared in place of texts. Words are those of
data/overlap/runs.py.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data.corpus import TRAIN_FILE, VALIDATION_FILE
from data.documents import DOCUMENTS_FILE
from data.facts import Facts
from data.near.shingles import Hashes, Ints, mixed
from data.overlap.runs import runs_in, words_in
from data.shards import read_batches

NGRAM = 13  # words
ONE_IN = 64  # runs
TRAIN_RUNS_FILE = "train-runs.npy"
VALIDATION_RUNS_FILE = "validation-runs.npy"
PASSAGES_FILE = "validation-passages.npy"
SIDES_FILE = "sides.npy"
TRAIN, VALIDATION = np.uint8(1), np.uint8(2)  # bits of a document's sides

Sides = NDArray[np.uint8]


def sample_slot(documents_dir: Path, drops_path: Path, corpus_dir: Path, out: Path) -> Facts:
    """Sample both sides of a slot.

    Writes train-runs.npy, uint64 ascending without repeats; validation-runs.npy, uint64, with validation-passages.npy,
    int64: the row of validation.parquet in which a run stands, ascending, each run once per row; and sides.npy, uint8
    (documents,): on which sides a document has passages, as bits, 0 for one that is dropped.
    Memory: one row group of text, 9 bytes per document and its id, and the samples (about 1 byte in 45 of the text).
    """
    train = [np.empty(0, np.uint64), *(np.unique(runs) for runs, _ in _sampled(corpus_dir / TRAIN_FILE))]
    train_runs = np.unique(np.concatenate(train))
    hashes, rows = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for its_hashes, its_rows in _sampled(corpus_dir / VALIDATION_FILE):
        hashes.append(its_hashes)
        rows.append(its_rows)
    validation_runs, validation_rows = _once_per_row(np.concatenate(hashes), np.concatenate(rows))
    np.save(out / TRAIN_RUNS_FILE, train_runs, allow_pickle=False)
    np.save(out / VALIDATION_RUNS_FILE, validation_runs, allow_pickle=False)
    np.save(out / PASSAGES_FILE, validation_rows, allow_pickle=False)
    np.save(out / SIDES_FILE, _sides(documents_dir, drops_path, corpus_dir), allow_pickle=False)
    return Facts(counts={"train_runs_sampled": len(train_runs), "validation_runs_sampled": len(validation_runs)})


def _once_per_row(hashes: Hashes, rows: Ints) -> tuple[Hashes, Ints]:
    """Pairs by row and hash, each once: groups of words may part a row."""
    order = np.lexsort((hashes, rows))
    hashes, rows = hashes[order], rows[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
    return hashes[first], rows[first]


def _sampled(path: Path) -> Iterator[tuple[Hashes, Ints]]:
    """Sampled runs of a shard, and the row that each stands in, row group by row group; an absent shard has none."""
    done = 0
    for batch in read_batches(path, ["text"]) if path.exists() else ():
        words = words_in(batch["text"].to_pylist())
        for runs in runs_in(words, [NGRAM]):
            hashes = mixed(runs.hashes)
            chosen = hashes % np.uint64(ONE_IN) == 0
            yield hashes[chosen], words.texts_of(runs.at[chosen]) + done
        done += batch.num_rows


def _sides(documents_dir: Path, drops_path: Path, corpus_dir: Path) -> Sides:
    ids = _ids(documents_dir / DOCUMENTS_FILE)
    sides = np.zeros(len(ids), np.uint8)
    for file, side in ((TRAIN_FILE, TRAIN), (VALIDATION_FILE, VALIDATION)):
        there = pc.is_in(ids, value_set=_ids(corpus_dir / file).combine_chunks())
        sides[there.to_numpy()] |= side
    sides[np.load(drops_path, allow_pickle=False)] = 0
    return sides


def _ids(path: Path) -> pa.ChunkedArray:
    batches = read_batches(path, ["native_id"]) if path.exists() else ()
    return pa.chunked_array([batch["native_id"] for batch in batches], pa.string())
