"""Signatures that tell how similar two sets of runs are: the share of equal values estimates their Jaccard similarity.

Not one permutation per value, which costs as many steps per run as there are values, but the scheme of Dahlgaard,
Knudsen and Thorup, "Fast similarity sketching" (FOCS 2017): every round throws each run into one of the places, where
the least one stays, and the earliest round that reached a place counts. What no round has reached is filled place by
place. Each value is equal in two signatures with the probability of their Jaccard similarity, as with MinHash, and the
estimate spreads no further.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.near.config import NearConfig
from data.near.shingles import Hashes, Ints, mixed, shingles_of

Signatures = NDArray[np.uint32]

NOTHING = np.uint32(0xFFFF_FFFF)  # every value of a text without words; no other signature holds it
_ROUNDS = 12
_BITS = 28  # of a value; the round stands above them
_RUNS_AT_ONCE = 1 << 17
_TEXTS_IN_FILLING = 128  # all their values together fit a cache
_FACTORS = mixed(np.arange(1, _ROUNDS + 4097, dtype=np.uint64)) | np.uint64(1)


def near_signatures(texts: Sequence[str], config: NearConfig) -> Signatures:
    """The signatures of texts, (texts, values) uint32; the same for ever for one text, whatever comes with it."""
    signatures = np.full((len(texts), config.values), NOTHING, np.uint32)
    shingles = shingles_of(texts, config.shingle_words)
    start = 0
    while start < len(texts):
        stop = int(np.searchsorted(shingles.bounds, shingles.bounds[start] + _RUNS_AT_ONCE, side="right")) - 1
        stop = max(stop, start + 1)
        begin, end = shingles.bounds[start], shingles.bounds[stop]
        _sketch(shingles.hashes[begin:end], np.diff(shingles.bounds[start : stop + 1]), signatures[start:stop])
        start = stop
    return signatures


def _sketch(hashes: Hashes, counts: Ints, signatures: Signatures) -> None:
    """Fill the signatures of texts, of which text t has `counts[t]` of the hashes."""
    values = signatures.shape[1]
    flat = signatures.reshape(-1)
    open_texts = np.flatnonzero(counts)
    for number in range(_ROUNDS):
        at = np.repeat(open_texts * values, counts[open_texts])
        for begin in range(0, len(at), _RUNS_AT_ONCE):
            thrown = hashes[begin : begin + _RUNS_AT_ONCE] * _FACTORS[number]
            value = (thrown.astype(np.uint32) >> np.uint32(32 - _BITS)) | np.uint32(number << _BITS)
            thrown >>= np.uint64(32)
            thrown *= np.uint64(values)
            thrown >>= np.uint64(32)
            np.minimum.at(flat, at[begin : begin + _RUNS_AT_ONCE] + thrown.astype(np.int64), value)
        still = (signatures[open_texts] == NOTHING).any(axis=1)
        if not still.all():
            hashes = hashes[np.repeat(still, counts[open_texts])]
            open_texts = open_texts[still]
        if not len(open_texts):
            return
    filled = signatures[open_texts]
    _fill(hashes, counts[open_texts], filled)
    signatures[open_texts] = filled


def _fill(hashes: Hashes, counts: Ints, signatures: Signatures) -> None:
    """Give each place that is still empty the least of all its text's hashes, under a factor of the place's own."""
    factors = _FACTORS[_ROUNDS : _ROUNDS + signatures.shape[1]].astype(np.uint32)
    low = hashes.astype(np.uint32)
    first = np.cumsum(counts) - counts
    by_count = np.argsort(-counts)
    for start in range(0, len(counts), _TEXTS_IN_FILLING):
        texts = by_count[start : start + _TEXTS_IN_FILLING]
        least = np.full((len(texts), signatures.shape[1]), NOTHING, np.uint32)
        thrown = np.empty_like(least)
        long = len(texts)
        for step in range(counts[texts[0]]):
            while counts[texts[long - 1]] <= step:
                long -= 1
            np.multiply.outer(low[first[texts[:long]] + step], factors, out=thrown[:long])
            np.minimum(least[:long], thrown[:long], out=least[:long])
        least = (least >> np.uint32(32 - _BITS)) | np.uint32(_ROUNDS << _BITS)
        signatures[texts] = np.where(signatures[texts] == NOTHING, least, signatures[texts])
