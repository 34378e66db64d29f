"""Arrays of other artifacts, mapped into memory; and hashes in ranges, so that tables of them are joined bit by bit."""

import mmap
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from data.errors import TextmillError

_LAST = (1 << 64) - 1

Kind = TypeVar("Kind", bound=np.generic)
Range = tuple[int, int]  # of hashes, from the first to the last


class UnusableArrayError(TextmillError):
    """A file that holds no such array as belongs there."""


def open_array(path: Path, kind: type[Kind], width: int | None = None) -> NDArray[Kind]:
    """Map an array of `kind`, (n,) or (n, width); an empty one is read, since nothing can be mapped.

    Raises UnusableArrayError where the file holds something else.
    """
    try:
        array: NDArray[Kind] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UnusableArrayError(
            f"{path} is no array: {error}. Delete its artifact and run again: it will be rebuilt."
        ) from error
    if array.dtype != kind or array.shape[1:] != (() if width is None else (width,)):
        raise UnusableArrayError(
            f"{path} holds {array.dtype} of shape {array.shape}, but {np.dtype(kind)} of shape "
            f"(n{'' if width is None else f', {width}'}) belongs there. "
            "Delete its artifact and run again: it will be rebuilt."
        )
    return array


def let_go(arrays: Iterable[NDArray[np.generic]]) -> None:
    """Give the pages of mapped arrays back, so that a process that has read much does not look as if it held it all.

    They stay in the system's cache as long as there is room, and are mapped again when they are read again.
    """
    for array in arrays:
        if isinstance(array.base, mmap.mmap):
            array.base.madvise(mmap.MADV_DONTNEED)


def hash_ranges(number: int) -> Iterator[Range]:
    """All hashes of 64 bits, in so many ranges of equal size."""
    borders = [(_LAST + 1) * at // number for at in range(number + 1)]
    return ((begin, end - 1) for begin, end in pairwise(borders))


def places_of(range_: Range, hashes: NDArray[np.uint64]) -> slice:
    """Where the hashes of a range stand among ascending ones."""
    begin, end = range_
    return slice(
        int(np.searchsorted(hashes, np.uint64(begin))), int(np.searchsorted(hashes, np.uint64(end), side="right"))
    )


def entries_with(
    wanted: NDArray[np.uint64], hashes: NDArray[np.uint64], beside: NDArray[Kind]
) -> tuple[NDArray[np.uint64], NDArray[Kind]]:
    """The hashes that are among the wanted ones, which are ascending, and what stands beside them."""
    if not len(wanted):
        return hashes[:0], beside[:0]
    among = wanted.take(np.searchsorted(wanted, hashes), mode="clip") == hashes
    return hashes[among], beside[among]
