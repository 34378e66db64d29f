"""Encoding many rows at once: ids as one array. Knows Arrow columns and tokenizers; knows no files.

The reference is tiktoken, or our own table for characters. The fast way is data/tokenizers/gigatoken_encoder.py.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.shards import text_buffer
from data.tokenizers.characters import CharacterTable
from data.tokenizers.load import Tokenizer


class Encoded(NamedTuple):
    """ids      (n,) unsigned or int32, the rows one after the other, no special id among them
    offsets  (rows + 1,) int64, row i is ids[offsets[i]:offsets[i + 1]]
    """

    ids: NDArray[np.integer]
    offsets: NDArray[np.int64]


class BulkEncoder(Protocol):
    """Gives the ids of a column of texts. Safe to share between threads."""

    def encode(self, texts: pa.StringArray) -> Encoded: ...


class ReferenceEncoder:
    """Row by row through tiktoken; characters all at once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._table = CharacterTable(tokenizer.vocabulary) if tokenizer.vocabulary.kind == "characters" else None

    def encode(self, texts: pa.StringArray) -> Encoded:
        if self._table is not None:
            return Encoded(*self._table.encode(*utf8_of(texts)))
        rows = [np.array(self._tokenizer.encode_ordinary(text), np.uint32) for text in texts.to_pylist()]
        return joined(rows)


def utf8_of(texts: pa.StringArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The texts' bytes, (bytes,) uint8, and their bounds in them, (rows + 1,) int64 from 0; no copy of the text."""
    offsets, buffer = text_buffer(texts)
    return np.frombuffer(buffer, np.uint8)[offsets[0] : offsets[-1]], offsets - offsets[0]


def joined(rows: Sequence[NDArray[np.integer]]) -> Encoded:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    return Encoded(np.concatenate([np.empty(0, np.uint32), *rows]), np.append(0, np.cumsum(lengths)))
