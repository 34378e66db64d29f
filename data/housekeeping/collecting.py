"""Cleaning a store up: what no root reaches goes, last made first; what anybody uses meanwhile stays.

Knows neither runs nor champions: whoever calls says what the roots are, and is asked again while the removal is on.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.housekeeping.claims import Claim, collection
from data.housekeeping.lineage import Lineage, Place, size_of
from data.housekeeping.removal import remove_each
from data.manifest import Manifest
from data.store import Store

BATCH = 100  # artifacts that are claimed at once; a run that wants one of them waits for so long


@dataclass(frozen=True)
class Root:
    """Artifacts that stay, with all that they were made from; `reason` says why, in words that go on with their
    number: `champion of wiki`."""

    reason: str
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Kept:
    """What one root keeps and none before it does: artifacts, and bytes of their files."""

    reason: str
    artifacts: int
    bytes: int


@dataclass(frozen=True)
class Plan:
    """What a collection would come to; `removed` in the order in which they go."""

    kept: tuple[Kept, ...]
    removed: tuple[Manifest, ...]


@dataclass
class Collected:
    """What was done: artifacts removed by stage, their bytes, and how many were spared as they came into use."""

    removed: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    spared: int = 0


def plan(lineage: Lineage, roots: Sequence[Root]) -> Plan:
    """What each root keeps, and what no root reaches."""
    kept: list[Kept] = []
    reached: set[str] = set()
    for root in roots:
        more = (lineage.reached(root.places) & lineage.manifests.keys()) - reached
        reached |= more
        kept.append(Kept(root.reason, len(more), sum(size_of(lineage.manifests[key]) for key in more)))
    return Plan(tuple(kept), tuple(lineage.last_first(lineage.manifests.keys() - reached)))


def carry_out(lineage: Lineage, planned: Plan, roots_now: Callable[[], Sequence[Root]]) -> Collected:
    """Remove what is planned but for what roots reach by now. Killed anywhere it may be begun again.

    Raises TextmillError when another collection of the store is at work.
    """
    done = Collected()
    waiting = deque(planned.removed)
    with collection(lineage.store) as claim:
        while waiting:
            batch = [waiting.popleft() for _ in range(min(BATCH, len(waiting)))]
            claim.take([one.key for one in batch])
            reached = lineage.reached([place for root in roots_now() for place in root.places])
            free = [one for one in batch if one.key not in reached]
            done.spared += len(batch) - len(free)
            late: list[Manifest] = []
            for one in remove_each(lineage.store, _while_fresh(free, claim, late)):
                done.removed[one.recipe.stage] += 1
                done.bytes += size_of(one)
            waiting.extendleft(reversed(late))
    return done


def _while_fresh(manifests: Sequence[Manifest], claim: Claim, late: list[Manifest]) -> Iterator[Manifest]:
    """The artifacts as long as the claim on them is young enough; the others are left in `late`."""
    for number, one in enumerate(manifests):
        if not claim.is_fresh:
            late += manifests[number:]
            return
        yield one


def idle_work(store: Store, days: float) -> Mapping[str, int]:
    """Unfinished work that nobody has touched for so many days: {name: bytes}. It may be one that is being built."""
    return {
        folder.name: sum(path.stat().st_size for path in _files(folder))
        for folder in sorted((store.root / "work").glob("*"))
        if folder.is_dir() and _is_idle(folder, days)
    }


def clear_idle_work(store: Store, days: float) -> list[str]:
    """Throw that work away, but for what is being built; returns names."""
    return store.clear_work(lambda folder: _is_idle(folder, days))


def _is_idle(folder: Path, days: float) -> bool:
    newest = max((path.stat().st_mtime for path in (folder, *_files(folder))), default=0.0)
    return time.time() - newest >= days * 86_400


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
