"""A slot of text on its way through the stages between raw and tokens.

Each of these stages works slot by slot, in the order in which slots were opened, over all sources; that order never
changes as a corpus grows, so a later slot is compared with earlier ones and never the other way round.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from data.manifest import ArtifactRef


@dataclass(frozen=True)
class Slot:
    """One slot of one source on its way through the stages; `ref` is what the last stage made of it."""

    source: str  # the recipe's name for the source
    number: int  # of the slot in its source, from 0
    opened: str  # ISO 8601; orders slots over sources
    label: str  # e.g. `python-docs 1/1`
    ref: ArtifactRef

    @property
    def name(self) -> str:
        return f"{self.source}-{self.number:04d}"


def with_refs(slots: Sequence[Slot], refs: Sequence[ArtifactRef]) -> list[Slot]:
    """The slots as the next stage made them."""
    return [replace(slot, ref=ref) for slot, ref in zip(slots, refs, strict=True)]
