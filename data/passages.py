"""Passages: where a long document is cut, and which passages are held out for validation.

Both are settled so that a decision once taken stays: a cut depends on the text before it and a little after
it, and a side depends on the document's id, the passage's number and what came before in slot order. Knows
bytes, hashes and numbers; nothing of files.
"""

import re

import numpy as np
import xxhash
from numpy.typing import NDArray

# Best first. A cut comes after the match, so that the passages, joined, are the document.
_ENDS = (
    re.compile(rb"\n\n+"),  # paragraph
    re.compile(rb"\n"),  # line
    re.compile(rb"[.!?](?:[\"')\]]|\xe2\x80[\x99\x9d])*[ \t]|\xe3\x80\x82|\xef\xbc[\x81\x9f]"),  # sentence, also CJK
    re.compile(rb"[ \t]"),  # word
)


def cut(text: bytes, whole_bytes: int, passage_bytes: int) -> list[int]:
    """Say where the passages of `text` (UTF-8) end, in bytes, ascending; the last one is len(text).

    A text of at most `whole_bytes` is one passage. Of a longer one, every passage but the last holds between
    half and one and a half times `passage_bytes` (at least 16) and ends at the last paragraph end up to
    `passage_bytes`, or else at the first one after it; where there is none, at a line end, a sentence end or a
    word end found likewise, and at last between two characters. Appending to a text of several passages moves
    no end but the last.
    """
    least, most = passage_bytes // 2, passage_bytes + passage_bytes // 2
    ends = []
    start = 0
    if len(text) > whole_bytes:
        while len(text) - start > most:
            start = _next_end(text, start + least, start + passage_bytes, start + most)
            ends.append(start)
    return [*ends, len(text)]


def _next_end(text: bytes, least: int, wanted: int, most: int) -> int:
    for pattern in _ENDS:
        ends = [match.end() for match in pattern.finditer(text, least, most)]
        if ends:
            return max((end for end in ends if end <= wanted), default=ends[0])
    while text[wanted] & 0xC0 == 0x80:  # inside a character
        wanted -= 1
    return wanted


def side_hash(native_id: str, passage: int) -> int:
    """The number in [0, 2**64) that decides a passage's side: the same for ever, and on every machine."""
    return xxhash.xxh3_64_intdigest(f"{native_id}\0{passage}".encode())


def hold_out(
    looks: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    sizes: NDArray[np.int64],
    share: float,
    need: int,
    room: int,
) -> NDArray[np.bool_]:
    """Choose the validation passages of one slot; returns a mask (n,) bool, True for validation.

    looks   (n,) int64, the look of the source in which the passage's item was first seen
    hashes  (n,) uint64 from `side_hash`
    sizes   (n,) int64, UTF-8 bytes
    share   of all passages, in [0, 1); a passage is held out when its hash lies in that share of all hashes
    need    passages that the split still lacks
    room    bytes that the split may still take

    Passages are taken batch by batch: a batch is one look, in ascending order, its passages in row order. While
    the count falls short of `need`, a batch gives its lowest-hash passages besides, up to half of the batch in
    all. The first passage that would exceed `room` closes the split. So nothing that comes later (a higher look,
    or a later slot with what `need` and `room` are left) changes a decision.
    """
    held = np.zeros(len(looks), np.bool_)
    threshold = np.uint64(min(int(share * 2.0**64), 2**64 - 1))
    by_look = np.argsort(looks, kind="stable")
    for batch in np.split(by_look, np.flatnonzero(np.diff(looks[by_look])) + 1):
        chosen = batch[hashes[batch] < threshold]
        extra = min(need, len(batch) // 2) - len(chosen)
        if extra > 0:
            rest = batch[hashes[batch] >= threshold]
            lowest = rest[np.argsort(hashes[rest], kind="stable")[:extra]]
            chosen = np.concatenate([chosen, lowest])
        fitting = int(np.searchsorted(np.cumsum(sizes[chosen]), room, side="right"))
        held[chosen[:fitting]] = True
        if fitting < len(chosen):
            break
        need -= len(chosen)
        room -= int(sizes[chosen].sum())
    return held
