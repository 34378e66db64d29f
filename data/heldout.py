"""Held-out text of two corpora: which validation passages both have, which are new, and which were trained on.

A passage is frozen when the older corpus holds the very same text under the same source, document and number for
validation. One that the older corpus has in its training text is of no use for judging what was trained on that.
Knows shards of corpora; nothing of models.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from data.corpus import TRAIN_FILE, VALIDATION_FILE
from data.shards import read_batches

Kind = Literal["frozen", "new", "trained on"]
KINDS: tuple[Kind, ...] = ("frozen", "new", "trained on")
Place = tuple[str, str, int]  # source, native id of the document, number of the passage


@dataclass(frozen=True)
class HeldOut:
    """The validation passages of a shard, in its order: where each comes from, a digest and the UTF-8 bytes of each."""

    places: list[Place]
    digests: list[int]
    sizes: list[int]

    def __len__(self) -> int:
        return len(self.places)


def read_held_out(folder: Path) -> HeldOut:
    """The validation passages of the shards in `folder`; none where there is no validation shard."""
    held = HeldOut([], [], [])
    path = folder / VALIDATION_FILE
    for batch in read_batches(path, ["native_id", "source", "text", "passage"]) if path.exists() else ():
        texts = [text.encode() for text in batch["text"].to_pylist()]
        columns = (batch[name].to_pylist() for name in ("source", "native_id", "passage"))
        held.places.extend(zip(*columns, strict=True))
        held.digests.extend(map(xxhash.xxh3_64_intdigest, texts))
        held.sizes.extend(map(len, texts))
    return held


def kinds_of(held: HeldOut, older: Iterable[Path]) -> NDArray[np.int8]:
    """What each passage of `held` is to a corpus that consists of the shards in the folders `older`.

    returns  (passages,) int8, places in `KINDS`. Shards of `older` that are gone are simply left out of it: what they
    held counts as new.
    """
    folders = list(older)
    frozen: set[tuple[Place, int]] = set()
    for folder in folders:
        theirs = read_held_out(folder)
        frozen.update(zip(theirs.places, theirs.digests, strict=True))
    marked = list(zip(held.places, held.digests, strict=True))
    trained = _trained_on(folders, {one[0] for one in marked if one not in frozen})
    return np.array([0 if one in frozen else 2 if one[0] in trained else 1 for one in marked], np.int8)


def _trained_on(folders: Iterable[Path], places: set[Place]) -> set[Place]:
    """Those of `places` that lie in training text. Reads ids alone, and never a text."""
    wanted = pa.array(sorted({native_id for _, native_id, _ in places}), pa.string())
    found: set[Place] = set()
    for folder in folders if places else ():
        path = folder / TRAIN_FILE
        for batch in read_batches(path, ["native_id", "source", "passage", "passages"]) if path.exists() else ():
            for row in batch.filter(pc.is_in(batch["native_id"], wanted)).to_pylist():
                numbers = range(row["passage"], row["passage"] + row["passages"])
                found.update((row["source"], row["native_id"], number) for number in numbers)
    return found & places
