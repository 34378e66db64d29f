"""Which of many 64-bit keys occur more than once: the ground of all rules on what comes back."""

import numpy as np
from numpy.typing import NDArray


def repeats(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Group equal keys, leaving out those that occur once.

    returns  indices of keys, group by group and ascending in each, and where each group begins in them

    Now and then (keys equal in their upper bits only) a group has one member.
    """
    bits = max(1, len(keys).bit_length())
    low = np.uint64((1 << bits) - 1)
    packed = np.sort((keys & ~low) | np.arange(len(keys), dtype=np.uint64))  # index below, upper bits of the key above
    alike = (packed[1:] ^ packed[:-1]) <= low
    member = np.zeros(len(keys), np.bool_)
    member[1:] = alike
    member[:-1] |= alike
    order = (packed[member] & low).astype(np.int64)
    found = keys[order]
    other = found[1:] != found[:-1]
    if bool((other & ((found[1:] ^ found[:-1]) <= low)).any()):
        order = order[np.argsort(found, kind="stable")]
        found = keys[order]
        other = found[1:] != found[:-1]
    opens = np.ones(len(order), np.bool_)
    opens[1:] = other
    return order, np.flatnonzero(opens)
