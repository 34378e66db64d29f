"""Runs of n words that come back within a document: how much of it the commonest takes up, how much all of them do.

Both measures are those of Rae et al. 2021 (Gopher, appendix A) as datatrove computes them. Runs are compared by 64-bit
hashes, found by sorting; only where some run comes back at all is a document walked through.
"""

import numpy as np

from data.quality.columns import Bools, Ints
from data.quality.repeats import repeats
from data.quality.words import Words

_MIX = np.uint64(0xA076_1D64_78BD_642F)
_PROBE = 16  # characters; runs at least that long can only be equal where their first ones are


def top_grams(words: Words, sizes: range) -> dict[int, Ints]:
    """For each n of `sizes` (ascending from 2), characters that the commonest run of n words takes up per document.

    They are the run's length, with a space between words, times how often it occurs; of equally common runs the first
    counts. A document of fewer than n words has 0.
    """
    first, counts = words.spans.first[:-1], words.spans.counts
    left, documents = words.left, words.spans.documents
    keys = words.keys
    chained = keys + words.document_keys
    likely = np.ones(len(keys), np.bool_)  # where a run of n - 1 words begins that comes back
    found: dict[int, Ints] = {}
    for n in sizes:
        likely[:-1] &= likely[1:]  # a run comes back only where both runs in it do
        at = np.flatnonzero(likely & (left >= n))
        chained = chained * _MIX
        chained[: 1 - n] += keys[n - 1 :]
        order, starts = repeats(chained[at])
        order = at[order]
        heads = order[starts]
        best = np.where(counts >= n, _score(np.ones_like(first), first), 0)
        np.maximum.at(best, documents[heads], _score(np.diff(np.append(starts, len(order))), heads))
        head = np.minimum(_HEAD - (best & _HEAD), max(0, len(keys) - n))
        lengths = words.offsets[np.minimum(head + n, len(keys))] - words.offsets[head] + n - 1
        found[n] = np.where(best > 0, lengths * (best >> 32), 0)
        likely[:] = False
        likely[order] = True
    return found


_HEAD = (1 << 32) - 1


def _score(occurrences: Ints, head: Ints) -> Ints:
    """A number that is greatest for the commonest run, and for the earliest of equally common ones."""
    return (occurrences << 32) | (_HEAD - head)


class DuplicateGrams:
    """Characters in runs of words that came before in their document."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._left = words.left
        self._documents = words.spans.documents
        self._document_keys = words.document_keys
        ends = words.offsets[words.spans.first[1:]][self._documents]
        begin = words.offsets[:-1]
        at = np.flatnonzero(begin + _PROBE <= ends)
        order, _ = repeats(words.hashes(begin[at], begin[at] + _PROBE) + self._document_keys[at])
        self._likely = np.zeros(len(begin), np.bool_)
        self._likely[at[order]] = True

    def measure(self, n: int, needed: Ints, wanted: Bools) -> Ints:
        """Characters in runs of n words that came before, walking each document from its first word: a run that came
        before counts, and the walk goes on behind it; another is remembered, and the walk goes on at the next word.

        Runs are equal when they are spelt alike without spaces, wherever words end in them.

        needed   (documents,) the walk is spared where it cannot find more characters than that; 0 is returned there
        wanted   (documents,) where the answer matters
        """
        words, left = self._words, self._left
        counts = np.zeros(len(words.spans.first) - 1, np.int64)
        if len(left) < n:
            return counts
        begin = words.offsets[:-n]
        lengths = words.offsets[n:] - begin
        whole = left[: len(begin)] >= n
        at = np.flatnonzero(whole & (self._likely[: len(begin)] | (lengths < _PROBE)))
        order, starts = repeats(words.runs(at, n) + self._document_keys[at])
        if not len(order):
            return counts
        heads = at[order]
        groups = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
        again = np.ones(len(order), np.bool_)
        again[starts] = False
        at_most = np.zeros(len(counts), np.int64)
        np.add.at(at_most, self._documents[heads[again]], lengths[heads[again]])
        walked = (wanted & (at_most > needed))[self._documents[heads]]
        heads, groups = heads[walked], groups[walked]
        in_order = np.argsort(heads)
        heads, groups = heads[in_order], groups[in_order]
        documents = self._documents[heads]
        seen: set[int] = set()
        free = 0
        for head, group, document in zip(heads.tolist(), groups.tolist(), documents.tolist(), strict=True):
            if head < free:
                continue
            if group in seen:
                counts[document] += lengths[head]
                free = head + n
            else:
                seen.add(group)
        return counts
