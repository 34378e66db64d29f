"""The stage between documents and corpus: one list per slot of what comes again, against all slots before it.

A list's key is the chain of the signatures of the slots up to it, so appending to a corpus finds every earlier list.
Near duplicates and frequent lines of all lists that are missing are found in one join each over the slots, range by
range of hashes: tasks of their own where there is more than one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from data.arrays import Range
from data.boilerplate.config import RULES, LinesConfig
from data.boilerplate.join import FrequentLines, LineIndex, join_lines
from data.boilerplate.join import merged as merged_lines
from data.documents import SIGNATURES_FILE
from data.duplicates import DuplicatesConfig, exact_duplicates
from data.facts import Facts
from data.near.config import NearConfig
from data.near.join import Matches, NearIndex, join_near, merged
from data.store import Build
from tasks.corpus_parts import SIGNED, chained
from tasks.ranges import Join, joined
from tasks.registry import identity
from tasks.run import Run
from tasks.runner import Runner
from tasks.slots import Slot, with_refs
from tasks.units import Unit, UnitProgress, stage_work

LINE_RANGES_AT_ONCE = 8  # of one task; they are short

T = TypeVar("T")
TABLES = "[nl]*-*.npy"  # near-*.npy and line-*.npy, which joins read


@dataclass(frozen=True)
class _Found:
    """What the joins found, by number of slot; empty where nothing was asked for."""

    matches: dict[int, Matches] = field(default_factory=dict)
    lines: dict[int, FrequentLines] = field(default_factory=dict)


def find_duplicates(run: Run, documents: Sequence[Slot], config: DuplicatesConfig) -> list[Slot]:
    """Drop list of every slot, with its list of frequent lines where those are asked for."""
    near, lines = config.near, config.lines
    recipe: dict[str, Any] = {"match": "exact"} | ({"near": near.model_dump(mode="json")} if near else {})
    if lines:
        recipe["lines"] = {**lines.model_dump(mode="json"), "rules": RULES}
    signed = SIGNED[near is not None, lines is not None]
    identities = []
    chain = ""
    for slot in documents:
        chain = chained(chain, run.store.manifest(slot.ref), signed)
        identities.append(identity("duplicates", recipe, {"chain": chain}))
    refs = [slot.ref for slot in documents]
    folders = [run.store.place(ref) for ref in refs]
    with stage_work(run, "duplicates", len(documents)) as work:
        found = _Found()
        if near or lines:
            hits = {} if "duplicates" in run.refresh else run.store.find("duplicates", [one.key for one in identities])
            missing = [number for number, one in enumerate(identities) if one.key not in hits]
            with run.store.using(refs if missing else ()):
                for ref in refs if missing else ():
                    run.store.require_whole(ref, TABLES)
                found = _join(folders, missing, config, run.runner)
        units = [
            Unit(slot.name, slot.label, its_identity, (slot.ref,),
                 partial(_find_duplicates, tuple(folders[: number + 1]), config,
                         found.matches.get(number), found.lines.get(number)),
                 reads=dict.fromkeys(refs[: number + 1], SIGNATURES_FILE))
            for number, (slot, its_identity) in enumerate(zip(documents, identities, strict=True))
        ]  # fmt: skip
        made = work.build(units)
    run.finish("duplicates")
    return with_refs(documents, made)


def _join(folders: Sequence[Path], wanted: Collection[int], config: DuplicatesConfig, runner: Runner) -> _Found:
    """What is found for the wanted slots, by number."""
    if not wanted:
        return _Found()
    return _Found(
        _near_matches(folders, wanted, config.near, runner) if config.near else {},
        _frequent_lines(folders, wanted, config.lines, runner) if config.lines else {},
    )


def _near_matches(
    folders: Sequence[Path], wanted: Collection[int], config: NearConfig, runner: Runner | None
) -> dict[int, Matches]:
    ranges = NearIndex(folders, wanted, config).ranges()
    join = partial(join_near, tuple(folders), tuple(wanted), config)
    found = merged(_by_ranges(join, ranges, "ranges of near duplicates", runner))
    return {number: found.of_slot(number) for number in wanted}


def _frequent_lines(
    folders: Sequence[Path], wanted: Collection[int], config: LinesConfig, runner: Runner | None
) -> dict[int, FrequentLines]:
    ranges = LineIndex(folders, wanted, config.max_occurrences).ranges()
    join: Join[dict[int, FrequentLines]] = partial(join_lines, tuple(folders), tuple(wanted), config.max_occurrences)
    found = _by_ranges(join, ranges, "ranges of lines", runner, LINE_RANGES_AT_ONCE)
    return merged_lines(found)


def _by_ranges(join: Join[T], ranges: Sequence[Range], what: str, runner: Runner | None, at_once: int = 1) -> list[T]:
    """What joining each range gives, in their order; without a runner it is done here, where a task already is."""
    return joined("duplicates", what, join, ranges, runner, at_once) if runner else join(ranges)


def _find_duplicates(
    folders: Sequence[Path],
    config: DuplicatesConfig,
    matches: Matches | None,
    lines: FrequentLines | None,
    build: Build,
    progress: UnitProgress,
) -> Facts:
    last = len(folders) - 1
    if config.near and matches is None:  # the list was there when it was looked up, and is gone
        matches = _near_matches(folders, [last], config.near, None)[last]
    if config.lines and lines is None:
        lines = _frequent_lines(folders, [last], config.lines, None)[last]
    facts = exact_duplicates([folder / SIGNATURES_FILE for folder in folders], build.out, progress, matches)
    if lines is not None:
        lines.write(build.out)
        facts.counts["frequent_lines"] = len(lines.hashes)
    return facts
