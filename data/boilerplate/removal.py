"""Taking a slot's frequent lines out of its documents, row group by row group.

The first documents keep a line, as many as its list leaves it; every later one loses it, wherever it stands there. A
stanza goes as a whole or not at all. Blank lines on both sides of what went become those of one side.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.boilerplate.config import LinesConfig
from data.boilerplate.join import FrequentLines
from data.boilerplate.lines import Lines, lines_of
from data.quality.columns import Bools, Ints
from data.shards import text_buffer

MAX_EXAMPLES = 20
EXCERPT_CHARACTERS = 200


class LineRemoval:
    """Takes lines out of a slot, which is read twice: `decide` what goes, then `repeat` it.

    lines       that went, without blank ones
    characters  that went, with blank lines and line feeds
    emptied     rows of documents of which nothing is left, ascending
    """

    def __init__(self, config: LinesConfig, frequent: FrequentLines) -> None:
        self._config = config
        self._frequent = frequent
        self._seen = np.zeros(len(frequent.hashes), np.int64)  # documents so far that have the line
        self._cuts: list[NDArray[np.int64]] = []  # of each batch (cuts, 2): bytes that go, from the batch's first
        self._excerpts: dict[int, str] = {}
        self._times: Counter[int] = Counter()
        self.lines = 0
        self.characters = 0
        self.emptied: list[int] = []

    def decide(self, batches: Iterable[pa.RecordBatch], drops: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """All batches of the slot, in their order, without what goes; documents that are dropped stay as they are.

        drops  rows of documents that are dropped for other reasons; they count among those that keep a line
        """
        first = 0
        for batch in batches:
            dropped = np.isin(np.arange(first, first + batch.num_rows), drops)
            self._cuts.append(self._cuts_of(batch, first, dropped))
            yield _without(batch, self._cuts[-1])
            first += batch.num_rows

    def repeat(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches once more."""
        for batch, cuts in zip(batches, self._cuts, strict=True):
            yield _without(batch, cuts)

    def examples(self) -> list[dict[str, Any]]:
        """The lines that most documents lost, [{text, documents}], most frequent first."""
        most = sorted(self._times.items(), key=lambda one: (-one[1], self._excerpts[one[0]]))[:MAX_EXAMPLES]
        return [{"text": self._excerpts[number], "documents": times} for number, times in most]

    def _cuts_of(self, batch: pa.RecordBatch, first: int, dropped: Bools) -> NDArray[np.int64]:
        """What goes of a batch whose first row is `first`, as bytes; notes what is observed of it."""
        nothing = np.empty((0, 2), np.int64)
        if not len(self._frequent.hashes) or not batch.num_rows:
            return nothing
        texts = batch["text"].to_pylist()
        lines = lines_of(texts, self._config)
        units, numbers = self._frequent_units(lines)
        kept = dropped[lines.documents[units]]
        gone_units = np.full(len(lines.hashes), -1, np.int64)  # the number of what they say among the frequent ones
        gone_units[units[~kept]] = numbers[~kept]
        gone = gone_units[lines.units] >= 0
        stanza_heads = _heads(lines.stanzas)
        gone &= np.logical_and.reduceat(gone, stanza_heads)[lines.stanzas]
        if not gone.any():
            return nothing
        rows = np.repeat(np.arange(len(texts)), np.diff(lines.first))
        starts, ends, content = _line_bytes(batch["text"])
        self.lines += int(gone.sum())
        self._note(lines, gone, gone_units, starts, ends, content)
        loose = gone | _loose_blanks(lines, gone, rows)
        emptied = np.logical_and.reduceat(loose, lines.first[:-1]) & np.isin(np.arange(len(texts)), rows[gone])
        self.emptied += (first + np.flatnonzero(emptied)).tolist()
        cuts = _byte_cuts(starts, ends, rows, loose)
        self.characters += int(((content[_inside(cuts, len(content))] & 0xC0) != 0x80).sum())
        return cuts

    def _frequent_units(self, lines: Lines) -> tuple[Ints, Ints]:
        """Units of a batch whose line goes from their document, and the numbers of these lines; counts documents."""
        hashes = self._frequent.hashes
        units = np.flatnonzero(lines.countable)
        at = np.searchsorted(hashes, lines.hashes[units])
        known = hashes.take(at, mode="clip") == lines.hashes[units]
        units, numbers = units[known], at[known]
        documents = len(lines.first) - 1
        pairs, of_pair = np.unique(numbers * documents + lines.documents[units], return_inverse=True)
        their = pairs // documents
        heads = _heads(their)
        sizes = np.diff(np.append(heads, len(their)))
        nth = np.arange(len(their)) - np.repeat(heads, sizes) + self._seen[their]
        self._seen[their[heads]] += sizes
        goes = (nth >= self._frequent.left[their])[of_pair]
        return units[goes], numbers[goes]

    def _note(
        self, lines: Lines, gone: Bools, gone_units: Ints, starts: Ints, ends: Ints, content: NDArray[np.uint8]
    ) -> None:
        """Count the documents that lose each line, and remember how it reads."""
        units = np.unique(lines.units[gone])
        documents = len(lines.first) - 1
        pairs, at = np.unique(gone_units[units] * documents + lines.documents[units], return_index=True)
        numbers, sizes = np.unique(pairs // documents, return_counts=True)
        for number, times in zip(numbers.tolist(), sizes.tolist(), strict=True):
            self._times[number] += times
        for number, unit in zip((pairs // documents).tolist(), units[at].tolist(), strict=True):
            if number not in self._excerpts:
                begin, end = np.searchsorted(lines.units, [unit, unit + 1])
                text = content[starts[begin] : ends[end - 1]][: 4 * EXCERPT_CHARACTERS].tobytes()
                self._excerpts[number] = text.decode("utf-8", "ignore")[:EXCERPT_CHARACTERS]


def _heads(numbers: Ints) -> Ints:
    """Where runs of equal numbers begin."""
    begins = np.ones(len(numbers), np.bool_)
    begins[1:] = numbers[1:] != numbers[:-1]
    return np.flatnonzero(begins)


def _loose_blanks(lines: Lines, gone: Bools, rows: Ints) -> Bools:
    """Blank lines that go with others: those at a document's ends, and all but the first run between what stays."""
    stays = ~lines.blank & ~gone
    opens = np.ones(len(rows), np.bool_)  # a gap begins behind a line that stays, and where a document does
    opens[1:] = stays[:-1] | (rows[1:] != rows[:-1])
    heads = np.flatnonzero(opens)
    gaps = np.cumsum(opens) - 1
    cut = np.logical_or.reduceat(gone, heads)
    at_begin = np.ones(len(heads), np.bool_)
    at_begin[1:] = rows[heads[1:]] != rows[heads[1:] - 1]
    at_end = ~np.logical_or.reduceat(stays, heads)  # of a document: no line that stays ends this gap
    run_begins = lines.blank.copy()
    run_begins[1:] &= ~lines.blank[:-1] | opens[1:]
    runs = np.cumsum(run_begins)
    nth: Ints = runs - (runs[heads] - run_begins[heads])[gaps]  # run of its gap, from 1
    loose: Bools = lines.blank & cut[gaps] & (at_begin | at_end)[gaps]
    loose |= lines.blank & cut[gaps] & (nth > 1)
    return loose


def _line_bytes(texts: pa.StringArray) -> tuple[Ints, Ints, NDArray[np.uint8]]:
    """Where the lines of texts begin and end, in bytes from the first text's beginning, and all these bytes."""
    offsets, content = _bytes_of(texts)
    feeds = np.flatnonzero(content == ord("\n"))
    starts, ends = np.concatenate([offsets[:-1], feeds + 1]), np.concatenate([feeds, offsets[1:]])
    return np.sort(starts), np.sort(ends), content


def _bytes_of(texts: pa.StringArray) -> tuple[Ints, NDArray[np.uint8]]:
    offsets, content = text_buffer(texts)
    return offsets - offsets[0], np.frombuffer(content, np.uint8)[offsets[0] : offsets[-1]]


def _byte_cuts(starts: Ints, ends: Ints, rows: Ints, gone: Bools) -> NDArray[np.int64]:
    """Bytes that go with lines: each with its line feed, and the one behind what is then a document's last line."""
    last = np.append(rows[1:] != rows[:-1], True)
    kept = np.flatnonzero(~gone)
    tails = kept[np.append(rows[kept[1:]] != rows[kept[:-1]], True)[: len(kept)]]
    tails = ends[tails[~last[tails]]]
    begins = np.concatenate([starts[gone], tails])
    return np.stack([begins, np.concatenate([(ends + ~last)[gone], tails + 1])], axis=1)


def _inside(cuts: NDArray[np.int64], size: int) -> Bools:
    """Which bytes are cut, (size,)."""
    borders = np.zeros(size + 1, np.int8)
    np.add.at(borders, cuts[:, 0], 1)
    np.add.at(borders, cuts[:, 1], -1)
    return np.cumsum(borders[:-1], dtype=np.int8).view(np.bool_)


def _without(batch: pa.RecordBatch, cuts: NDArray[np.int64]) -> pa.RecordBatch:
    """The batch with bytes cut out of its texts."""
    if not len(cuts):
        return batch
    offsets, content = _bytes_of(batch["text"])
    kept = ~_inside(cuts, len(content))
    left = np.insert(np.cumsum(kept), 0, 0)[offsets].astype(np.int32)
    texts = pa.StringArray.from_buffers(batch.num_rows, pa.py_buffer(left), pa.py_buffer(content[kept]))
    at = batch.schema.get_field_index("text")
    return batch.set_column(at, batch.schema.field(at), texts)
