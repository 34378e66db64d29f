"""Drift: rules that suddenly drop far more than they did in the corpus before, of the same recipe.

Compared is what is new (slots that the corpus before did not have as they are now) with all of the corpus before,
source by source, so that a small bad addition shows in a large corpus. Knows manifests, not texts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data.errors import TextmillError
from data.manifest import ArtifactRef, Manifest, safe_name
from data.store import Store
from tasks.corpus_parts import Part, indexes, read_slots

TIMES = 5  # a rule that takes so much more of the documents is flagged
MIN_DOCUMENTS = 20  # dropped by the rule among what is new; fewer are taken for chance
DUPLICATES_RULE, BOILERPLATE_RULE = "duplicates", "boilerplate"


@dataclass(frozen=True)
class Jump:
    """A rule that takes far more of a source than before. Shares of documents, 0 to 1."""

    source: str
    rule: str
    documents: int  # dropped by it, of those that are new
    of: int  # documents that are new
    share_before: float

    @property
    def share(self) -> float:
        return self.documents / self.of

    def __str__(self) -> str:
        return (
            f"{self.source}: {self.rule} drops {self.share:.1%} of what is new ({self.documents:,} of {self.of:,} "
            f"documents), and dropped {self.share_before:.1%} in the corpus before."
        )


@dataclass(frozen=True)
class Drift:
    """What jumped since the corpus before; `before` is None where there is none, or parts of it are gone."""

    before: Manifest | None = None
    jumps: tuple[Jump, ...] = ()


def find_drift(store: Store, index: ArtifactRef, parts: Sequence[Part], recipe_name: str) -> Drift:
    """Compare a corpus with the newest one that was made before it under the recipe's name."""
    made = store.manifest(index).created
    label = safe_name(recipe_name)
    earlier = [one for one in indexes(store) if one.name == label and one.key != index.key and one.created < made]
    if not earlier:
        return Drift()
    try:
        before = read_slots(store, earlier[-1].ref)
    except TextmillError:
        return Drift()
    jumps: list[Jump] = []
    for source in sorted({part.source for part in parts}):
        theirs = [part for part in before if part.source == source]
        if theirs:
            jumps += _jumps(source, [part for part in parts if part.source == source], theirs)
    return Drift(earlier[-1], tuple(jumps))


def _jumps(source: str, parts: Sequence[Part], before: Sequence[Part]) -> list[Jump]:
    known = {part.documents.key for part in before}
    known_shards = {part.shards.key for part in before if part.shards}
    pairs = [
        (
            _dropped_by_cleaning(part for part in parts if part.documents.key not in known),
            _dropped_by_cleaning(before),
        ),
        (
            _copies(part for part in parts if part.shards and part.shards.key not in known_shards),
            _copies(before),
        ),
    ]
    found = []
    for (drops, of), (drops_before, of_before) in pairs:
        for rule, count in sorted(drops.items()):
            earlier = drops_before.get(rule, 0)
            likely = (earlier + 1) / (of_before + 1)  # what was never seen may be as frequent as that
            if count >= MIN_DOCUMENTS and count / of >= TIMES * likely:
                found.append(Jump(source, rule, count, of, earlier / max(1, of_before)))
    return found


def _dropped_by_cleaning(parts: Iterable[Part]) -> tuple[dict[str, int], int]:
    """Documents by the rule that dropped them, and documents in all."""
    drops: dict[str, int] = {}
    total = 0
    for part in parts:
        total += int(part.documents.counts["documents_in"])
        for name, count in part.documents.counts.items():
            if name.startswith("dropped_"):
                rule = name.removeprefix("dropped_")
                drops[rule] = drops.get(rule, 0) + int(count)
    return drops, total


def _copies(parts: Iterable[Part]) -> tuple[dict[str, int], int]:
    counts = [part.shards.counts for part in parts if part.shards]
    return (
        {
            DUPLICATES_RULE: sum(int(one["duplicates_dropped"]) for one in counts),
            BOILERPLATE_RULE: sum(int(one.get("dropped_boilerplate", 0)) for one in counts),
        },
        sum(int(one["documents_in"]) for one in counts),
    )
