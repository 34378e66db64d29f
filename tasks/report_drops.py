"""What cleaning took out of a run's text, with examples: whole documents, and lines that many of them share."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from data.manifest import ArtifactRef
from data.store import Store
from tasks.report_facts import Made

DROPS_FILE = "drops.json"
MAX_BOILERPLATE = 20  # lines shown
MAX_EXAMPLES = 3  # dropped documents shown per reason


@dataclass(frozen=True)
class Drop:
    """Documents dropped for one reason, with a few of them."""

    reason: str
    count: int
    examples: tuple[Mapping[str, Any], ...]  # native_id, position, characters, excerpt


@dataclass(frozen=True)
class Boilerplate:
    """A line that was taken out, and how many documents of the slots that show it lost it."""

    text: str
    documents: int


def read_drops(store: Store, documents: Iterable[ArtifactRef]) -> list[Drop]:
    """Documents that cleaning dropped, the commonest reason first, with a few examples."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[Mapping[str, Any]]] = {}
    for ref in documents:
        drops = json.loads(store.read(ref, DROPS_FILE))
        counts.update(drops["counts"])
        for reason, found in drops["examples"].items():
            shown = examples.setdefault(reason, [])
            shown += found[: MAX_EXAMPLES - len(shown)]
    return [Drop(reason, count, tuple(examples.get(reason, ()))) for reason, count in counts.most_common()]


def read_boilerplate(store: Store, made: Made) -> list[Boilerplate]:
    """Lines that were taken out of many documents, the most frequent first, as the slots' examples show them."""
    found: Counter[str] = Counter()
    for ref in made.corpus:
        for one in store.manifest(ref).details.get("boilerplate_examples", ()):
            found[one["text"]] += one["documents"]
    return [Boilerplate(text, times) for text, times in found.most_common(MAX_BOILERPLATE)]
