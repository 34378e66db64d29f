"""Looking into a corpus: its documents one by one, kept and dropped, with the reason; and those that hold some text.

Everything is read as a stream, one row group at a time. Of documents that cleaning dropped the store has the first few
of each reason, with how they begin; all of them are found by reading their raw slot again and judging as it was judged.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data.cleaning import CleanConfig
from data.clusters import Links
from data.documents import clean_slot
from data.drops import DROPS_FILE, EXCERPT_CHARACTERS, DropLog
from data.errors import TextmillError
from data.manifest import differences
from data.privacy.pipelines import Pipeline, pipeline_for
from data.shards import pick_rows, read_batches
from data.sources.base import SourceConfig, of_source
from data.store import Store
from tasks.corpus_parts import Corpus, Part, documents_path
from tasks.registry import VERSIONS
from tasks.runtime import PROJECT_ROOT

DUPLICATE = "duplicate"
PASSAGE_CHARACTERS = 100  # on both sides of what was searched for


@dataclass(frozen=True)
class Entry:
    """One document of a corpus, or of what was dropped on the way there.

    reason  why it was dropped: a rule of cleaning, or `duplicate`; None: it is kept
    text    as it was kept; of what cleaning dropped, the beginning, unless it was read again
    whole   whether `text` is all of it
    of      the earlier document that a duplicate matched, and how similar the two are (None: equal)
    """

    slot: str
    source: str
    native_id: str
    url: str | None
    reason: str | None
    text: str
    characters: int
    whole: bool = True
    position: Any = None
    of: tuple[str, float | None] | None = None

    def to_json(self) -> dict[str, Any]:
        named: dict[str, Any] = {"id": self.native_id, "source": self.source, "url": self.url, "slot": self.slot}
        named |= {"status": "dropped" if self.reason else "kept", "reason": self.reason}
        if self.of:
            named |= {"duplicate_of": self.of[0], "similarity": self.of[1]}
        if self.position is not None:
            named["position"] = self.position
        return named | {"characters": self.characters, "whole": self.whole, "text": self.text}


def reasons(store: Store, corpus: Corpus) -> dict[str, int]:
    """Documents by the reason why they were dropped, duplicates among them, in the chosen slots; commonest first."""
    counts: dict[str, int] = {}
    for part in _chosen(corpus):
        for reason, count in _drops(store, part)["counts"].items():
            counts[reason] = counts.get(reason, 0) + count
        if part.drops and (copies := int(part.drops.counts["duplicates_dropped"])):
            counts[DUPLICATE] = counts.get(DUPLICATE, 0) + copies
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def all_entries(store: Store, corpus: Corpus, links: Links | None) -> Iterator[Entry]:
    """Slot by slot the examples of what cleaning dropped, then the documents it kept, duplicates told apart.

    links  the matches of the corpus; without them duplicates pass for kept
    """
    for number in corpus.chosen:
        yield from dropped_examples(store, corpus.parts[number])
        yield from _documents(store, corpus, links, number)


def dropped_entries(store: Store, corpus: Corpus, links: Links | None, reason: str) -> Iterator[Entry]:
    """Every duplicate, or the examples of another reason."""
    for number in corpus.chosen:
        if reason == DUPLICATE:
            yield from (one for one in _documents(store, corpus, links, number) if one.reason)
        else:
            yield from dropped_examples(store, corpus.parts[number], reason)


def dropped_examples(store: Store, part: Part, reason: str | None = None) -> Iterator[Entry]:
    """What the slot recorded of documents that cleaning dropped, for one reason or all."""
    for one, examples in _drops(store, part)["examples"].items():
        for example in examples if reason in (None, one) else ():
            text, characters = example["excerpt"], example["characters"]
            whole = characters <= EXCERPT_CHARACTERS and len(text) == characters
            native_id, position = str(example["native_id"]), example["position"]
            yield Entry(part.label, part.source, native_id, None, one, text, characters, whole, position)


def search(store: Store, corpus: Corpus, links: Links | None, text: str) -> Iterator[tuple[Entry, str, int]]:
    """Documents that hold `text` in upper or lower case: the document, the passage around the first hit, the hits.

    All documents that cleaning kept are searched, and of those dropped what was recorded.
    """
    pattern = re.compile(re.escape(text), re.IGNORECASE)
    for number in corpus.chosen:
        for entry in dropped_examples(store, corpus.parts[number]):
            if pattern.search(entry.text):
                yield entry, *_passage(entry.text, pattern)
        for entry in _documents(store, corpus, links, number, text):
            yield entry, *_passage(entry.text, pattern)


def _passage(text: str, pattern: re.Pattern[str]) -> tuple[str, int]:
    hit = pattern.search(text)
    begin, end = hit.span() if hit else (0, 0)  # letters that fold to several are found by one side only
    start, stop = max(0, begin - PASSAGE_CHARACTERS), end + PASSAGE_CHARACTERS
    passage = " ".join(text[start:stop].split())
    return f"{'…' if start else ''}{passage}{'…' if stop < len(text) else ''}", len(pattern.findall(text))


def _documents(
    store: Store, corpus: Corpus, links: Links | None, number: int, holding: str | None = None
) -> Iterator[Entry]:
    """The documents of a slot that cleaning kept, or those of them that hold a text."""
    part = corpus.parts[number]
    path = documents_path(store, part)
    row = 0
    for batch in read_batches(path, ["native_id", "url", "text"]) if path else ():
        rows = pa.array(range(row, row + batch.num_rows), pa.int64())
        row += batch.num_rows
        if holding is not None:
            found = pc.match_substring(batch["text"], holding, ignore_case=True)
            batch, rows = batch.filter(found), rows.filter(found)
        copies = _copies(store, corpus, links, number, rows.to_pylist())
        for at, its_row in enumerate(rows.to_pylist()):
            native_id, url, text = (batch[name][at].as_py() for name in ("native_id", "url", "text"))
            of = copies.get(its_row)
            reason = DUPLICATE if of else None
            yield Entry(part.label, part.source, native_id, url, reason, text, len(text), of=of)


def _copies(
    store: Store, corpus: Corpus, links: Links | None, slot: int, rows: Sequence[int]
) -> dict[int, tuple[str, float | None]]:
    """Which of the rows are duplicates: {row: (id of the earlier document, similarity)}."""
    if links is None or not rows:
        return {}
    first = int(links.firsts[slot])
    begin, end = links.dropped.searchsorted([first + rows[0], first + rows[-1] + 1]).tolist()
    wanted = set(rows)
    matches = [at for at in range(begin, end) if int(links.dropped[at]) - first in wanted]
    earlier = documents_by_number(store, corpus.parts, links, [int(links.earlier[at]) for at in matches], ["native_id"])
    return {
        int(links.dropped[at]) - first: (earlier[int(links.earlier[at])]["native_id"], similarity_of(links, at))
        for at in matches
    }


def similarity_of(links: Links, at: int) -> float | None:
    """The estimated similarity of a match; None: the two are equal."""
    value = float(links.similarity[at])
    return None if value != value else round(value, 4)


def documents_by_number(
    store: Store, parts: Sequence[Part], links: Links, numbers: Iterable[int], columns: Sequence[str]
) -> dict[int, dict[str, Any]]:
    """Columns of some documents of a corpus, with the label of their slot and their row in it, by number."""
    by_slot: dict[int, dict[int, int]] = {}
    for number in numbers:
        slot, row = links.place(number)
        by_slot.setdefault(slot, {})[row] = number
    found: dict[int, dict[str, Any]] = {}
    for slot, rows in sorted(by_slot.items()):
        path = documents_path(store, parts[slot])
        for row, values in (pick_rows(path, rows, columns) if path else {}).items():
            found[rows[row]] = values | {"slot": parts[slot].label, "row": row}
    return found


class _EnoughError(Exception):
    """Nobody wants to see more; ends the reading, is no failure."""


class _TellingLog(DropLog):
    """Tells of every drop for one reason as it comes."""

    def __init__(self, reason: str, tell: Callable[[str, Any, int, str], None]) -> None:
        super().__init__()
        self._reason, self._tell = reason, tell

    def add(self, reason: str, native_id: str, position: Any, characters: int, shown: str, count: int = 1) -> None:
        super().add(reason, native_id, position, characters, shown, count)
        if reason == self._reason:
            self._tell(native_id, position, characters, shown)


def drop_again(
    store: Store,
    part: Part,
    reason: str,
    source: SourceConfig,
    cleaning: CleanConfig,
    show: Callable[[Entry], bool],
) -> bool:
    """Read a slot's raw bytes again, judge them as they were judged, and show every document dropped for a reason.

    show  gets each as soon as it is judged, in order; returns whether more are wanted

    Returns what the last call of `show` did. Personal data are replaced as they were. Raises TextmillError where the
    settings are not those that the slot was cleaned with, or the raw slot is gone.
    """
    pipeline = pipeline_for(cleaning, source.personal, PROJECT_ROOT)
    _refuse_other_settings(part, source, cleaning, pipeline)
    names = [name for name in part.documents.inputs if name.startswith("raw/")]
    raw = next(iter(store.find("raw", [name.rpartition("-")[2] for name in names]).values()), None)
    if raw is None:
        raise TextmillError(f"{', '.join(names)} is no longer in the store, so it cannot be read again.")

    def tell(native_id: str, position: Any, characters: int, shown: str) -> None:
        if not show(Entry(part.label, part.source, native_id, None, reason, shown, characters, True, position)):
            raise _EnoughError

    with TemporaryDirectory(prefix="textmill-") as folder:
        try:
            documents = source.read(store.path(raw))
            clean_slot(documents, Path(folder), cleaning, part.source, source.licence, personal=source.personal,
                       drops=_TellingLog(reason, tell), pipeline=pipeline)  # fmt: skip
        except _EnoughError:
            return False
    return True


def _refuse_other_settings(part: Part, source: SourceConfig, cleaning: CleanConfig, pipeline: Pipeline | None) -> None:
    made = part.documents.recipe
    with of_source(part.source):
        reading = source.reading_identity()
    here = {"cleaning": cleaning.identity(source.personal, pipeline), "reading": reading, "licence": source.licence}
    there = {name: made.config.get(name) for name in here}
    found = differences(there, here) + differences({"version": made.version}, {"version": VERSIONS["documents"]})
    if found:
        named = ", ".join(f"{path} was {then!r} and is {now!r}" for path, then, now in found[:5])
        raise TextmillError(
            f"The recipe as it stands would judge {part.label} in another way than it was judged: {named}. Name the "
            "recipe with --recipe, and what was set in that run with --set KEY=JSON."
        )


def _chosen(corpus: Corpus) -> list[Part]:
    return [corpus.parts[number] for number in corpus.chosen]


def _drops(store: Store, part: Part) -> dict[str, Any]:
    drops: dict[str, Any] = json.loads(store.read(part.documents.ref, DROPS_FILE))
    return drops
