"""The tokens stage: the corpus shards of one slot become arrays of ids that numpy maps straight from the disk.

Every row of a shard is one document here: `<|endoftext|>`, then its ids. What the ids mean, and how the bulk of them
is computed and checked, is settled in data/tokenizers; this module reads in row groups, inserts, and writes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.facts import Facts, Progress, no_progress
from data.shards import read_batches, text_sizes
from data.tokenizers.bulk import BulkEncoder, ReferenceEncoder
from data.tokenizers.config import TokenizerError
from data.tokenizers.gigatoken_encoder import GigatokenDiffersError, GigatokenEncoder, known_difference
from data.tokenizers.load import Tokenizer, load_tokenizer

SIDES = ("train", "validation")


def encode_slot(
    corpus_dir: Path, tokenizer_dir: Path, out: Path, threads: int = 1, progress: Progress = no_progress
) -> Facts:
    """Encode the shards of one slot; either may be missing.

    corpus_dir     holds `train.parquet` and `validation.parquet`
    tokenizer_dir  holds the tokenizer
    out            gets, per side, `{side}.npy`: (n,) uint16, or uint32 above 65,536 ids, with `<|endoftext|>` before
                   each document exactly once; and `{side}.documents.npy`: (documents + 1,) int64, where each starts
                   and, last, n
    threads        row groups encoded at once; the bytes written do not depend on it
    returns        tokens, documents, bytes and characters of both sides

    Memory is bounded by twice `threads` row groups and 8 bytes per document.
    """
    tokenizer = load_tokenizer(tokenizer_dir)
    if tokenizer.vocabulary.kind == "characters":
        return write_slot(corpus_dir, tokenizer, ReferenceEncoder(tokenizer), out, threads, progress)
    try:
        if known := known_difference(tokenizer_dir):
            raise GigatokenDiffersError(known)
        return write_slot(corpus_dir, tokenizer, GigatokenEncoder(tokenizer_dir, tokenizer), out, threads, progress)
    except GigatokenDiffersError as difference:
        facts = write_slot(corpus_dir, tokenizer, ReferenceEncoder(tokenizer), out, threads, progress)
        facts.notes.append(f"Encoded with tiktoken, which is slower: gigatoken {difference}.")
        return facts


def write_slot(
    corpus_dir: Path,
    tokenizer: Tokenizer,
    encoder: BulkEncoder,
    out: Path,
    threads: int = 1,
    progress: Progress = no_progress,
) -> Facts:
    """The work of `encode_slot` with an encoder of choice; files that stand in `out` are overwritten."""
    paths = {side: corpus_dir / f"{side}.parquet" for side in SIDES}
    rows = {side: pq.read_metadata(path).num_rows if path.exists() else 0 for side, path in paths.items()}
    facts = Facts()
    licences: set[str] = set()
    done = 0
    for side, path in paths.items():
        count = {"tokens": 0, "documents": 0, "bytes": 0, "characters": 0}
        starts = [np.zeros(1, np.int64)]
        batches = read_batches(path, ["text", "licence"]) if rows[side] else ()
        with ArrayFile(out / f"{side}.npy", token_dtype(tokenizer.vocab_size)) as array:
            for block in _in_order(partial(_encode, encoder, tokenizer), batches, threads):
                starts.append(block.ends + array.count)
                array.append(block.tokens)
                for key, value in block.counts.items():
                    count[key] += value
                licences.update(block.licences)
                done += block.counts["documents"]
                progress(done, sum(rows.values()), "documents")
        np.save(out / f"{side}.documents.npy", np.concatenate(starts))
        facts.counts |= {f"{side}_{key}": value for key, value in count.items()}
    facts.licences = sorted(licences)
    return facts


@dataclass(frozen=True)
class _Block:
    """One row group, encoded. ends (documents,) int64: where each document ends in `tokens`."""

    tokens: NDArray[np.unsignedinteger]
    ends: NDArray[np.int64]
    counts: dict[str, int]
    licences: list[str]


def _encode(encoder: BulkEncoder, tokenizer: Tokenizer, batch: pa.RecordBatch) -> _Block:
    texts = batch["text"]
    ids, offsets = encoder.encode(texts)
    if len(ids) and int(ids.max()) >= tokenizer.eot_id:
        raise TokenizerError(
            f"A text was encoded with id {ids.max()}, but the tokenizer's ordinary ids are 0 to "
            f"{tokenizer.eot_id - 1}: its files do not belong together. Delete its artifact and run again."
        )
    counts = {
        "tokens": len(ids) + batch.num_rows,
        "documents": batch.num_rows,
        "bytes": int(text_sizes(batch).sum()),
        "characters": pc.sum(pc.utf8_length(texts)).as_py() or 0,
    }
    tokens = begin_documents(ids, offsets, tokenizer.eot_id, token_dtype(tokenizer.vocab_size))
    ends = offsets[1:] + np.arange(1, batch.num_rows + 1)
    return _Block(tokens, ends, counts, pc.unique(batch["licence"]).to_pylist())


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    """What holds every id: uint16 up to 65,536 ids, uint32 above."""
    return np.uint16 if vocab_size <= 2**16 else np.uint32


def begin_documents(
    ids: NDArray[np.integer],
    offsets: NDArray[np.int64],
    eot_id: int,
    dtype: type[np.uint16] | type[np.uint32],
) -> NDArray[np.unsignedinteger]:
    """Put `eot_id` before each document.

    ids      (n,), the documents one after the other
    offsets  (documents + 1,) int64, where each begins in `ids`
    returns  (n + documents,) of `dtype`
    """
    documents = len(offsets) - 1
    tokens = np.empty(len(ids) + documents, dtype)
    heads = offsets[:-1] + np.arange(documents)
    ordinary = np.ones(len(tokens), np.bool_)
    ordinary[heads] = False
    tokens[heads] = eot_id
    tokens[ordinary] = ids
    return tokens


def _in_order(
    work: Callable[[pa.RecordBatch], _Block], batches: Iterable[pa.RecordBatch], threads: int
) -> Iterator[_Block]:
    """`work` of each batch, in their order, `threads` at a time; as many more are read ahead or wait for their turn."""
    if threads == 1:
        yield from map(work, batches)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Block]] = deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(work, batch))
                if len(waiting) == 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class ArrayFile:
    """A one-dimensional `.npy` file written piece by piece. It gets its header when the block ends without an error:
    until then numpy refuses it."""

    def __init__(self, path: Path, dtype: type[np.generic]) -> None:
        self.count = 0
        self._dtype = np.dtype(dtype)
        self._file = path.open("wb")
        self._header_bytes = len(self._header())
        self._file.write(bytes(self._header_bytes))

    def append(self, values: NDArray[np.generic]) -> None:
        """Append values of the file's dtype."""
        if values.dtype != self._dtype:
            raise ValueError(f"The file holds {self._dtype}, not {values.dtype}.")
        self._file.write(np.ascontiguousarray(values).data)
        self.count += len(values)

    def _header(self) -> bytes:
        """What comes before `count` values; numpy pads it, so that its length is the same for any count."""
        file = BytesIO()
        description = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": description, "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(file, header)
        return file.getvalue()

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                header = self._header()
                if len(header) != self._header_bytes:
                    raise ValueError(f"The header of {self._file.name} does not fit before its data.")
                self._file.seek(0)
                self._file.write(header)
