"""The corpus stage: the documents of one slot that are no duplicates, split into training and validation shards.

Where a document is cut and which passages are held out is settled in data/passages.py; this module walks the
shard twice, once to measure and decide, once to write. Both shards together hold every kept document exactly, but for
lines that are taken out before (data/boilerplate).
"""

import json
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data.boilerplate.removal import LineRemoval
from data.documents import DOCUMENTS_FILE
from data.errors import TextmillError
from data.facts import Facts, Progress, no_progress
from data.passages import cut, hold_out, side_hash
from data.shards import CORPUS, ShardWriter, read_batches, text_buffer, text_sizes

TRAIN_FILE = "train.parquet"
VALIDATION_FILE = "validation.parquet"


class SplitConfig(BaseModel):
    """How documents are cut and split. Each field changes the output, so each is part of the artifact's key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation_share: float = Field(
        0.05, ge=0, lt=1, description="Share of all passages held out for validation, before the two limits below."
    )
    min_passages: int = Field(
        64,
        ge=0,
        description="Passages that the validation split should hold at least, over all slots of a source; what the "
        "share leaves missing is made up, but never with more than half of the passages that came in one look.",
    )
    max_validation_bytes: int = Field(
        10_000_000, ge=0, description="UTF-8 bytes that the validation split may hold, over all slots of a source."
    )
    max_whole_bytes: int = Field(
        16_000, ge=64, description="Longest document that stays one passage, in UTF-8 bytes; longer ones are cut."
    )
    passage_bytes: int = Field(
        4_000, ge=64, description="Length of a passage of a document that is cut, in UTF-8 bytes, roughly."
    )


class ForeignDropListError(TextmillError):
    """A drop list that names rows which the documents do not have."""


def split_slot(
    documents_dir: Path,
    drops_path: Path,
    out: Path,
    config: SplitConfig,
    need: int,
    room: int,
    progress: Progress = no_progress,
    removal: LineRemoval | None = None,
) -> Facts:
    """Split the documents of one slot into training and validation.

    documents_dir  holds documents.parquet, or none when the slot kept no document
    drops_path     drops.npy, int64 ascending row numbers of documents that are duplicates
    need           max(0, min_passages - validation passages of all earlier slots)
    room           max(0, max_validation_bytes - validation bytes of all earlier slots)
    removal        takes lines out of the documents before anything else is done; None: they stay whole

    Writes train.parquet and validation.parquet (schema `CORPUS`, documents in slot order; no file for a side
    with no rows). A row of validation is one passage; a row of train is a run of adjacent passages of one
    document, as long as possible. With `removal` a document of which nothing is left counts as `dropped_boilerplate`,
    and details `boilerplate_examples` names the most frequent lines. The facts' details say of the documents kept how
    many UTF-8 bytes are under which licence, and how many documents have 1 byte, 2 to 3, 4 to 7 and so on, by the least
    number. Memory: one row group of text, and some 100 bytes per passage, with `removal` some 300 more per frequent
    line.
    """
    path = documents_dir / DOCUMENTS_FILE
    drops: NDArray[np.int64] = np.load(drops_path, allow_pickle=False)
    batches: Iterable[pa.RecordBatch] = read_batches(path, ["native_id", "text", "meta"]) if path.exists() else ()
    pieces = _measure(removal.decide(batches, drops) if removal else batches, drops, config)
    if len(drops) and drops[-1] >= pieces.documents:
        raise ForeignDropListError(
            f"{drops_path} drops row {drops[-1]}, but {documents_dir} holds {pieces.documents} documents. "
            "Delete the artifact of the drop list and run again: it will be rebuilt."
        )
    if removal:
        pieces = replace(pieces, kept=pieces.kept & ~np.isin(pieces.document, removal.emptied))
    kept = pieces.kept
    held = np.zeros(len(kept), np.bool_)
    share = config.validation_share
    held[kept] = hold_out(pieces.looks[kept], pieces.hashes[kept], pieces.sizes[kept], share, need, room)

    characters = {True: 0, False: 0}
    licences: Counter[str] = Counter()  # UTF-8 bytes
    with (
        ShardWriter(out / TRAIN_FILE, CORPUS) as train,
        ShardWriter(out / VALIDATION_FILE, CORPUS) as validation,
    ):
        done = 0
        batches = read_batches(path) if pieces.documents else ()
        for batch in removal.repeat(batches) if removal else batches:
            rows, on_validation = _rows(batch, done, pieces, held)
            done += batch.num_rows
            for side, writer in ((False, train), (True, validation)):
                chosen = rows.filter(pa.array(on_validation == side))
                writer.write(chosen)
                characters[side] += pc.sum(pc.utf8_length(chosen["text"])).as_py() or 0
                licences.update(_bytes_by_licence(chosen))
            progress(done, pieces.documents, "documents")

    taken = kept & ~held
    cut_documents = np.bincount(pieces.document, minlength=1) > 1
    facts = Facts(
        counts={
            "documents_in": pieces.documents,
            "duplicates_dropped": len(drops),
            "documents_out": pieces.documents - len(drops),
            "documents_cut": int(cut_documents.sum()),
            "train_documents": len(np.unique(pieces.document[taken])),
            "train_rows": train.rows,
            "train_passages": int(taken.sum()),
            "train_bytes": int(pieces.sizes[taken].sum()),
            "train_characters": characters[False],
            "validation_documents": len(np.unique(pieces.document[held])),
            "validation_passages": validation.rows,
            "validation_bytes": int(pieces.sizes[held].sum()),
            "validation_characters": characters[True],
        },
        licences=sorted(licences),
        details={"licence_bytes": dict(sorted(licences.items())), "lengths": _lengths(pieces)},
    )
    if removal:
        facts.counts["documents_out"] -= len(removal.emptied)
        facts.counts["dropped_boilerplate"] = len(removal.emptied)
        facts.counts["boilerplate_lines_removed"] = removal.lines
        facts.counts["boilerplate_characters_removed"] = removal.characters
        facts.details["boilerplate_examples"] = removal.examples()
    return facts


@dataclass(frozen=True)
class _Pieces:
    """The passages of a slot in order; a document that is dropped counts as one. All arrays are (pieces,)."""

    documents: int
    document: NDArray[np.int64]  # row in documents.parquet
    passage: NDArray[np.int64]  # number in its document
    sizes: NDArray[np.int64]  # UTF-8 bytes
    looks: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    kept: NDArray[np.bool_]


def _measure(batches: Iterable[pa.RecordBatch], drops: NDArray[np.int64], config: SplitConfig) -> _Pieces:
    """Cut every document that is kept, and note of each passage what deciding its side takes."""
    dropped = set(drops.tolist())
    document, passage, sizes, looks, hashes = array("q"), array("q"), array("q"), array("q"), array("Q")
    row = -1
    for batch in batches:
        offsets, content = text_buffer(batch["text"])
        batch_looks = _looks(batch["meta"])
        for i, native_id in enumerate(batch["native_id"].to_pylist()):
            row += 1
            size = int(offsets[i + 1] - offsets[i])
            ends = [size]
            if size > config.max_whole_bytes and row not in dropped:
                text = content.slice(offsets[i], size).to_pybytes()
                ends = cut(text, config.max_whole_bytes, config.passage_bytes)
            start = 0
            for number, end in enumerate(ends):
                document.append(row)
                passage.append(number)
                sizes.append(end - start)
                looks.append(batch_looks[i])
                hashes.append(side_hash(native_id, number))
                start = end
    rows = np.array(document, np.int64)
    return _Pieces(
        documents=row + 1,
        document=rows,
        passage=np.array(passage, np.int64),
        sizes=np.array(sizes, np.int64),
        looks=np.array(looks, np.int64),
        hashes=np.array(hashes, np.uint64),
        kept=~np.isin(rows, drops),
    )


def _bytes_by_licence(rows: pa.Table) -> dict[str, int]:
    coded = rows["licence"].combine_chunks().dictionary_encode()
    sums = np.bincount(coded.indices.to_numpy(), text_sizes(rows), len(coded.dictionary))
    return dict(zip(coded.dictionary.to_pylist(), map(int, sums), strict=True))


def _lengths(pieces: _Pieces) -> dict[str, int]:
    """Documents kept by the largest power of two that their length in bytes reaches; keys are as JSON has them."""
    sizes = np.bincount(pieces.document[pieces.kept], pieces.sizes[pieces.kept])
    powers, counts = np.unique(np.frexp(sizes[sizes > 0])[1] - 1, return_counts=True)
    return {str(1 << int(power)): int(count) for power, count in zip(powers, counts, strict=True)}


def _looks(meta: pa.StringArray) -> list[int]:
    """The look of each document; documents of one look mostly share their meta, so each is parsed once."""
    coded = meta.dictionary_encode()
    looks = [int(json.loads(text)["look"]) for text in coded.dictionary.to_pylist()]
    return [looks[code] for code in coded.indices.to_pylist()]


def _rows(
    batch: pa.RecordBatch, first: int, pieces: _Pieces, held: NDArray[np.bool_]
) -> tuple[pa.Table, NDArray[np.bool_]]:
    """The corpus rows of a batch of documents whose first row is `first`.

    returns  a table of schema `CORPUS` without the dropped documents, and for each row whether it is validation
    """
    begin, end = np.searchsorted(pieces.document, [first, first + batch.num_rows])
    document, held = pieces.document[begin:end] - first, held[begin:end]
    starts_row = np.ones(end - begin, np.bool_)
    starts_row[1:] = (document[1:] != document[:-1]) | held[1:] | held[:-1]
    starts = np.flatnonzero(starts_row)
    offsets, content = text_buffer(batch["text"])
    bounds = np.concatenate([offsets[:1], offsets[0] + np.cumsum(pieces.sizes[begin:end])])
    row_bounds = np.append(bounds[:-1][starts], bounds[-1]).astype(np.int32)
    others = batch.drop_columns(["text"]).take(pa.array(document[starts]))
    columns = {
        **dict(zip(others.schema.names, others.columns, strict=True)),
        "text": pa.StringArray.from_buffers(len(starts), pa.py_buffer(row_bounds), content),  # the same bytes, cut anew
        "passage": pa.array(pieces.passage[begin:end][starts], pa.int32()),
        "passages": pa.array(np.diff(np.append(starts, end - begin)), pa.int32()),
    }
    table = pa.Table.from_arrays([columns[name] for name in CORPUS.names], schema=CORPUS)
    kept = pieces.kept[begin:end][starts]
    return table.filter(pa.array(kept)), held[starts][kept]
