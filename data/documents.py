"""The documents stage: the raw documents of one slot in, cleaned documents in Parquet out.

What cleaning means is data/cleaning.py's matter, what a raw document is each source's. This module walks the
documents, counts every drop under the name of its reason with examples, and signs what it keeps. What personal data
are is data/privacy's matter; that they are replaced before anything is judged or shown is done here. What concerns many
documents at once is judged batch by batch (data/batches.py). Of near duplicates (data/near) and of lines that come in
many documents (data/boilerplate) it writes what they are found by, and of benchmarks (data/overlap) which of their
items were found.
"""

import json
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from data.batches import Batch, Kept
from data.boilerplate.config import LinesConfig
from data.boilerplate.tables import LineWriter
from data.cleaning import CleanConfig, judge, normal_form, normalise
from data.drops import DROPS_FILE, MAX_EXAMPLES, DropLog
from data.edits.editing import Editor
from data.facts import Facts, Progress, no_progress
from data.forgetting.tombstones import Sieve
from data.licences import is_redistributable
from data.near.bands import BandWriter
from data.near.config import NearConfig
from data.near.signatures import near_signatures
from data.overlap.decontaminating import CONTAMINATION_FILE, Decontamination, Decontaminator
from data.privacy.config import THINGS, Replaceable
from data.privacy.names import NameReplacer
from data.privacy.pipelines import Pipeline
from data.privacy.replacing import replace
from data.quality.c4 import CITATION_MARKS
from data.shards import DOCUMENTS, ShardWriter
from data.sources.base import Problem, RawDocument, SourceConfig

DOCUMENTS_FILE = "documents.parquet"
LICENCE, FORGOTTEN = "licence", "forgotten"  # reasons of drops
SIGNATURES_FILE = "signatures.npy"
_WHITE_SPACE = b" \t\n"


def clean_slot(
    documents: Iterable[RawDocument | Problem],
    out: Path,
    config: CleanConfig,
    source_name: str,
    licence: str,
    progress: Progress = no_progress,
    personal: bool = False,
    near: NearConfig | None = None,
    decontamination: Decontamination | None = None,
    lines: LinesConfig | None = None,
    drops: DropLog | None = None,
    forgotten: Sieve | None = None,
    pipeline: Pipeline | None = None,
) -> Facts:
    """Clean the documents of one slot.

    documents    in slot order; a Problem stands for a document that could not be read
    source_name  goes into the column `source`
    licence      of the source; a document's own licence goes before it
    progress     gets (documents so far, 0, "documents"): how many will come is not known
    personal     whether the source is of what people wrote to each other; then personal data are replaced by default
    near         how near duplicates are to be found; None: they are not, and nothing is written for it
    decontamination  benchmarks to be kept out of documents; None: documents are compared with none
    lines        which lines are counted; None: none are, and nothing is written for it
    drops        where drops are logged; a new log by default
    forgotten    tells documents that are dropped without a look at them, and without an example
    pipeline     finds people's names; needed where they are replaced

    Writes documents.parquet (schema `DOCUMENTS`; no file when nothing is kept), signatures.npy uint64
    (documents kept, 2), row i for document i, drops.json, with `near` the band table (data/near/bands.py), with `lines`
    the table of lines (data/boilerplate/tables.py), and with `decontamination` contamination.json, which items of
    benchmarks the documents held. Memory: one batch of text, and 16 bytes per document kept, with `near` some 800 more,
    with `lines` some 30 per line. Characters are code points;
    `characters_in` minus `characters_dropped` minus `characters_out` is what normalising, editing and replacing took
    away. `replaced_email` and so on count what was replaced in the documents kept, `edited_hyphenation` the documents
    kept that an edit changed, and `edits_hyphenation` how often it did; `c4_lines_removed_javascript` and so on count
    the lines taken out of them, `c4_citation_marks_removed` the marks taken out of other lines; `decontaminated_NAME`
    those that text of a benchmark was cut out of, `decontamination_cuts_NAME` how often. `language_en` and so on
    count all documents whose language was judged. The facts' notes name every problem, their details break
    `characters_dropped` down by reason, and have the spread of the scores of documents kept (data/scores.py).
    """
    drops = drops or DropLog()
    cut = DropLog()
    cuts: Counter[str] = Counter()  # by benchmark
    types = config.types_replaced(personal)
    replaced: Counter[Replaceable] = Counter()
    removed: Counter[str] = Counter()  # by C4's rules
    edited: Counter[str] = Counter()
    editor = Editor(config.edits, partial(normalise, config=config))
    licences: set[str] = set()
    signatures = bytearray()
    bands = BandWriter(near) if near else None
    line_table = LineWriter(lines) if lines else None
    documents_in = characters_in = characters_out = bytes_out = 0
    characters_dropped: Counter[str] = Counter()  # as they came, by reason
    problems: list[str] = []
    unread = 0
    decontaminator = Decontaminator(decontamination) if decontamination else None
    names = None
    if config.replaces_names(personal):
        if pipeline is None:
            raise ValueError("Names are to be replaced, and there is no pipeline to find them.")
        names = NameReplacer(pipeline, made_names=personal)
    batch = Batch(source_name, config, types, decontaminator, names)

    def keep() -> None:
        """Judge the documents of the batch together and write what is left of it."""
        nonlocal characters_out, bytes_out
        for row, reason, shown in batch.sift():
            drops.add(reason, row.document.native_id, row.document.position, len(row.text), shown)
            characters_dropped[reason] += len(row.document.text)
        contents = [row.text.encode() for row in batch.rows]
        for row, content in zip(batch.rows, contents, strict=True):
            characters_out += len(row.text)
            bytes_out += len(content)
            signatures.extend(sign(content))
            licences.add(row.licence)
            if row.replaced:
                replaced.update(row.replaced)
            if row.removed:
                removed.update(row.removed)
            if row.cut:
                cuts[row.cut.benchmark] += row.cut.cuts
                cut.add(row.cut.benchmark, row.document.native_id, row.document.position, len(row.text), row.cut.about)
            for name, count in row.edits.items():
                edited[f"edited_{name}"] += 1
                edited[f"edits_{name}"] += count
        if bands and near:
            bands.add(near_signatures([row.text for row in batch.rows], near))
        if line_table:
            line_table.add([row.text for row in batch.rows])
        writer.write(batch.drain(contents))

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
            if forgotten and forgotten.holds(document):
                drops.count(FORGOTTEN)
                continue
            characters_in += len(document.text)
            its_licence = document.licence or licence
            if config.licence_policy == "redistributable" and not is_redistributable(its_licence):
                drops.add(LICENCE, document.native_id, document.position, len(document.text), its_licence)
                characters_dropped[LICENCE] += len(document.text)
                continue
            text, its_edits = editor.edit(*normal_form(document.text, config))
            its_replaced: Counter[Replaceable] = Counter()
            if types:
                text, its_replaced = replace(text, types)
            if not names and (reason := judge(text, config)):
                drops.add(reason, document.native_id, document.position, len(text), text)
                characters_dropped[reason] += len(document.text)
                continue
            batch.add(Kept(document, text, its_licence, its_replaced, its_edits))
            if batch.is_full():
                keep()
                progress(documents_in, 0, "documents")
        keep()
    progress(documents_in, 0, "documents")
    rows = np.frombuffer(bytes(signatures), ">u8").astype(np.uint64).reshape(-1, 2)
    np.save(out / SIGNATURES_FILE, rows, allow_pickle=False)
    if bands:
        bands.write(out)
    if line_table:
        line_table.write(out)
    drops.write(out / DROPS_FILE)
    if decontaminator:
        report = {name: about | {"cut": cut.examples.get(name, [])} for name, about in decontaminator.report().items()}
        (out / CONTAMINATION_FILE).write_text(json.dumps(report, sort_keys=True) + "\n")
    counts = {
        "documents_in": documents_in,
        "documents_out": len(rows),
        "characters_in": characters_in,
        "characters_dropped": characters_dropped.total(),
        "characters_out": characters_out,
        "bytes_out": bytes_out,
    }
    if unread > len(problems):
        problems.append(f"In all, {unread:,} things could not be read.")
    dropped = {f"dropped_{reason}": count for reason, count in sorted(drops.counts.items())}
    placed = {f"replaced_{one}": replaced[one] for one in THINGS if replaced[one]}
    lost = {_field_of(rule): count for rule, count in sorted(removed.items())}
    freed = {f"decontaminated_{name}": count for name, count in sorted(cut.counts.items())}
    freed |= {f"decontamination_cuts_{name}": count for name, count in sorted(cuts.items())}
    spoken = {f"language_{code}": count for code, count in sorted(batch.languages.items())}
    details: dict[str, Any] = {}
    if characters_dropped:
        details["characters_dropped"] = dict(sorted(characters_dropped.items()))
    if scores := batch.scores.details():
        details["scores"] = scores
    return Facts(
        counts={**counts, **dropped, **placed, **dict(sorted(edited.items())), **lost, **freed, **spoken},
        licences=sorted(licences),
        notes=problems,
        details=details,
    )


class Beside(NamedTuple):
    """What is done beside cleaning while a slot's text is at hand, as `clean_slot` has it."""

    near: NearConfig | None = None
    decontamination: Decontamination | None = None
    lines: LinesConfig | None = None
    forgotten: Sieve | None = None
    pipeline: Pipeline | None = None


def clean_raw(
    source: SourceConfig,
    raw: Path,
    out: Path,
    config: CleanConfig,
    source_name: str,
    beside: Beside,
    progress: Progress,
) -> Facts:
    """Clean the documents of a fetched slot; what its reading notes is among the facts' notes."""
    notes: list[str] = []
    documents = source.read(raw, notes.append)
    facts = clean_slot(
        documents, out, config, source_name, source.licence, progress, source.personal, **beside._asdict()
    )
    facts.notes += notes
    return facts


def sign(content: bytes) -> bytes:
    """The 16-byte signature by which duplicates are found, of a normalised text given as UTF-8.

    It is the xxh3 of the text without its spaces, tabs and line feeds, so that copies wrapped or indented in
    another way are equal; every letter, its case and all punctuation count.
    """
    return xxhash.xxh3_128_digest(content.translate(None, _WHITE_SPACE))


def _field_of(rule: str) -> str:
    """The field of the facts that counts what a rule of C4's took out of documents."""
    return f"c4_{rule}_removed" if rule == CITATION_MARKS else f"c4_lines_removed_{rule}"
