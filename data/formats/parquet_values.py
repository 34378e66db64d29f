"""Values of Arrow arrays as Python has them, and how many bytes they have once their dictionaries are resolved."""

from collections.abc import Iterator
from typing import Any


def python_values(column: Any) -> list[Any]:
    """A column as Python values, each by itself, so that one costs no other.

    Text that is no UTF-8 stays bytes, so that its row can be named. What Python cannot hold, a time after the year 9999
    or in a time zone that it does not know, is None.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)  # what Python's datetime can hold
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, ArithmeticError, LookupError):
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            column = column.cast(pa.large_binary())
        values = [_held(value) for value in column]
    return [_decoded(value) for value in values] if any(type(value) is bytes for value in values) else values


def _held(value: Any) -> Any:
    try:
        return value.as_py()
    except (ValueError, ArithmeticError, LookupError):
        return None


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def dictionaries(array: Any) -> Iterator[Any]:
    """The dictionary arrays in an array: itself, or those in what its lists and structures hold."""
    for values, _ in _leaves(array, None):
        yield values


def dictionary_bytes(dictionary: Any) -> tuple[int, int]:
    """Bytes of all values of a dictionary of texts, and of the longest."""
    import pyarrow.compute as pc

    lengths = pc.binary_length(dictionary)
    return int(pc.sum(lengths).as_py() or 0), int(pc.max(lengths).as_py() or 0)


def largest_row(array: Any, each: int) -> int:
    """Bytes of the row that has most; `each` is what a value takes besides its own bytes."""
    import numpy as np
    import pyarrow.compute as pc

    rows = np.zeros(len(array), np.int64)
    for values, ends in _leaves(array, np.arange(len(array) + 1)):
        lengths = pc.binary_length(values.dictionary).take(values.indices).fill_null(0)
        before = np.zeros(len(values) + 1, np.int64)  # bytes before each value
        np.cumsum(lengths.to_numpy(zero_copy_only=False).astype(np.int64) + each, out=before[1:])
        rows += np.diff(before[ends])
    return int(rows.max(initial=0))


def _leaves(array: Any, ends: Any) -> Iterator[tuple[Any, Any]]:
    """The dictionary arrays, and where in them each row of the outermost array begins and the last ends."""
    import pyarrow.types as types

    kind = array.type
    if types.is_dictionary(kind):
        yield array, ends
    elif types.is_struct(kind):
        for number in range(kind.num_fields):
            yield from _leaves(array.field(number), ends)
    elif types.is_fixed_size_list(kind):
        inner = None if ends is None else (ends + array.offset) * kind.list_size
        yield from _leaves(array.values, inner)
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_map(kind):
        inner = None if ends is None else array.offsets.to_numpy(zero_copy_only=False)[ends]
        yield from _leaves(array.values, inner)
