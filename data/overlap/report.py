"""How much of a corpus's validation text stands in its training text as well, judged by sampled runs of words.

The validation side is small and held in memory; the training side goes by slot after slot. So is counted what the
drop lists kept apart: dropped documents whose original is held out, and matches across the split, of which there are
none as long as every document that matches an earlier one is dropped.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.corpus import VALIDATION_FILE
from data.duplicates import MATCHES_FILE
from data.facts import Facts, Progress, no_progress
from data.overlap.runs import KnownHashes
from data.overlap.sampling import (
    NGRAM,
    ONE_IN,
    PASSAGES_FILE,
    SIDES_FILE,
    TRAIN,
    TRAIN_RUNS_FILE,
    VALIDATION,
    VALIDATION_RUNS_FILE,
    Sides,
)
from data.shards import read_batches

OVERLAP_FILE = "overlap.json"
WORST = 20  # passages named
_AT_ONCE = 1 << 20  # hashes of the training side


class SlotParts(NamedTuple):
    """A slot as the stages left it."""

    source: str
    sample: Path  # folder, from `sample_slot`
    duplicates: Path  # folder
    corpus: Path  # folder


def write_overlap(slots: Sequence[SlotParts], out: Path, progress: Progress = no_progress) -> Facts:
    """Write overlap.json about a corpus; `slots` come in their order.

    Its fields: `ngram` (words) and `one_in` (sampled runs) say what is compared; `sources` and `all` how much of it is
    found: `passages` of the validation text, `compared` those with a sampled run, `shared` those of which some run
    stands in any training text, and their `runs` and `runs_shared`, a run counted once per passage; `worst` names the
    passages with the greatest share of such runs; `links` are matches of the duplicates stage (a dropped document and
    an earlier one), `held_out` those that lead to a document with passages in validation, if need be over others that
    are dropped too, and `crossing` those between two documents that are kept, on different sides.
    Memory: the samples of the validation side, and one byte per document.
    """
    runs = [np.load(slot.sample / VALIDATION_RUNS_FILE, allow_pickle=False) for slot in slots]
    rows = [np.load(slot.sample / PASSAGES_FILE, allow_pickle=False) for slot in slots]
    known = KnownHashes(np.unique(np.concatenate([np.empty(0, np.uint64), *runs])))
    in_training = np.zeros(len(known.hashes), np.bool_)
    for number, slot in enumerate(slots, 1):
        train = np.load(slot.sample / TRAIN_RUNS_FILE, allow_pickle=False)
        for start in range(0, len(train), _AT_ONCE):
            in_training[known.find(train[start : start + _AT_ONCE])[1]] = True
        progress(number, len(slots), "slots")
    sources: dict[str, dict[str, int]] = {}
    worst: list[tuple[float, int, int, int, int]] = []
    for number, slot in enumerate(slots):
        passages = _rows_of(slot.corpus / VALIDATION_FILE)
        its_runs = np.bincount(rows[number], minlength=passages)
        shared_runs = in_training[np.searchsorted(known.hashes, runs[number])]
        shared = np.bincount(rows[number], weights=shared_runs, minlength=passages).astype(np.int64)
        its = {
            "passages": passages,
            "compared": int((its_runs > 0).sum()),
            "shared": int((shared > 0).sum()),
            "runs": int(its_runs.sum()),
            "runs_shared": int(shared.sum()),
        }
        before = sources.get(slot.source, dict.fromkeys(its, 0))
        sources[slot.source] = {name: before[name] + count for name, count in its.items()}
        for row in np.flatnonzero(shared).tolist():
            worst.append((-shared[row] / its_runs[row], -int(shared[row]), number, row, int(its_runs[row])))
        worst = sorted(worst)[:WORST]
    together = {name: sum(one[name] for one in sources.values()) for name in _FIELDS}
    report = {
        "ngram": NGRAM,
        "one_in": ONE_IN,
        "sources": sources,
        "all": together,
        "worst": _named(slots, worst),
        "links": _links(slots),
    }
    (out / OVERLAP_FILE).write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="ascii")
    return Facts(counts={f"validation_{name}": count for name, count in together.items()})


_FIELDS = ("passages", "compared", "shared", "runs", "runs_shared")


def _rows_of(path: Path) -> int:
    return sum(batch.num_rows for batch in read_batches(path, ["passage"])) if path.exists() else 0


def _named(slots: Sequence[SlotParts], worst: Sequence[tuple[float, int, int, int, int]]) -> list[dict[str, Any]]:
    """The passages by their ids, in the order given."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for number in {one[2] for one in worst}:
        wanted = {one[3] for one in worst if one[2] == number}
        first = 0
        for batch in read_batches(slots[number].corpus / VALIDATION_FILE, ["native_id", "passage"]):
            for row in (one for one in wanted if first <= one < first + batch.num_rows):
                place = batch.slice(row - first, 1).to_pylist()[0]
                found[number, row] = {"source": slots[number].source, **place}
            first += batch.num_rows
    return [found[number, row] | {"runs": runs, "runs_shared": -hits} for _, hits, number, row, runs in worst]


def _links(slots: Sequence[SlotParts]) -> dict[str, int]:
    """Matches by where they lead; an earlier document's sides are known before they are asked for."""
    counts = {"matches": 0, "held_out": 0, "crossing": 0}
    kept: list[Sides] = []  # the sides on which each document lies
    ends: list[Sides] = []  # the same, of a dropped one those of the document that its matches lead to
    for number, slot in enumerate(slots):
        kept.append(np.load(slot.sample / SIDES_FILE, allow_pickle=False))
        ends.append(kept[-1].copy())
        path = slot.duplicates / MATCHES_FILE
        tables = [np.empty((0, 3), np.int64)]
        for batch in read_batches(path) if path.exists() else ():
            tables.append(np.stack([batch[name].to_numpy() for name in ("row", "earlier_slot", "earlier_row")], 1))
        row, earlier_slot, earlier_row = np.concatenate(tables).T
        leads_to = np.arange(len(kept[-1]))
        for earlier in np.unique(earlier_slot).tolist():
            its = earlier_slot == earlier
            ours, theirs = kept[-1][row[its]], kept[earlier][earlier_row[its]]
            counts["crossing"] += int((((ours & TRAIN) != 0) & ((theirs & VALIDATION) != 0)).sum())
            counts["crossing"] += int((((ours & VALIDATION) != 0) & ((theirs & TRAIN) != 0)).sum())
            if earlier == number:
                leads_to[row[its]] = earlier_row[its]
            else:
                ends[-1][row[its]] = ends[earlier][earlier_row[its]]
        while ((further := leads_to[leads_to]) != leads_to).any():
            leads_to = further
        ends[-1] = ends[-1][leads_to]
        counts["matches"] += len(row)
        counts["held_out"] += int(((ends[-1][row] & VALIDATION) != 0).sum())
    return counts
