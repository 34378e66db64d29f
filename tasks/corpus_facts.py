"""What is known of a corpus as numbers: what each source brought, what each rule took, what is left and whose it is.

Gathered from manifests alone, but for clusters, which take reading the matches. Counts of documents are exact; where an
older artifact lacks a breakdown, that part says so by being empty. Knows neither pages nor pictures.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data.clusters import find_clusters
from data.errors import TextmillError
from data.manifest import ArtifactRef, Manifest
from data.privacy.config import THINGS
from data.scores import Histogram, added_up
from data.store import Store
from tasks.corpus_drift import Drift, find_drift
from tasks.corpus_parts import Part, read_matches
from tasks.report_facts import Counts, add_up

DUPLICATES = "duplicates"
BOILERPLATE = "boilerplate"
EDITING = "editing"
OWN_STEPS = (EDITING, DUPLICATES, BOILERPLATE)  # shown however many rules take more
UNSAID = "not broken down"
SCORES_SAY = (
    "What documents that cleaning kept were judged by, and how similar near copies are to the earlier ones: "
    "the values that 5%, half and 95% of them reach at most, and how they are spread."
)
_EDITED, _TIMES, _LINES = "edited_", "edits_", "c4_lines_removed_"


@dataclass(frozen=True)
class Step:
    """What one rule took of a text, in documents and characters; the latter may be negative where text was put in."""

    name: str
    documents: int
    characters: int


@dataclass(frozen=True)
class TextFlow:
    """The text of one source, or of all, on its way from raw into the corpus.

    documents, corpus  counts of the two stages, summed over the slots
    similar            documents dropped as similar to earlier ones; the other duplicates are equal to them
    lost               characters of dropped documents, by reason
    licences           UTF-8 bytes kept, by licence
    tokens             tokens of the text kept, by licence, as the bytes of each slot share its tokens; empty: unknown
    lengths            documents kept by the largest power of two that their bytes reach
    scores             what documents were judged by, of those that cleaning kept; and how similar near copies are
    """

    name: str
    slots: int
    documents: Counts
    corpus: Counts
    similar: int
    lost: Mapping[str, int]
    licences: Mapping[str, int]
    tokens: Mapping[str, float]
    lengths: Mapping[int, int]
    scores: Mapping[str, Histogram] = field(default_factory=dict)

    @property
    def documents_in(self) -> int:
        return int(self.documents.get("documents_in", 0))

    @property
    def characters_in(self) -> int:
        return int(self.documents.get("characters_in", 0))

    @property
    def documents_kept(self) -> int:
        return int(self.corpus.get("documents_out", 0))

    @property
    def characters_kept(self) -> int:
        return int(self.corpus.get("train_characters", 0) + self.corpus.get("validation_characters", 0))

    @property
    def bytes_kept(self) -> int:
        return int(self.corpus.get("train_bytes", 0) + self.corpus.get("validation_bytes", 0))

    @property
    def equal(self) -> int:
        """Documents dropped because they equal earlier ones."""
        return int(self.corpus.get("duplicates_dropped", 0)) - self.similar

    @property
    def reasons(self) -> dict[str, int]:
        """Documents dropped by cleaning, the commonest reason first."""
        return _beginning(self.documents, "dropped_")

    @property
    def languages(self) -> dict[str, int]:
        """Documents judged by their likeliest language, the commonest first; also those dropped."""
        return _beginning(self.documents, "language_")

    @property
    def edits(self) -> dict[str, tuple[int, int]]:
        """For each edit the documents kept that it changed, and how often it found something."""
        times = _beginning(self.documents, _TIMES)
        return {name: (count, times.get(name, 0)) for name, count in _beginning(self.documents, _EDITED).items()}

    @property
    def lines_removed(self) -> dict[str, int]:
        """Lines that C4's rules took out of documents kept, by rule."""
        return _beginning(self.documents, _LINES)

    @property
    def replaced(self) -> dict[str, int]:
        """Personal data replaced in documents kept, by what they are called."""
        return {THINGS[one][1]: int(n) for one in THINGS if (n := self.documents.get(f"replaced_{one}", 0))}

    @property
    def steps(self) -> list[Step]:
        """What became of the text between reading and keeping it, in that order: each takes from what is left."""
        took = [Step(reason, count, self.lost.get(reason, 0)) for reason, count in self.reasons.items()]
        count = self.documents
        dropped = int(count.get("characters_dropped", 0))
        if unsaid := dropped - sum(step.characters for step in took):
            took.append(Step(UNSAID, 0, unsaid))
        cleaned = int(count.get("characters_out", 0))
        if edited := self.characters_in - dropped - cleaned:
            took.append(Step(EDITING, 0, edited))
        lines, emptied = (
            int(self.corpus.get(name, 0)) for name in ("boilerplate_characters_removed", "dropped_boilerplate")
        )
        if copies := int(self.corpus.get("duplicates_dropped", 0)):
            took.append(Step(DUPLICATES, copies, cleaned - self.characters_kept - lines))
        if lines:
            took.append(Step(BOILERPLATE, emptied, lines))
        return took


@dataclass(frozen=True)
class ClusterFacts:
    """Clusters of copies: how many, documents in the largest, how many of each size by power of two."""

    count: int
    largest: int
    sizes: Mapping[int, int]


@dataclass(frozen=True)
class CorpusFacts:
    """A corpus; `clusters` is None where the matches are not all there."""

    sources: tuple[TextFlow, ...]
    all: TextFlow
    clusters: ClusterFacts | None
    drift: Drift = field(default_factory=Drift)


def gather_corpus_facts(
    store: Store, index: ArtifactRef, parts: Sequence[Part], recipe_name: str, tokens: Sequence[Manifest] = ()
) -> CorpusFacts:
    """Read what manifests say of a corpus, and compare it with the one before.

    parts   with documents and shards, in slot order
    tokens  of each part's tokens; empty before there are any
    """
    names = sorted({part.source for part in parts})
    arrays: list[Manifest | None] = [*tokens] or [None for _ in parts]
    slots = list(zip(parts, arrays, strict=True))
    sources = tuple(_flow(name, [slot for slot in slots if slot[0].source == name]) for name in names)
    drift = find_drift(store, index, parts, recipe_name)
    return CorpusFacts(sources, _flow("all", slots), _clusters(store, parts), drift)


def _clusters(store: Store, parts: Sequence[Part]) -> ClusterFacts | None:
    try:
        links = read_matches(store, parts)
    except TextmillError:
        return None  # the command `duplicates` says what is wrong
    if links is None:
        return None
    clusters = find_clusters(links)
    largest = int(clusters.sizes[0]) if len(clusters.sizes) else 0
    return ClusterFacts(len(clusters.kept), largest, clusters.sizes_by_power())


def _flow(name: str, slots: Sequence[tuple[Part, Manifest | None]]) -> TextFlow:
    lost: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    tokens: dict[str, float] = {}
    scores: list[Mapping[str, Any]] = []
    for part, array in slots:
        scores += [one.details.get("scores", {}) for one in (part.documents, part.drops) if one]
        lost.update(part.documents.details.get("characters_dropped", {}))
        if part.shards is None:
            continue
        lengths.update({int(least): count for least, count in part.shards.details.get("lengths", {}).items()})
        its_licences = _licence_bytes(part.shards)
        licences.update(its_licences)
        size = sum(its_licences.values())
        count = 0 if array is None else _both_sides(array.counts, "tokens")
        for licence, its_bytes in its_licences.items() if count else ():
            tokens[licence] = tokens.get(licence, 0.0) + count * its_bytes / max(1, size)
    return TextFlow(
        name,
        len(slots),
        add_up(part.documents.counts for part, _ in slots),
        add_up(part.shards.counts for part, _ in slots if part.shards),
        sum(int(part.drops.counts.get("near_duplicates_dropped", 0)) for part, _ in slots if part.drops),
        dict(lost),
        dict(licences.most_common()),
        tokens,
        dict(sorted(lengths.items())),
        added_up(scores),
    )


def _licence_bytes(shards: Manifest) -> dict[str, int]:
    """As the shards counted them; older ones only said which licences there are."""
    counted: dict[str, int] | None = shards.details.get("licence_bytes")
    if counted is not None:
        return counted
    size = _both_sides(shards.counts, "bytes")
    return {" / ".join(shards.licences): size} if size else {}


def _both_sides(counts: Mapping[str, int | float], what: str) -> int:
    return int(counts.get(f"train_{what}", 0) + counts.get(f"validation_{what}", 0))


def _beginning(counts: Counts, prefix: str) -> dict[str, int]:
    """The counts whose names begin so, without that, the largest first."""
    found = {name.removeprefix(prefix): int(n) for name, n in counts.items() if name.startswith(prefix) and n}
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))
