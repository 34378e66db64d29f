"""A corpus ready for training, and the pointer by which a later run finds the newest one of a recipe."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from data.errors import TextmillError
from data.manifest import ArtifactRef
from tasks.run import Run
from tasks.slots import Slot

POINTERS = "prepared"  # in the store's refs


@dataclass(frozen=True)
class Prepared:
    """What the corpus stages made: per slot the documents, shards and token arrays; the index; the tokenizer.

    overlap  None in a corpus that was made before there was such a stage
    """

    documents: tuple[Slot, ...]
    shards: tuple[Slot, ...]
    index: ArtifactRef
    tokenizer: ArtifactRef
    tokens: tuple[Slot, ...]
    overlap: ArtifactRef | None = None


def remember(run: Run, prepared: Prepared) -> None:
    """Note `prepared` as the newest corpus of this run's recipe."""
    run.store.refs.update(_pointer(run), lambda _: asdict(prepared))


def newest_index(run: Run) -> ArtifactRef | None:
    """The index of the newest corpus of this run's recipe, whether it is still there or not; None: there was none."""
    value = run.store.refs.read(_pointer(run)).value
    return ArtifactRef(**value["index"]) if value else None


def newest(run: Run) -> Prepared:
    """The newest corpus of this run's recipe. Raises TextmillError when there is none, or parts of it are gone."""
    value = run.store.refs.read(_pointer(run)).value
    remedy = f"Run the flow `corpus` (or `pipeline`) of recipe {run.recipe_name!r} first."
    if value is None:
        raise TextmillError(f"The store {run.store.where} has no corpus of recipe {run.recipe_name!r}. {remedy}")
    prepared = Prepared(
        documents=_slots(value["documents"]),
        shards=_slots(value["shards"]),
        index=ArtifactRef(**value["index"]),
        tokenizer=ArtifactRef(**value["tokenizer"]),
        tokens=_slots(value["tokens"]),
        overlap=ArtifactRef(**value["overlap"]) if value.get("overlap") else None,
    )
    slots = prepared.documents + prepared.shards + prepared.tokens
    single = [ref for ref in (prepared.index, prepared.overlap, prepared.tokenizer) if ref]
    refs = (*single, *(slot.ref for slot in slots))
    run.use(*refs)
    for ref in refs:
        found = run.store.find(ref.stage, [ref.key]).get(ref.key)
        if found is None or found.digest != ref.digest:
            raise TextmillError(
                f"{ref}, part of the newest corpus of {run.recipe_name!r}, is gone or changed. {remedy}"
            )
    return prepared


def _pointer(run: Run) -> str:
    return f"{POINTERS}/{run.recipe_name}"


def _slots(values: Sequence[dict[str, Any]]) -> tuple[Slot, ...]:
    return tuple(Slot(**(value | {"ref": ArtifactRef(**value["ref"])})) for value in values)
