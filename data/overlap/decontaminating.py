"""Documents that share runs of words with benchmarks: which they are, with which items, and what is left of them.

Texts are judged batch by batch and in columns; only the few that share something are looked at one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from data.near.shingles import Ints, word_borders
from data.overlap.benchmarks import Benchmarks
from data.overlap.config import DecontaminationConfig
from data.overlap.runs import runs_in, words_in

CONTAMINATED = "contaminated_"  # begins the reasons of drops; the benchmark's name follows
CONTAMINATION_FILE = "contamination.json"
_WORD = 40  # characters that a margin may be longer, so as not to end within a word
_SHOWN = 120  # characters of a shared run, in examples


@dataclass(frozen=True)
class Decontamination:
    """What documents are compared with, and what becomes of them."""

    config: DecontaminationConfig
    benchmarks: Benchmarks

    def identity(self) -> dict[str, Any]:
        """What of it changes documents, JSON-able."""
        return self.config.identity() | {"benchmarks": self.benchmarks.digest()}


class Shared(NamedTuple):
    """The runs of one text that stand in benchmarks, in the text's order.

    begin, end  (runs,) int64: characters of the text
    known       (runs,) int64: the known hash
    """

    begin: Ints
    end: Ints
    known: Ints


class Finding(NamedTuple):
    """What became of a text that shares something.

    benchmark  the first in the order of names of those it shares something with
    text       what is left of it; None: it is dropped
    cuts       how often it was cut; 0 where it is dropped
    about      names the item and shows the run
    """

    benchmark: str
    text: str | None
    cuts: int
    about: str


@dataclass
class Decontaminator:
    """Judges the texts of one slot, and remembers which items they hold."""

    given: Decontamination
    hit: set[int] = field(default_factory=set)  # items

    def judge(self, texts: Sequence[str]) -> dict[int, Finding]:
        """{number of the text: what became of it} for all that share something; the others stay as they are."""
        found = {number: self._settle(texts[number], shared) for number, shared in self._shared(texts).items()}
        cut = {number: one.text for number, one in found.items() if one.text is not None}
        numbers = list(cut)
        for again in self._shared(list(cut.values())):  # pieces that together make a run after all
            found[numbers[again]] = found[numbers[again]]._replace(text=None, cuts=0)
        return found

    def report(self) -> dict[str, Any]:
        """{benchmark: items, comparable items, runs too common to be looked for, and the lines of the items found}."""
        owners = self.given.benchmarks.owners[sorted(self.hit)]
        return {
            about.name: {
                "items": about.items,
                "comparable": about.comparable,
                "commonplace_runs": about.commonplace_runs,
                "found": owners[owners[:, 0] == number, 1].tolist(),
            }
            for number, about in enumerate(self.given.benchmarks.abouts)
        }

    def _shared(self, texts: Sequence[str]) -> dict[int, Shared]:
        """What texts share, for those that do."""
        words = words_in(texts)
        parts = []
        for runs in runs_in(words, self.given.benchmarks.sizes):
            which, known = self.given.benchmarks.known.find(runs.hashes)
            at = runs.at[which]
            parts.append(np.stack([at, at + runs.size, known], 1))
        found = np.concatenate(parts) if parts else np.empty((0, 3), np.int64)
        found = found[np.lexsort((found[:, 1], found[:, 0]))]
        numbers = words.texts_of(found[:, 0])
        shared = {}
        for number in np.unique(numbers).tolist():
            begins, ends = word_borders(texts[number])
            its = found[slice(*np.searchsorted(numbers, [number, number + 1]))]
            first = words.first[number]
            shared[number] = Shared(begins[its[:, 0] - first], ends[its[:, 1] - first - 1], its[:, 2])
        return shared

    def _settle(self, text: str, shared: Shared) -> Finding:
        benchmarks = self.given.benchmarks
        items = [benchmarks.items[benchmarks.first[known] : benchmarks.first[known + 1]] for known in shared.known]
        self.hit.update(np.unique(np.concatenate(items)).tolist())
        run = int(np.argmin([one[0] for one in items]))  # items are ordered by benchmark
        item = benchmarks.item(int(items[run][0]))
        shown = " ".join(text[shared.begin[run] : shared.end[run]].split())[:_SHOWN]
        about = f"line {item.line:,} of {item.benchmark}: {shown}"
        left, cuts = cut(text, shared, self.given.config) if self.given.config.action == "cut" else (None, 0)
        return Finding(item.benchmark, left, 0 if left is None else cuts, about)


def cut(text: str, shared: Shared, config: DecontaminationConfig) -> tuple[str | None, int]:
    """Take the runs with their margins out of a text: what is left, None where that is too little, and how many cuts.

    Margins end between words, if a word's end is near; runs whose margins meet are one cut. Pieces that are long enough
    are joined as paragraphs.
    """
    begins = [_space(text, max(0, begin - config.margin), -1) for begin in shared.begin.tolist()]
    ends = [_space(text, min(len(text), end + config.margin), 1) for end in shared.end.tolist()]
    cuts: list[list[int]] = []
    for begin, end in sorted(zip(begins, ends, strict=True)):
        if cuts and begin <= cuts[-1][1]:
            cuts[-1][1] = max(end, cuts[-1][1])
        else:
            cuts.append([begin, end])
    if len(cuts) > config.max_cuts:
        return None, len(cuts)
    borders = [0, *(border for one in cuts for border in one), len(text)]
    pieces = [text[begin:end].strip() for begin, end in zip(borders[::2], borders[1::2], strict=True)]
    kept = [piece for piece in pieces if len(piece) >= config.min_piece]
    return "\n\n".join(kept) if kept else None, len(cuts)


def _space(text: str, at: int, step: int) -> int:
    """The nearest place from `at` on, in one direction, that lies beside white space or at an end of the text."""
    for place in range(at, at + step * _WORD, step):
        if not 0 < place < len(text) or text[place - 1].isspace() or text[place].isspace():
            return min(max(place, 0), len(text))
    return at
