"""Taking characters out of many texts at once: marks inside of lines, whole lines, white space at both ends."""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data.quality.columns import SPACE, Bools, Ints, Spans, Texts, character_flags

_FEED = ord("\n")


def string_of(texts: Texts) -> str:
    """All texts as one str, character i of it `texts.codes[i]`."""
    return texts.codes.tobytes().decode("utf-32-le", "surrogatepass")


def strings_of(texts: Texts) -> list[str]:
    """The texts one by one."""
    joined = string_of(texts)
    return [joined[start:end] for start, end in zip(texts.starts.tolist(), texts.ends.tolist(), strict=True)]


def find_all(pattern: re.Pattern[str], texts: Texts) -> Spans:
    """Where the pattern is found, which matches no line feed; no two places overlap."""
    found = np.array([match.span() for match in pattern.finditer(string_of(texts))], np.int64).reshape(-1, 2)
    return texts.spans(found[:, 0], found[:, 1])


def without(texts: Texts, parts: Spans) -> tuple[Texts, Callable[[Ints], Ints]]:
    """The texts without these parts, and where a position that lay inside of none of them now is."""
    gone = np.insert(np.cumsum(parts.lengths), 0, 0)

    def moved(at: Ints) -> Ints:
        found: Ints = at - gone[np.searchsorted(parts.starts, at)]
        return found

    return _chosen(texts, texts.codes, ~_inside(texts, parts.starts, parts.ends), moved(texts.ends)), moved


def only_lines(texts: Texts, lines: Spans, ends: Ints) -> Texts:
    """The texts made of these lines, a line feed between each two, whatever stood there before.

    lines  what shall stay of them
    ends   for each line, where it ended before white space was taken off it
    """
    kept = _inside(texts, lines.starts, lines.ends)
    kept[ends] = True
    kept[texts.ends[lines.counts == 0]] = True
    codes = texts.codes
    if bool((codes[ends] != _FEED).any()):
        codes = codes.copy()
        codes[ends] = _FEED
    return _chosen(texts, codes, kept, np.cumsum(np.maximum(lines.total(lines.lengths + 1), 1)) - 1)


def stripped(texts: Texts) -> Texts:
    """The texts without white space at both ends; the same object where there is none."""
    some = texts.lengths > 0
    outer = np.concatenate([texts.starts[some], texts.ends[some] - 1])
    if not bool(((texts.flags[outer] & SPACE) != 0).any()):
        return texts
    whole = texts.spans(texts.starts, texts.ends)
    begin = texts.first_visible(whole)
    stop = np.maximum(texts.last_visible(whole) + 1, begin)
    kept = _inside(texts, begin, stop)
    kept[texts.ends] = True
    return _chosen(texts, texts.codes, kept, np.cumsum(stop - begin + 1) - 1)


def _inside(texts: Texts, starts: Ints, ends: Ints) -> Bools:
    """Which characters lie in parts that do not overlap; no two begin, and no two end, at the same place."""
    borders = np.zeros(len(texts.codes) + 1, np.int8)
    borders[starts] += 1
    borders[ends] -= 1
    inside: Bools = np.cumsum(borders[:-1], dtype=np.int8).view(np.bool_)
    return inside


def _chosen(texts: Texts, codes: NDArray[np.uint32], kept: Bools, ends: Ints) -> Texts:
    """Texts of the kept characters; their line feeds will lie at `ends`."""
    at = np.flatnonzero(kept)  # sooner done than choosing by truth twice
    codes_left = codes.take(at)
    flags = texts.flags.take(at) if codes is texts.codes else character_flags().take(codes_left)
    starts = np.zeros(len(ends), np.int64)
    starts[1:] = ends[:-1] + 1
    return Texts(codes_left, flags, starts, ends)
