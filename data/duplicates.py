"""Duplicates across the slots of a corpus, as one drop list per slot: equal documents, and near ones where asked.

A document is dropped when it equals an earlier one in slot order, kept or not: so a list depends on what comes
before it and on nothing after it, and appending to a corpus leaves every earlier list as it was. Knows 128-bit
signatures (data/documents.py says of what), not texts; near duplicates (data/near) are handed in as matches.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data.boilerplate.config import LinesConfig
from data.errors import TextmillError
from data.facts import Facts, Progress, no_progress
from data.near.config import NearConfig
from data.near.join import Matches
from data.scores import SIMILARITY_SCORE, ScoreCounts
from data.shards import MATCHES, NEAR_MATCHES, ShardWriter

DROPS_FILE = "drops.npy"
MATCHES_FILE = "matches.parquet"
_CHUNK = 1 << 20  # rows of an earlier slot compared at once

Signatures = NDArray[np.uint64]


class DuplicatesConfig(BaseModel):
    """Which documents and lines count as copies. Equal documents always do, wherever their lines are broken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    near: NearConfig | None = Field(None, description="Near duplicates, by MinHash; null: only equal ones are dropped.")
    lines: LinesConfig | None = Field(
        None, description="Lines that come in many documents (boilerplate) go from the later ones; null: they stay."
    )


class UnusableSignaturesError(TextmillError):
    """A signature file that is no (n, 2) array of uint64."""


def exact_duplicates(
    signature_paths: Sequence[Path], out: Path, progress: Progress = no_progress, near: Matches | None = None
) -> Facts:
    """Write the drop list of the last slot of a chain.

    signature_paths  signatures.npy of slots 0..k in slot order, each (documents, 2) uint64
    near             near duplicates among the documents of slot k, to be dropped as well

    Writes drops.npy, int64 ascending row numbers of slot k to drop (length 0 when there are none), and
    matches.parquet, for each of them the earliest equal document (no file when there are none). With `near` the latter
    also says how similar the two are estimated to be; null stands for equal, which goes before similar; the facts'
    details have the spread of that.
    Memory: the signatures of slot k, and one mapped file at a time of the others.
    """
    *earlier_paths, own_path = signature_paths
    own = np.array(_open(own_path))
    unique, first_rows, group = _distinct(own)
    match_slot = np.full(len(unique), len(earlier_paths), np.int32)
    match_row = first_rows.copy()
    for slot, path in enumerate(earlier_paths):
        earlier = _open(path)
        for start in range(0, len(earlier), _CHUNK):
            theirs, ours = _equal_pairs(unique, earlier[start : start + _CHUNK])
            new = match_slot[ours] == len(earlier_paths)
            theirs, ours = theirs[new], ours[new]
            ours, first = np.unique(ours, return_index=True)  # the first row of theirs: pairs come in row order
            match_slot[ours] = slot
            match_row[ours] = start + theirs[first]
        progress(slot + 1, len(earlier_paths), "slots")
    drops = np.flatnonzero((match_slot[group] < len(earlier_paths)) | (first_rows[group] != np.arange(len(own))))
    matched = group[drops]
    rows: list[NDArray[np.generic]] = [drops, match_slot[matched], match_row[matched]]
    if near is None:
        return _write(out, len(own), len(earlier_paths), pa.table(rows, schema=MATCHES))
    alone = ~np.isin(near.rows, drops)
    rows = [
        np.concatenate([ours, theirs[alone]])
        for ours, theirs in zip(rows, (near.rows, near.earlier_slots, near.earlier_rows), strict=True)
    ]
    equal = np.arange(len(rows[0])) < len(drops)
    similarity = np.concatenate([np.zeros(len(drops)), near.similarities[alone]])
    columns = [pa.array(rows[0]), pa.array(rows[1], pa.int32()), pa.array(rows[2])]
    table = pa.table([*columns, pa.array(similarity, pa.float32(), mask=equal)], schema=NEAR_MATCHES)
    facts = _write(out, len(own), len(earlier_paths), table.sort_by("row"))
    facts.counts["near_duplicates_dropped"] = int(alone.sum())
    scores = ScoreCounts()
    scores.add(SIMILARITY_SCORE, near.similarities[alone])
    facts.details["scores"] = scores.details()
    return facts


def _write(out: Path, documents: int, slot: int, matches: pa.Table) -> Facts:
    """Write a slot's drop list and matches, which ascend by row, and count them."""
    drops = matches["row"].to_numpy()
    np.save(out / DROPS_FILE, drops.astype(np.int64), allow_pickle=False)
    with ShardWriter(out / MATCHES_FILE, matches.schema) as writer:
        writer.write(matches)
    from_earlier = int((matches["earlier_slot"].to_numpy() < slot).sum())
    return Facts(
        counts={
            "documents_in": documents,
            "documents_out": documents - len(drops),
            "duplicates_dropped": len(drops),
            "duplicates_of_earlier_slots": from_earlier,
            "duplicates_within_slot": len(drops) - from_earlier,
        }
    )


def _open(path: Path) -> Signatures:
    """Map a signature file; an empty one is read, since nothing can be mapped."""
    try:
        signatures: Signatures = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise UnusableSignaturesError(
            f"{path} is no array of signatures: {error}. Delete its artifact and run again: it will be rebuilt."
        ) from error
    if signatures.ndim != 2 or signatures.shape[1] != 2 or signatures.dtype != np.uint64:
        raise UnusableSignaturesError(
            f"{path} holds {signatures.dtype} of shape {signatures.shape}, but signatures are uint64 of shape (n, 2). "
            "Delete its artifact and run again: it will be rebuilt."
        )
    return signatures


def _distinct(signatures: Signatures) -> tuple[Signatures, NDArray[np.int64], NDArray[np.int64]]:
    """Sort out the distinct signatures.

    returns  the distinct signatures in ascending order (m, 2), the first row that holds each (m,) int64, and
             for every row the index of its signature among them (n,) int64
    """
    order = np.lexsort((signatures[:, 1], signatures[:, 0]))  # stable: equal ones stay in row order
    ordered = signatures[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(begins) - 1
    return ordered[begins], order[begins].astype(np.int64), group


def _equal_pairs(unique: Signatures, others: Signatures) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs (i, j) with others[i] == unique[j], ascending in i; `unique` is sorted and free of repeats."""
    high, low = others[:, 0], others[:, 1]
    rows, found = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    candidate = np.searchsorted(unique[:, 0], high)
    open_rows = np.arange(len(others))
    while len(open_rows):  # once, unless two signatures share their upper 64 bits
        within = candidate[open_rows] < len(unique)
        open_rows = open_rows[within]
        open_rows = open_rows[unique[candidate[open_rows], 0] == high[open_rows]]
        equal = unique[candidate[open_rows], 1] == low[open_rows]
        rows.append(open_rows[equal])
        found.append(candidate[open_rows[equal]])
        open_rows = open_rows[~equal]
        candidate[open_rows] += 1
    pairs = np.concatenate(rows), np.concatenate(found)
    ascending = np.argsort(pairs[0], kind="stable")
    return pairs[0][ascending], pairs[1][ascending]
