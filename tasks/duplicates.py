"""The stage between documents and corpus: one drop list per slot, against all slots before it.

A list's key is the chain of the signatures of the slots up to it, so appending to a corpus finds every earlier list.
Near duplicates of all lists that are missing are found in one join over the slots, range by range of hashes.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from data.digests import text_digest
from data.documents import SIGNATURES_FILE
from data.duplicates import DuplicatesConfig, exact_duplicates
from data.facts import Facts
from data.near import bands
from data.near.config import NearConfig
from data.near.join import Matches, NearIndex, merged
from data.store import Build
from tasks.progress import watcher
from tasks.registry import identity
from tasks.run import Run
from tasks.text import Slot, with_refs
from tasks.units import Unit, UnitProgress, stage_work


def find_duplicates(run: Run, documents: Sequence[Slot], config: DuplicatesConfig) -> list[Slot]:
    """Drop list of every slot."""
    near = config.near
    recipe: dict[str, Any] = {"match": "exact"} | ({"near": near.model_dump(mode="json")} if near else {})
    signed = (SIGNATURES_FILE, *bands.FILES) if near else (SIGNATURES_FILE,)
    identities = []
    chain = ""
    for slot in documents:
        files = run.store.manifest(slot.ref).files
        chain = text_digest(chain + "".join(files[name].logical for name in signed))
        identities.append(identity("duplicates", recipe, {"chain": chain}))
    folders = [run.store.path(slot.ref) for slot in documents]
    with stage_work(run, "duplicates", len(documents)) as work:
        matches: dict[int, Matches] = {}
        if near:
            hits = {} if "duplicates" in run.refresh else run.store.find("duplicates", [one.key for one in identities])
            missing = [number for number, one in enumerate(identities) if one.key not in hits]
            matches = _near_matches(folders, missing, near, run.runtime.worker_count)
        units = [
            Unit(slot.name, slot.label, its_identity, (slot.ref,),
                 partial(_find_duplicates, tuple(folders[: number + 1]), near, matches.get(number)))
            for number, (slot, its_identity) in enumerate(zip(documents, identities, strict=True))
        ]  # fmt: skip
        refs = work.build(units)
    run.finish("duplicates")
    return with_refs(documents, refs)


def _near_matches(
    folders: Sequence[Path], wanted: Sequence[int], config: NearConfig, workers: int
) -> dict[int, Matches]:
    """Near duplicates in the wanted slots, by number; ranges are joined in threads, for numpy does the work."""
    if not wanted:
        return {}
    index = NearIndex(folders, wanted, config)
    ranges = index.ranges()
    parts = []
    with ThreadPoolExecutor(workers) as pool:
        for part in pool.map(index.join, ranges):
            parts.append(part)
            watcher().progress("duplicates", "", len(parts), len(ranges), "ranges of near duplicates", "")
    found = merged(parts)
    return {number: found.of_slot(number) for number in wanted}


def _find_duplicates(
    folders: Sequence[Path],
    near: NearConfig | None,
    matches: Matches | None,
    build: Build,
    progress: UnitProgress,
) -> Facts:
    if near and matches is None:  # the list was there when it was looked up, and is gone
        matches = _near_matches(folders, [len(folders) - 1], near, 1)[len(folders) - 1]
    return exact_duplicates([folder / SIGNATURES_FILE for folder in folders], build.out, progress, matches)
