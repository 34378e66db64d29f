"""Texts of consecutive rows joined run by run, in Arrow where they come from Parquet: a row by itself costs too much.

Rows that are null, blank or no text are left out. Knows nothing of documents.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from data.sources.hub.rows import Rows, Unreadable

_GATHERED_BYTES = 1_000_000


@dataclass(frozen=True)
class Joined:
    """What became of the rows of a batch.

    texts    one of each run
    rows     how many rows are in each of them; 0: the text is empty
    no_text  rows that are null or no text: their number in the batch, from 0, and what they are instead
    """

    texts: list[str]
    rows: list[int]
    no_text: list[tuple[int, Any]]


def gathered(found: Iterable[Rows | Unreadable]) -> Iterator[Rows | Unreadable]:
    """The same rows in larger batches, where they come from Parquet: each batch costs as much as some hundred rows."""
    held: list[Rows] = []
    size = 0
    for one in found:
        columns = [] if isinstance(one, Unreadable) else list(one.columns.values())
        is_parquet = not any(isinstance(column, list) for column in columns)
        more = sum(column.nbytes for column in columns) if is_parquet else 0
        if held and (not more or size + more > _GATHERED_BYTES):
            yield _together(held)
            held, size = [], 0
        if isinstance(one, Rows) and more:
            held.append(one)
            size += more
        else:
            yield one
    if held:
        yield _together(held)


def _together(held: Sequence[Rows]) -> Rows:
    import pyarrow as pa

    if len(held) == 1:
        return held[0]
    columns = {name: pa.concat_arrays([rows.columns[name] for rows in held]) for name in held[0].columns}
    return Rows(held[0].first, columns)


def join(rows: Rows, name: str, starts: Sequence[int], separator: str) -> Joined:
    """Join the texts of column `name`. Runs begin at the rows of these numbers, the first of which is 0."""
    column = rows.columns[name]
    joined = None if isinstance(column, list) else _join_array(column, starts, separator)
    return joined or _join_list(rows.values(name), starts, separator)


def _join_list(values: list[Any], starts: Sequence[int], separator: str) -> Joined:
    runs = [
        [value for value in values[start:end] if type(value) is str and value and not value.isspace()]
        for start, end in pairwise([*starts, len(values)])
    ]
    no_text = [(number, value) for number, value in enumerate(values) if type(value) is not str]
    return Joined([separator.join(run) for run in runs], [len(run) for run in runs], no_text)


def _join_array(column: Any, starts: Sequence[int], separator: str) -> Joined | None:
    """As `_join_list`; None when some row is no UTF-8, which it takes a look at each to tell.

    Nothing is handed to pyarrow as a Python value: that makes it import pandas, which takes a third of a second.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as types

    try:
        if types.is_string(column.type) or types.is_large_string(column.type):
            column.validate(full=True)
        else:
            column = column.cast(pa.string())
    except pa.ArrowInvalid:
        return None
    ends = np.array([*starts, len(column)], np.int32)
    nulls = pc.indices_nonzero(column.is_null()).to_pylist() if column.null_count else []
    is_filled = pc.binary_length(column).cast(pa.bool_())
    is_word = pc.and_kleene(pc.and_not(is_filled, pc.utf8_is_space(column)), column.is_valid())
    if is_word.true_count < len(column):
        before = np.zeros(len(column) + 1, np.int32)  # words before each row
        before[1:] = np.frombuffer(pc.cumulative_sum(is_word.cast(pa.int32())).buffers()[1], np.int32)[: len(column)]
        column, ends = column.filter(is_word), before[ends]
    lists = pa.ListArray.from_arrays(_int32(ends), column)
    texts = pc.binary_join(lists, _scalar(separator).cast(column.type))
    return Joined(texts.to_pylist(), np.diff(ends).tolist(), [(number, None) for number in nulls])


def _int32(numbers: Any) -> Any:
    """A pyarrow Array of a numpy array."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int32(), len(numbers), [None, pa.py_buffer(numbers)])


def _scalar(text: str) -> Any:
    """A pyarrow scalar of a text."""
    import numpy as np
    import pyarrow as pa

    data = text.encode()
    offsets = np.array([0, len(data)], np.int32)
    return pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])[0]
