"""Boilerplate in the stages: what documents write, which keys change, how a corpus grows, and what the report shows."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.boilerplate import tables
from data.boilerplate.config import LinesConfig
from data.boilerplate.join import FrequentLines
from data.boilerplate.lines import lines_of
from data.boilerplate.removal import LineRemoval
from data.boilerplate.tables import LineWriter
from data.cleaning import CleanConfig
from data.documents import clean_slot
from data.sources.base import RawDocument
from flows.corpus import corpus
from flows.recipe import Recipe
from tasks import duplicates
from tasks.corpus_facts import BOILERPLATE, DUPLICATES, gather_corpus_facts
from tasks.corpus_parts import find_corpus
from tasks.corpus_pictures import waterfall_rows
from tasks.report import FACTS_FILE, PAGE_FILE, report
from tasks.runtime import Runtime, open_store
from tests.report_toys import EVIL, toy_made, toy_run
from tests.test_boilerplate import obvious

NOTICE = "Subscribe to our newsletter today!"
EMPTY = "Nothing but this notice is to be found here."


pytestmark = pytest.mark.usefixtures("flow_server")


def test_documents_write_the_table_of_what_they_keep(tmp_path, monkeypatch):
    monkeypatch.setattr("data.batches._BATCH_ROWS", 7)
    texts = [f"{NOTICE}\nText number {'abcdefghijklmnopqrst'[n]} of them all" for n in range(20)] + ["short", NOTICE]
    raw = [RawDocument(str(number), text, meta={"look": 0}) for number, text in enumerate(texts)]
    folders = {name: tmp_path / name for name in ("with", "without", "expected")}
    for folder in folders.values():
        folder.mkdir()
    for name, config in (("with", LinesConfig()), ("without", None)):
        clean_slot(raw, folders[name], CleanConfig(), "mine", "CC0-1.0", lines=config)
    writer = LineWriter(LinesConfig())
    writer.add([text for text in texts if text != "short"])
    writer.write(folders["expected"])
    assert sorted(np.load(folders["with"] / tables.COUNTS_FILE).tolist()) == [1] * 20 + [21]
    for file in tables.FILES:
        assert (folders["with"] / file).read_bytes() == (folders["expected"] / file).read_bytes()
    others = {path.name: path.read_bytes() for path in folders["without"].iterdir()}
    assert others == {
        path.name: path.read_bytes() for path in folders["with"].iterdir() if path.name not in tables.FILES
    }


class Growing:
    """A folder of pages with a notice at the end, in slots, and their corpus."""

    def __init__(self, path):
        self.path = path
        (path / "texts").mkdir()
        self.store = open_store(str(path / "store"))

    def add(self, numbers):
        for number in numbers:
            name = "".join(chr(97 + int(digit)) for digit in f"{number:03d}")  # letters, for digits count as one
            text = f"This is page {name}, like no other page\n\n{name * 40}\n\n{NOTICE}"
            (self.path / "texts" / f"{number:03d}.txt").write_text(EMPTY if number % 5 == 4 else text)

    def build(self, lines, refresh=(), until="corpus"):
        """{stage: [(slot, key, {file: bytes}, counts)]}"""
        recipe = Recipe.model_validate({
            "sources": {"texts": {"kind": "folder", "path": str(self.path / "texts"), "slot_bytes": 700}},
            "duplicates": {"lines": lines},
            "split": {"validation_share": 0, "min_passages": 0},
        })  # fmt: skip
        runtime = Runtime(store=str(self.store.root))
        made = corpus(recipe=recipe, until=until, refresh=list(refresh), runtime=runtime)["artifacts"]
        found = {}
        for stage in ("documents", "duplicates", "corpus"):
            found[stage] = []
            for ref in map(self.store.resolve, made.get(stage, ())):
                files = {
                    one.name: one.read_bytes() for one in self.store.path(ref).glob("*.*") if one.suffix != ".json"
                }
                found[stage].append((ref.name, ref.key, files, self.store.manifest(ref).counts))
        return found


def texts_of(growing, built, stage, file):
    """The texts of each slot."""
    slots = []
    for name, key, _, _ in built[stage]:
        path = next((growing.store.root / stage).glob(f"{name}-{key}")) / file
        if name.startswith("texts-"):
            slots.append(pq.read_table(path)["text"].to_pylist() if path.exists() else [])
    return slots


def steps_of(growing):
    """What each rule took of the newest corpus, as its card has it."""
    made = find_corpus(growing.store)
    flow = gather_corpus_facts(growing.store, made.index, made.parts, "custom").all
    drawn = waterfall_rows([("all", [flow])], [step.name for step in flow.steps], "characters")
    assert drawn[0][1][0] - sum(parts[0] for _, parts in drawn[1:-1]) == drawn[-1][1][0]
    return [(step.name, step.documents, step.characters) for step in flow.steps]


def test_a_growing_corpus_keeps_its_lists_and_shards(tmp_path, monkeypatch):
    growing = Growing(tmp_path)
    growing.add(range(15))
    lines = {"max_occurrences": 5}
    first = growing.build(lines)
    assert len(first["duplicates"]) >= 4
    kept = texts_of(growing, first, "documents", "documents.parquet")
    expected = [text for slot in obvious(kept, LinesConfig(**lines)) for text in slot if text is not None]
    assert expected.count(EMPTY) == 3  # equal documents go all but one
    assert sum(NOTICE in text for text in expected) == 5
    left = [text for slot in texts_of(growing, first, "corpus", "train.parquet") for text in slot]
    assert left == [text for at, text in enumerate(expected) if text not in expected[:at]]
    distinct = list(dict.fromkeys(text for slot in kept for text in slot))
    assert steps_of(growing)[-2:] == [
        (DUPLICATES, 2, 2 * len(EMPTY)),
        (BOILERPLATE, len(distinct) - len(left), sum(map(len, distinct)) - sum(map(len, left))),
    ]
    joined = []
    join = duplicates._frequent_lines
    monkeypatch.setattr(duplicates, "_frequent_lines", lambda *given: joined.append(given[1]) or join(*given))
    growing.add(range(15, 22))
    grown = growing.build(lines)
    for stage in ("documents", "duplicates", "corpus"):
        slots = [one for one in first[stage] if one[0].startswith("texts-")]
        changed = [one[0] for one, new in zip(slots, grown[stage], strict=False) if one != new]
        assert changed in ([], [slots[-1][0]])  # the last slot may have had room
    missing = [number for number, one in enumerate(grown["duplicates"]) if one not in first["duplicates"]]
    assert joined == [missing] and 0 not in missing
    assert growing.build(lines, refresh=["duplicates", "corpus"]) == grown
    more = growing.build({"max_occurrences": 6})
    assert more["documents"] == grown["documents"]  # the number acts on the lists alone
    assert sum(NOTICE in text for slot in texts_of(growing, more, "corpus", "train.parquet") for text in slot) == 6
    without = growing.build(None)
    assert not {one[1] for one in without["documents"]} & {one[1] for one in grown["documents"]}
    assert "frequent_lines" not in without["duplicates"][0][3]
    assert all("dropped_boilerplate" not in one[3] for one in without["corpus"])
    assert sum(NOTICE in text for slot in texts_of(growing, without, "corpus", "train.parquet") for text in slot) == 18


def test_a_list_that_vanishes_between_look_up_and_building_is_complete_all_the_same(tmp_path, monkeypatch):
    growing = Growing(tmp_path)
    growing.add(range(15))
    first = growing.build({"max_occurrences": 2}, until="duplicates")
    join = duplicates._frequent_lines
    monkeypatch.setattr(
        duplicates, "_frequent_lines", lambda folders, wanted, *rest: join(folders, list(wanted)[-1:], *rest)
    )
    assert growing.build({"max_occurrences": 2}, ["duplicates"], "duplicates") == first


def test_the_report_shows_what_went(tmp_path):
    config = LinesConfig(max_occurrences=3)
    run = toy_run(tmp_path / "store")
    text = "Chapter 15. The miller of the 15th mill ground 105 sacks of grain, and sang of it all day long."
    key = lines_of([text], config).hashes
    removal = LineRemoval(config, FrequentLines(key, np.array([3], np.uint32)))
    made = toy_made(run, removal=removal, scored=False)
    folder = run.store.path(report(run, made, {}, "toy"))
    page = (folder / PAGE_FILE).read_text()
    assert "Lines taken out as boilerplate" in page and EVIL not in page
    counts = json.loads((folder / FACTS_FILE).read_text())["corpus"]["corpus"]
    assert counts["dropped_boilerplate"] == counts["boilerplate_lines_removed"] == 23  # 15 to 40, less 3
    other = toy_run(tmp_path / "other")
    plain = other.store.path(report(other, toy_made(other, scored=False), {}, "toy")) / PAGE_FILE
    assert "boilerplate" not in plain.read_text() and '<td class="words">boilerplate</td>' in page
