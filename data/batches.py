"""Documents gathered until they are worth judging together and turning into columns.

What concerns many documents at once is done here: people's names are found (data/privacy/names.py), then languages
(data/languages) and the published rules of quality (data/quality) judge what the other reasons left. The rules may edit
it; an edited text meets all the others once more. What is left by then is compared with benchmarks (data/overlap).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from data.cleaning import CleanConfig, judge, normalise
from data.languages.config import LanguageConfig
from data.languages.judging import judge_languages
from data.overlap.decontaminating import CONTAMINATED, Decontaminator, Finding
from data.privacy.config import NAME, PersonalType, Replaceable
from data.privacy.names import NameReplacer
from data.privacy.replacing import replace
from data.quality.c4 import CITATION_MARKS
from data.quality.rules import Observed
from data.quality.rules import judged as judged_by_rules
from data.scores import LANGUAGE_SCORE, ScoreCounts
from data.shards import DOCUMENTS, table_of
from data.sources.base import RawDocument

_BATCH_CHARACTERS = 2_000_000  # text held as Python strings before it becomes columns
_BATCH_ROWS = 8_192
_meta_text = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class Kept(NamedTuple):
    """A document that may be kept: as it came, and what was made of it."""

    document: RawDocument
    text: str
    licence: str
    replaced: Counter[Replaceable]
    edits: Counter[str]
    removed: Mapping[str, int] = MappingProxyType({})  # by setting of C4's rules
    cut: Finding | None = None  # text of benchmarks that was cut out
    confidence: float | None = None  # that it is in a wanted language
    place: int = -1  # among the documents of its batch that the rules of quality judged


class Left(NamedTuple):
    """A document that is not kept, why, and what is to be shown of it."""

    row: Kept
    reason: str
    shown: str


class Batch:
    """Documents as Python values; in their texts personal data of `types` were replaced.

    Over all batches `languages` counts all documents whose language was judged, and `scores` has the spread of what
    those that are kept were judged by.
    """

    def __init__(
        self,
        source: str,
        config: CleanConfig,
        types: Sequence[PersonalType],
        decontaminator: Decontaminator | None = None,
        names: NameReplacer | None = None,
    ) -> None:
        self._source, self._config, self._types, self._names = source, config, types, names
        self._decontaminator = decontaminator
        self.rows: list[Kept] = []
        self.languages: Counter[str] = Counter()
        self.scores = ScoreCounts()
        self._characters = 0

    def add(self, row: Kept) -> None:
        """Gather one more."""
        if "look" not in row.document.meta:
            raise ValueError(
                f"The source {self._source} gives {row.document.native_id!r} no look in its meta; the split needs it."
            )
        self.rows.append(row)
        self._characters += len(row.text)

    def is_full(self) -> bool:
        return self._characters >= _BATCH_CHARACTERS or len(self.rows) >= _BATCH_ROWS

    def sift(self) -> list[Left]:
        """Take out the documents that are in no wanted language, break a rule of quality or hold text of benchmarks,
        and return them as they were, with the reasons; those that stay may have been edited."""
        languages = self._config.languages
        unwanted = self._sift_names(self._names) if self._names else []
        unwanted += self._sift_languages(languages) if languages else []
        observed: list[Observed] = []
        unwanted += self._sift_quality(observed)
        if self._decontaminator:
            unwanted += self._sift_benchmarks(self._decontaminator)
        self._count_scores(observed)
        return unwanted

    def _count_scores(self, observed: Sequence[Observed]) -> None:
        """Count what the documents that are left were judged by."""
        if self._config.languages:
            self.scores.add(LANGUAGE_SCORE, [row.confidence or 0 for row in self.rows])
        places = [row.place for row in self.rows]
        for name in observed[0] if observed else ():
            self.scores.add(name, np.concatenate([part[name] for part in observed])[places])

    def _sift_names(self, names: NameReplacer) -> list[Left]:
        """Replace names; documents are judged only then, so that none is shown with them."""
        rows, self.rows = self.rows, []
        dropped: list[Left] = []
        for row, (text, count) in zip(rows, names.replace([row.text for row in rows]), strict=True):
            kept = row._replace(text=text, replaced=row.replaced + Counter({NAME: count}))
            if reason := judge(text, self._config):
                dropped.append(Left(kept, reason, text))
            else:
                self.rows.append(kept)
        return dropped

    def _sift_languages(self, config: LanguageConfig) -> list[Left]:
        sure: list[float] = []
        judged = list(zip(self.rows, judge_languages([row.text for row in self.rows], config, sure), strict=True))
        self.languages.update(judgement.language for _, judgement in judged)
        self.rows = [
            row._replace(confidence=confidence)
            for (row, judgement), confidence in zip(judged, sure, strict=True)
            if judgement.reason is None
        ]
        return [Left(row, judgement.reason, row.text) for row, judgement in judged if judgement.reason is not None]

    def _sift_quality(self, observed: list[Observed]) -> list[Left]:
        if not self._config.quality.is_on:
            return []
        rows, self.rows = self.rows, []
        dropped: list[Left] = []
        results = judged_by_rules([row.text for row in rows], self._config.quality, observed=observed)
        for place, (row, (reason, text, removed)) in enumerate(zip(rows, results, strict=True)):
            kept = row._replace(place=place) if observed else row
            if reason is None and text != row.text:
                kept = self._finish(kept._replace(text=text, removed=removed))
                reason = judge(kept.text, self._config)
            if reason is None:
                self.rows.append(kept)
            else:
                dropped.append(Left(row, reason, row.text))
        return dropped

    def _sift_benchmarks(self, decontaminator: Decontaminator) -> list[Left]:
        rows, self.rows = self.rows, []
        dropped: list[Left] = []
        found = decontaminator.judge([row.text for row in rows])
        for number, row in enumerate(rows):
            finding = found.get(number)
            if finding is None:
                self.rows.append(row)
            elif finding.text is None:
                dropped.append(Left(row, CONTAMINATED + finding.benchmark, finding.about))
            else:
                kept = self._finish(row._replace(text=finding.text, cut=finding))
                if reason := judge(kept.text, self._config):
                    dropped.append(Left(row, reason, row.text))
                else:
                    self.rows.append(kept)
        return dropped

    def _finish(self, row: Kept) -> Kept:
        """An edited document in normal form; what a mark taken out of it leaves may be personal data."""
        text, replaced = normalise(row.text, self._config), row.replaced
        if row.removed.get(CITATION_MARKS):
            if self._types:
                text, more = replace(text, self._types)
                replaced = replaced + more
            if self._names:
                [(text, count)] = self._names.replace([text])
                replaced = replaced + Counter({NAME: count})
        return row._replace(text=text, replaced=replaced)

    def drain(self, contents: Sequence[bytes]) -> pa.Table:
        """Hand over the documents as columns (schema `DOCUMENTS`) and start afresh; `contents` are their texts as
        UTF-8."""
        documents = [row.document for row in self.rows]
        columns: dict[str, Sequence[Any]] = {
            "native_id": [_encodable(document.native_id) for document in documents],
            "authors": [[_encodable(author) for author in document.authors] for document in documents],
            "text": contents,
            "source": [self._source] * len(documents),
            "url": [_encodable(document.url) for document in documents],
            "created": [_encodable(document.created) for document in documents],
            "licence": [row.licence for row in self.rows],
            "meta": [_meta_text(dict(document.meta)) for document in documents],
        }
        self.rows, self._characters = [], 0
        return table_of(DOCUMENTS, columns)


def _encodable(value: str | None) -> str | None:
    r"""`value` with lone surrogates (from file names in no known coding) spelt out as \udcXX."""
    if value is None or value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode()
