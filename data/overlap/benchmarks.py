"""Benchmarks as a set of hashes: which runs of words stand in which items.

An item's text is what its fields say, in their order; where a field is a list, once with each member. A text shorter
than a run is looked for as a whole if it has enough words, and otherwise not at all: an item of which no text is left
is not comparable. What is commonplace within a benchmark is not looked for either. Nothing here knows documents.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.near.shingles import Hashes, Ints
from data.overlap.config import BenchmarkConfig, DecontaminationConfig
from data.overlap.fields import UnusableBenchmarkError, parse_item, texts_at
from data.overlap.runs import KnownHashes, runs_in, words_in

_TEXTS_AT_ONCE = 10_000


class Item(NamedTuple):
    """An item of a benchmark; lines count from 1."""

    benchmark: str
    line: int


@dataclass(frozen=True)
class About:
    """A benchmark in numbers: its items, those that are long enough to be compared, and runs that are too common."""

    name: str
    items: int
    comparable: int
    commonplace_runs: int


@dataclass(frozen=True)
class Benchmarks:
    """The runs of all benchmarks.

    abouts        one for each, by name
    sizes         ascending: the size of runs, and those of texts that are shorter
    known         the hashes of all runs
    first, items  known hash h stands in items[first[h]] to items[first[h + 1]] of `item`, by benchmark and line
    owners        (all items, 2) int64: number of the benchmark, line
    """

    abouts: tuple[About, ...]
    sizes: tuple[int, ...]
    known: KnownHashes
    first: Ints
    items: Ints
    owners: Ints

    def item(self, number: int) -> Item:
        """An item by its number."""
        benchmark, line = self.owners[number].tolist()
        return Item(self.abouts[benchmark].name, line)

    def digest(self) -> str:
        """Tells sets of runs apart that could lead to different documents or reports; paths do not enter."""
        digest = hashlib.sha256(repr((self.abouts, self.sizes)).encode())
        for column in (self.known.hashes, self.first, self.items, self.owners):
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()


def read_benchmarks(
    config: DecontaminationConfig, root: Path, normalised: Callable[[str], str] = lambda text: text
) -> Benchmarks:
    """Read the files of all benchmarks; relative paths start at `root`.

    normalised  brings an item's text into the form that documents have

    Raises UnusableBenchmarkError when a file is missing, is not what it should be, or has no comparable item.
    Memory: some 30 bytes per run.
    """
    abouts, owners = [], [np.empty((0, 2), np.int64)]
    hashes, items = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    sizes: set[int] = set()
    before = 0
    for number, (name, one) in enumerate(sorted(config.benchmarks.items())):
        texts = _read(root / Path(one.path).expanduser(), name, one, normalised)
        found = _runs_of(texts, config)
        comparable = np.unique(found.items)
        if not len(comparable):
            raise UnusableBenchmarkError(
                f"The benchmark {name!r} ({one.path}) has no item with {config.min_words} words to look for in the "
                f"fields {', '.join(one.fields)}. Name fields with more text, or lower decontamination.min_words."
            )
        abouts.append(About(name, len(texts.lines), len(comparable), found.commonplace))
        sizes |= found.sizes
        hashes.append(found.hashes)
        items.append(found.items + before)
        owners.append(np.stack([np.full(len(texts.lines), number), np.array(texts.lines)], 1))
        before += len(texts.lines)
    pairs = np.unique(np.stack([np.concatenate(hashes), np.concatenate(items).astype(np.uint64)], 1), axis=0)
    known, first = np.unique(pairs[:, 0], return_index=True)
    return Benchmarks(
        tuple(abouts),
        tuple(sorted(sizes)),
        KnownHashes(known),
        np.append(first, len(pairs)),
        pairs[:, 1].astype(np.int64),
        np.concatenate(owners),
    )


class _Texts(NamedTuple):
    """The texts of one benchmark: {text: items that have it}, what single fields say, and the line of every item."""

    whole: dict[str, list[int]]
    parts: set[str]
    lines: list[int]


def _read(path: Path, name: str, config: BenchmarkConfig, normalised: Callable[[str], str]) -> _Texts:
    texts = _Texts({}, set(), [])
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line, content in enumerate(file, 1):
                if not content.strip():
                    continue
                where = f"the benchmark {name!r}, line {line:,} of {path}"
                fields = [texts_at(parse_item(content, where), field, where) for field in config.fields]
                texts.parts.update(normalised(part) for parts in fields for part in parts)
                for member in range(max(map(len, fields))):  # a shorter list says its last
                    joined = " ".join(parts[min(member, len(parts) - 1)] for parts in fields if parts)
                    items = texts.whole.setdefault(normalised(joined), [])
                    if items[-1:] != [len(texts.lines)]:
                        items.append(len(texts.lines))
                texts.lines.append(line)
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableBenchmarkError(
            f"The benchmark {name!r} cannot be read from {path}: {error}. "
            f"Correct decontamination.benchmarks.{name}.path."
        ) from error
    return texts


class _Found(NamedTuple):
    """Runs of one benchmark with an item of each, and how many were left out for being commonplace."""

    hashes: Hashes
    items: Ints
    sizes: set[int]
    commonplace: int


def _runs_of(texts: _Texts, config: DecontaminationConfig) -> _Found:
    commonplace = _commonplace(texts.parts, config)
    hashes, items = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    sizes: set[int] = set()
    left_out = [commonplace[:0]]
    whole = list(texts.whole)
    for start in range(0, len(whole), _TEXTS_AT_ONCE):
        some = whole[start : start + _TEXTS_AT_ONCE]
        owners = [texts.whole[text] for text in some]
        number, bounds = np.fromiter((one for its in owners for one in its), np.int64), _bounds(owners)
        words = words_in(some)
        counts = np.diff(words.first)
        size_of = np.where(counts >= config.ngram, config.ngram, np.where(counts >= config.min_words, counts, 0))
        wanted = np.unique(size_of[size_of > 0]).tolist()
        sizes.update(wanted)
        for runs in runs_in(words, wanted):
            text = words.texts_of(runs.at)
            common = np.isin(runs.hashes, commonplace)
            left_out.append(np.unique(runs.hashes[common]))
            kept = (size_of[text] == runs.size) & ~common
            its = text[kept]
            times = bounds[its + 1] - bounds[its]
            hashes.append(np.repeat(runs.hashes[kept], times))
            items.append(number[np.repeat(bounds[its + 1] - np.cumsum(times), times) + np.arange(times.sum())])
    return _Found(np.concatenate(hashes), np.concatenate(items), sizes, len(np.unique(np.concatenate(left_out))))


def _bounds(owners: Sequence[Sequence[int]]) -> Ints:
    return np.insert(np.cumsum([len(one) for one in owners]), 0, 0)


def _commonplace(parts: set[str], config: DecontaminationConfig) -> Hashes:
    """Runs that stand in too many different texts of single fields, ascending."""
    if config.max_occurrences is None:
        return np.empty(0, np.uint64)
    found = [np.empty(0, np.uint64)]
    ordered = sorted(parts)
    for start in range(0, len(ordered), _TEXTS_AT_ONCE):
        words = words_in(ordered[start : start + _TEXTS_AT_ONCE])
        for runs in runs_in(words, [config.ngram]):
            found.append(_once_per_text(runs.hashes, words.texts_of(runs.at)))
    hashes, times = np.unique(np.concatenate(found), return_counts=True)
    return hashes[times > config.max_occurrences]


def _once_per_text(hashes: Hashes, texts: Ints) -> Hashes:
    order = np.lexsort((texts, hashes))
    hashes, texts = hashes[order], texts[order]
    again = np.zeros(len(hashes), np.bool_)
    again[1:] = (hashes[1:] == hashes[:-1]) & (texts[1:] == texts[:-1])
    return hashes[~again]
