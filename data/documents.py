"""The documents stage: the raw documents of one slot in, cleaned documents in Parquet out.

What cleaning means is data/cleaning.py's matter, what a raw document is each source's. This module walks the
documents, counts every drop under the name of its reason with examples, and signs what it keeps. What personal data
are is data/privacy's matter; that they are replaced before anything is judged or shown is done here. The rules of
quality (data/quality) judge batch by batch what the other reasons left. Of near duplicates (data/near) it writes what
they are found by.
"""

import json
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash

from data.cleaning import CleanConfig, judge, normalise
from data.edits.editing import Editor
from data.facts import Facts, Progress, no_progress
from data.languages.config import LanguageConfig
from data.languages.judging import judge_languages
from data.licences import is_redistributable
from data.near.bands import BandWriter
from data.near.config import NearConfig
from data.near.signatures import near_signatures
from data.privacy.config import PersonalType
from data.privacy.replacing import replace
from data.quality.rules import QualityConfig, first_broken_rules
from data.shards import DOCUMENTS, ShardWriter, table_of
from data.sources.base import Problem, RawDocument

DOCUMENTS_FILE = "documents.parquet"
LICENCE = "licence"  # reason of a drop
SIGNATURES_FILE = "signatures.npy"
DROPS_FILE = "drops.json"
MAX_EXAMPLES = 20  # per reason
EXCERPT_CHARACTERS = 200
_BATCH_CHARACTERS = 2_000_000  # text held as Python strings before it becomes columns
_BATCH_ROWS = 8_192
_WHITE_SPACE = b" \t\n"
_meta_text = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def clean_slot(
    documents: Iterable[RawDocument | Problem],
    out: Path,
    config: CleanConfig,
    source_name: str,
    licence: str,
    progress: Progress = no_progress,
    personal: bool = False,
    near: NearConfig | None = None,
) -> Facts:
    """Clean the documents of one slot.

    documents    in slot order; a Problem stands for a document that could not be read
    source_name  goes into the column `source`
    licence      of the source; a document's own licence goes before it
    progress     gets (documents so far, 0, "documents"): how many will come is not known
    personal     whether the source is of what people wrote to each other; then personal data are replaced by default
    near         how near duplicates are to be found; None: they are not, and nothing is written for it

    Writes documents.parquet (schema `DOCUMENTS`; no file when nothing is kept), signatures.npy uint64
    (documents kept, 2), row i for document i, drops.json, and with `near` the band table (data/near/bands.py).
    Memory: one batch of text, and 16 bytes per document kept, with `near` some 800 more. Characters are code points;
    `characters_in` minus `characters_dropped` minus `characters_out` is what normalising, editing and replacing took
    away. `replaced_email` and so on count what was replaced in the documents kept, `edited_hyphenation` the documents
    kept that an edit changed, and `edits_hyphenation` how often it did. `language_en` and so on count all documents
    whose language was judged. The facts' notes name every problem.
    """
    drops = DropLog()
    types = config.types_replaced(personal)
    replaced: Counter[PersonalType] = Counter()
    languages: Counter[str] = Counter()
    edited: Counter[str] = Counter()
    editor = Editor(config.edits, partial(normalise, config=config))
    licences: set[str] = set()
    signatures = bytearray()
    bands = BandWriter(near) if near else None
    documents_in = characters_in = characters_dropped = characters_out = bytes_out = 0
    problems: list[str] = []
    unread = 0
    batch = _Batch(source_name)

    def keep() -> None:
        """Judge the batch by the rules of quality and write what they leave of it."""
        nonlocal characters_dropped, characters_out, bytes_out
        sifted = batch.sift_languages(config.languages, languages) if config.languages else []
        for row, reason in [*sifted, *batch.sift(config.quality)]:
            drops.add(reason, row.document.native_id, row.document.position, len(row.text), row.text)
            characters_dropped += len(row.document.text)
        for row in batch.rows:
            content = row.text.encode()
            characters_out += len(row.text)
            bytes_out += len(content)
            signatures.extend(sign(content))
            licences.add(row.licence)
            replaced.update(row.replaced)
            for name, count in row.edits.items():
                edited[f"edited_{name}"] += 1
                edited[f"edits_{name}"] += count
        if bands and near:
            bands.add(near_signatures([row.text for row in batch.rows], near))
        writer.write(batch.drain())

    with ShardWriter(out / DOCUMENTS_FILE, DOCUMENTS) as writer:
        for document in documents:
            if isinstance(document, Problem):
                documents_in += document.count
                drops.add(document.what, document.where, None, 0, document.why, document.count)
                if len(problems) < MAX_EXAMPLES:
                    problems.append(str(document))
                unread += document.count
                continue
            documents_in += 1
            characters_in += len(document.text)
            its_licence = document.licence or licence
            if config.licence_policy == "redistributable" and not is_redistributable(its_licence):
                drops.add(LICENCE, document.native_id, document.position, len(document.text), its_licence)
                characters_dropped += len(document.text)
                continue
            text, its_edits = editor.edit(normalise(document.text, config))
            its_replaced: Counter[PersonalType] = Counter()
            if types:
                text, its_replaced = replace(text, types)
            if reason := judge(text, config):
                drops.add(reason, document.native_id, document.position, len(text), text)
                characters_dropped += len(document.text)
                continue
            batch.add(_Kept(document, text, its_licence, its_replaced, its_edits))
            if batch.is_full():
                keep()
                progress(documents_in, 0, "documents")
        keep()
    progress(documents_in, 0, "documents")
    rows = np.frombuffer(bytes(signatures), ">u8").astype(np.uint64).reshape(-1, 2)
    np.save(out / SIGNATURES_FILE, rows, allow_pickle=False)
    if bands:
        bands.write(out)
    drops.write(out / DROPS_FILE)
    counts = {
        "documents_in": documents_in,
        "documents_out": len(rows),
        "characters_in": characters_in,
        "characters_dropped": characters_dropped,
        "characters_out": characters_out,
        "bytes_out": bytes_out,
    }
    if unread > len(problems):
        problems.append(f"In all, {unread:,} things could not be read.")
    dropped = {f"dropped_{reason}": count for reason, count in sorted(drops.counts.items())}
    placed = {f"replaced_{one}": replaced[one] for one in types if replaced[one]}
    spoken = {f"language_{code}": count for code, count in sorted(languages.items())}
    return Facts(
        counts={**counts, **dropped, **placed, **dict(sorted(edited.items())), **spoken},
        licences=sorted(licences),
        notes=problems,
    )


def sign(content: bytes) -> bytes:
    """The 16-byte signature by which duplicates are found, of a normalised text given as UTF-8.

    It is the xxh3 of the text without its spaces, tabs and line feeds, so that copies wrapped or indented in
    another way are equal; every letter, its case and all punctuation count.
    """
    return xxhash.xxh3_128_digest(content.translate(None, _WHITE_SPACE))


class DropLog:
    """Drops by reason: how many, and the first few of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[dict[str, Any]]] = {}

    def add(self, reason: str, native_id: str, position: Any, characters: int, shown: str, count: int = 1) -> None:
        """Count a drop: `position` in raw, length after normalising, and a text whose beginning is shown."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        examples = self.examples.setdefault(reason, [])
        if len(examples) < MAX_EXAMPLES:
            excerpt = shown[:EXCERPT_CHARACTERS]
            examples.append(
                {"native_id": native_id, "position": position, "characters": characters, "excerpt": excerpt}
            )

    def write(self, path: Path) -> None:
        """As JSON: {"counts": {reason: n}, "examples": {reason: [{native_id, position, characters, excerpt}]}}."""
        content = {"counts": self.counts, "examples": self.examples}
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="ascii")


class _Kept(NamedTuple):
    """A document that may be kept: as it came, and what was made of it."""

    document: RawDocument
    text: str
    licence: str
    replaced: Counter[PersonalType]
    edits: Counter[str]


class _Batch:
    """Documents gathered as Python values until they are worth turning into columns."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.rows: list[_Kept] = []
        self._characters = 0

    def add(self, row: _Kept) -> None:
        if "look" not in row.document.meta:
            raise ValueError(
                f"The source {self._source} gives {row.document.native_id!r} no look in its meta; the split needs it."
            )
        self.rows.append(row)
        self._characters += len(row.text)

    def is_full(self) -> bool:
        return self._characters >= _BATCH_CHARACTERS or len(self.rows) >= _BATCH_ROWS

    def sift(self, rules: QualityConfig) -> list[tuple[_Kept, str]]:
        """Take out the documents that break a rule, and return them with the rules' names."""
        judged = list(zip(self.rows, first_broken_rules([row.text for row in self.rows], rules), strict=True))
        self.rows = [row for row, reason in judged if reason is None]
        return [(row, reason) for row, reason in judged if reason is not None]

    def sift_languages(self, config: LanguageConfig, languages: Counter[str]) -> list[tuple[_Kept, str]]:
        """Count all documents by language, take out those in no wanted one, and return them with the reasons."""
        judged = list(zip(self.rows, judge_languages([row.text for row in self.rows], config), strict=True))
        languages.update(judgement.language for _, judgement in judged)
        self.rows = [row for row, judgement in judged if judgement.reason is None]
        return [(row, judgement.reason) for row, judgement in judged if judgement.reason is not None]

    def drain(self) -> pa.Table:
        """Hand over the documents as columns and start afresh."""
        documents = [row.document for row in self.rows]
        columns: dict[str, list[Any]] = {
            "native_id": [_encodable(document.native_id) for document in documents],
            "authors": [[_encodable(author) for author in document.authors] for document in documents],
            "text": [row.text for row in self.rows],
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
