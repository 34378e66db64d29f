"""Seeded permutations of any length that need no memory: position i of the shuffled order is computed, not stored."""

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

ROUNDS = 4
WORD = 2**64 - 1
MULTIPLIERS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(words: Words) -> Words:
    """Scramble 64-bit words (the finaliser of splitmix64); equal in, equal out; overflow wraps on purpose."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(MULTIPLIERS[0])
    words = (words ^ (words >> np.uint64(27))) * np.uint64(MULTIPLIERS[1])
    return words ^ (words >> np.uint64(31))


def derive(*parts: int) -> int:
    """One 63-bit seed out of several whole numbers in [0, 2^64); the order matters."""
    state = 0
    for part in parts:  # the same as `mix`, in whole numbers: numpy is slow on single ones
        state = (state + part + 0x9E3779B97F4A7C15) & WORD
        state = ((state ^ (state >> 30)) * MULTIPLIERS[0]) & WORD
        state = ((state ^ (state >> 27)) * MULTIPLIERS[1]) & WORD
        state ^= state >> 31
    return state >> 1


def shuffled(positions: npt.NDArray[np.int64], length: int, seed: int) -> npt.NDArray[np.int64]:
    """Where the given positions of a shuffled range(length) point to.

    positions  int64, each in [0, length), length at most 2^62
    returns    int64 of the same shape; over all positions every value of range(length) comes exactly once

    A Feistel network over the next even power of two; results outside of the range walk on until they are inside.
    """
    half = np.uint64(max(1, (max(length - 1, 1).bit_length() + 1) // 2))
    low = (np.uint64(1) << half) - np.uint64(1)
    keys = [np.uint64(derive(seed, round_number)) for round_number in range(ROUNDS)]
    result = positions.astype(np.uint64)
    outside = np.ones(result.shape, bool)
    while outside.any():
        left, right = result[outside] >> half, result[outside] & low
        for key in keys:
            left, right = right, left ^ (mix(right ^ key) & low)
        result[outside] = (left << half) | right
        outside = result >= np.uint64(length)
    return result.astype(np.int64)
