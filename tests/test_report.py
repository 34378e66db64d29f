"""The report: what it says, that it needs nothing but itself, and that the same artifacts make no second page."""

import json
import re
import shutil
import struct
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from data.cleaning import CleanConfig
from data.facts import Facts
from data.shards import read_texts
from data.tokenizers.load import load_tokenizer
from tasks.corpus_facts import gather_corpus_facts
from tasks.corpus_parts import find_corpus
from tasks.registry import identity
from tasks.report import FACTS_FILE, LOSS_PICTURE, PAGE_FILE, report_unit
from tasks.report_facts import gather_facts
from tasks.report_learning import read_samples
from tasks.run import Run, StageRecord
from tasks.runtime import Runtime
from tests.corpus_toys import SENTENCES, toy_corpus
from tests.report_toys import (
    BATCH,
    BINARY,
    CONTEXT,
    DROPPED,
    DUPLICATES,
    EVIL,
    KEPT,
    PARAMETERS,
    READ,
    STEPS,
    TOO_SHORT,
    toy_made,
    toy_run,
)

VOID = {"meta", "img", "source", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Reads a page: every tag must be closed in its order; keeps tags with attributes, ids, and the visible text."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def build(run, made, recipe=None, name="Toy recipe"):
    unit = report_unit(run, made, recipe or {"name": "toy"}, name)
    ref = run.store.build(
        unit.identity, unit.name, lambda b: unit.make(b, lambda done, total, kind, note="": None), unit.inputs
    )
    return ref, run.store.path(ref)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A run, what it made, its report's folder and the page."""
    run = toy_run(tmp_path_factory.mktemp("report") / "store")
    made = toy_made(run)
    run.notes.append("books: scan.pdf: no text file")
    run.records = {"documents": StageRecord([], 1, 0, 0.1), "model": StageRecord([], 0, 1, 75.0)}
    ref, folder = build(run, made)
    return run, made, ref, folder, (folder / PAGE_FILE).read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_needs_nothing_but_itself(toy):
    html = toy[4]
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")]
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "srcset", "href", "style"):
            value = attributes.get(name) or ""
            assert "//" not in value.split("base64,")[0]
            assert name in ("style",) or not value or value[0] == "#" or value.startswith("data:image/png;base64,")
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= set(ids)
    assert {a["href"].removeprefix("#") for a in page.all("a")} <= set(ids)


def test_headings_go_down_one_level_at_a_time_and_pictures_are_described(toy):
    page = Page(toy[4])
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    alternatives = [image["alt"] for image in page.all("img")]
    assert len(alternatives) == 3
    assert "Training loss goes from 5.99 to 3.00 over 300 steps." in alternatives[0]  # 6 - step / 100
    assert "Validation loss goes from 5.10 to 3.10" in alternatives[0]  # 6.1 - step / 100
    assert "from 2.67 to 2.00" in alternatives[1]  # 3 - step / 300
    assert f"Of {READ} documents {KEPT} are kept" in alternatives[2]


def test_overlap_and_benchmarks_are_on_the_page_and_in_the_facts(toy):
    run, made, _, folder, html = toy
    facts = json.loads((folder / FACTS_FILE).read_text())
    assert facts["benchmarks"] == [{"name": "quiz", "items": 3, "comparable": 2, "found": 1, "dropped": 1, "cut": 0}]
    assert facts["overlap"] == json.loads((run.store.path(made.overlap) / "overlap.json").read_text())
    held_out = facts["corpus"]["corpus"]["validation_passages"]
    assert facts["overlap"]["sources"]["books"]["passages"] == held_out > 0
    text = Page(html).text
    assert "Benchmarks kept out" in text and "quiz 3 2 1 1 0" in text
    assert f"held out compared shared of compared Runs shared of all books {held_out} " in text
    assert f"{DUPLICATES} dropped copies of earlier documents" in text
    assert "0 matches between text for training and text held out are left" in text


def test_the_numbers_are_on_the_page(toy):
    text = Page(toy[4]).text
    assert "1.877 bits per byte" in text and "95% interval 1.753 to 1.998" in text
    assert "Validation loss 3.210" in text and "Perplexity 24.8" in text
    assert f"Parameters {PARAMETERS:,}" in text and f"Steps {STEPS}" in text
    assert f"Tokens seen {STEPS * BATCH * CONTEXT:,}" in text and "Training time 1 min 15 s" in text
    assert f"books {READ} {DROPPED} {DUPLICATES} {KEPT}" in text  # of the corpus table
    assert f"too short {TOO_SHORT}" in text and f"binary {BINARY}" in text and "tiny" in text
    assert "CC-BY-4.0 books" in text
    assert "Kind bpe Vocabulary 300" in text


def test_the_text_at_several_steps_stands_side_by_side(toy):
    text = Page(toy[4]).text
    for step in (0, 3, 100):  # the first, and two spread over those between it and the last
        assert f"Step {step} The miller written at step {step}" in text
    assert "Step 300" not in text and text.count("Best weights") == 2


def test_text_of_others_cannot_become_part_of_the_page(toy):
    html = toy[4]
    assert "<script" not in html and "onerror=alert(2)>" not in html
    assert EVIL in Page(html).text  # shown as it is, twice escaped nowhere
    assert "\x00" not in html and "\u202e" not in html and "��plain" in html


def test_what_each_rule_took_is_on_the_page(toy):
    text = Page(toy[4]).text
    assert "What each rule took" in text and "books too short 3 6.2%" in text and "binary 1 2.1% 0" in text
    kept = [f"Chapter {i}. The miller of the {i}th mill ground {i * 7} sacks of grain, and sang of it all day long."
            for i in range(KEPT)]  # fmt: skip
    assert f"Duplicates {DUPLICATES} equal to earlier documents, 0 similar." in text
    assert f"64 to 127 {KEPT}" in text  # lengths
    assert f"CC-BY-4.0 books {sum(map(len, kept)) / 1000:.3g} kB 100.0%" in text


def test_clusters_languages_edits_and_drift_are_on_the_page(toy, tmp_path, monkeypatch):
    run, made = toy[:2]
    other = Run("Toy", Runtime(store=str(tmp_path / "store")))
    texts = {f"{n}.txt": f"{SENTENCES[n]}\u200b" for n in range(30)}
    cleaning = CleanConfig(languages={"wanted": ["en"], "min_confidence": 0}, edits={"invisible": True})
    slots = [("web", texts), ("web", {f"copy {name}": text for name, text in texts.items()})]
    toy_corpus(other.store, "Toy", slots[:1], cleaning=cleaning)
    index = toy_corpus(other.store, "Toy", slots, cleaning=cleaning)
    facts = gather_corpus_facts(other.store, index, find_corpus(other.store).parts, "Toy")
    monkeypatch.setattr("tasks.report._read_corpus", lambda *_: facts)
    unit = report_unit(run, made, {}, "toy")
    other_page = other.store.build(
        unit.identity, "page", lambda b: unit.make(b, lambda done, total, kind, note="": None), unit.inputs
    )
    text = Page((other.store.path(other_page) / PAGE_FILE).read_text(encoding="utf-8")).text
    assert "30 equal to earlier documents, 0 similar. They form 30 clusters; the largest has 2 documents." in text
    assert "Clusters by their documents: 2 to 3 30 ." in text
    judged = text.partition("Judged and edited")[2][:150]
    assert "Languages of the documents judged en 60" in judged, judged
    assert "Documents edited invisible 60 (60 times)" in judged, judged
    assert "Suddenly dropped web: duplicates drops 100.0% of what is new (30 of 30 documents)" in text
    assert "Compared with the corpus of 20" in text


def test_notes_of_the_run_and_of_every_artifact_are_shown(toy):
    text = Page(toy[4]).text
    assert "3 notes" in text
    assert "books: scan.pdf: no text file this run" in text
    assert "books: notes/latin.txt: read as Windows-1252 raw books-0000" in text  # upstream of what the run names
    assert "cover.jpg: binary" in text


def test_builds_are_cited_with_their_times_and_what_they_were_made_from(toy):
    run, made, _, _, html = toy
    text = Page(html).text
    for ref in (*made.refs(), *run.store.find("raw", [m.key for m in run.store.manifests("raw")]).values()):
        assert f"{ref.name}-{ref.key}" in text
    assert "model tokenizer, tokens toy-" in text
    seconds = json.loads((run.store.path(made.tokenizer) / "observed" / "build.json").read_text())["seconds"]
    assert f"tokenizer corpus {made.tokenizer.name}-{made.tokenizer.key} {seconds:.1f} s" in text
    assert text.count(" reused ") >= 1 and " built " in text and "not run" in text
    assert "prefect 3.8.8" in text


def test_pictures_are_png_of_the_announced_size(toy):
    for name in (LOSS_PICTURE, "observed/bits_per_byte.png"):
        content = (toy[3] / name).read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n" and content[-8:-4] == b"IEND"
        assert struct.unpack(">II", content[16:24]) == (1024, 640)
        assert len(content) < 150_000


def test_facts_hold_what_the_payloads_say_and_nothing_else(toy):
    run, made, _, folder, _ = toy
    text = (folder / FACTS_FILE).read_text()
    facts = json.loads(text)
    assert text == json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    assert facts["tokens_seen"] == STEPS * BATCH * CONTEXT
    assert facts["corpus"]["documents"]["documents_in"] == READ
    assert facts["corpus"]["corpus"]["documents_out"] == KEPT
    assert facts["evaluation"]["bits_per_byte"] == 1.8765
    assert {artifact["key"] for artifact in facts["artifacts"]} == {ref.key for ref in made.refs()}
    for word in ("seconds", str(run.store.root), "created", "3.8.8"):
        assert word not in text


def test_bytes_per_token_counts_text_and_no_marks(toy):
    run, made = toy[:2]
    shards = run.store.path(made.corpus[0])
    texts = [t for side in ("train", "validation") for b in read_texts(shards / f"{side}.parquet") for t in b]
    encode = load_tokenizer(run.store.path(made.tokenizer)).encode_ordinary
    expected = sum(len(text.encode()) for text in texts) / sum(len(encode(text)) for text in texts)
    assert gather_facts(run.store, made).corpus.bytes_per_token == pytest.approx(expected, rel=1e-12)


def test_the_same_artifacts_make_no_second_page(toy):
    run, made, ref, folder, _ = toy
    before = (folder / PAGE_FILE).stat().st_mtime_ns
    pages = len(list(run.store.manifests("report")))
    again, same_folder = build(run, made, {"name": "renamed"}, "Another name")
    assert (again, same_folder) == (ref, folder)
    assert (folder / PAGE_FILE).stat().st_mtime_ns == before
    assert len(list(run.store.manifests("report"))) == pages


def test_several_sources_are_shown_each_and_together(toy):
    run, made = toy[:2]
    names = json.dumps({"slots": [{"source": "books"}, {"source": "web"}, {"source": "web"}]})
    index = run.store.build(
        identity("corpus", {"index": 3}, {}),
        "three",
        lambda b: Facts({"slots": (b.out / "index.json").write_text(names)}),
    )
    trained = run.store.manifest(made.model)

    def copy(build):
        for file in ("model.safetensors", "samples.jsonl"):
            shutil.copyfile(run.store.path(made.model) / file, build.out / file)
        return Facts(trained.counts, details=trained.details)

    weighted = identity("model", trained.recipe.config | {"arrays": [{"weight": 3.0}, {"weight": 1.0}]}, {})
    model = run.store.build(weighted, "two sources", copy)
    three = replace(
        made,
        index=index,
        model=model,
        documents=made.documents * 3,
        corpus=made.corpus * 3,
        tokens=made.tokens * 3,
    )
    text = Page((build(run, three)[1] / PAGE_FILE).read_text(encoding="utf-8")).text
    for name, slots in (("books", 1), ("web", 2), ("all", 3)):
        assert f"{name} {READ * slots} {DROPPED * slots} {DUPLICATES * slots} {KEPT * slots}" in text
    assert "of text from books, web." in text
    seen, tokens = STEPS * BATCH * CONTEXT, run.store.manifest(made.tokens[0]).counts["train_tokens"]
    assert f"75.0% {0.75 * seen / tokens:.2f}" in text  # 3 of 4, of the tokens of one slot
    assert f"25.0% {0.25 * seen / (2 * tokens):.2f}" in text


def test_the_page_does_without_evaluation_and_metrics(tmp_path):
    run = toy_run(tmp_path / "store")
    run.notes.append("There is no validation text.")
    long = "x" * 100_000
    _, folder = build(run, toy_made(run, scored=False, metrics=False, evil=long), name="<b>bold</b>")
    html = (folder / PAGE_FILE).read_text(encoding="utf-8")
    page = Page(html)
    assert "Not scored" in page.text and "There is no validation text." in page.text
    assert len(page.all("img")) == 1 and not (folder / LOSS_PICTURE).exists()
    assert page.text.count("Best weights") == 2 and "Step " not in page.text
    assert "<b>bold</b>" in page.text and len(re.sub('base64,[^"]*', "", html)) < 60_000


def test_earlier_texts_belong_to_the_prompts_that_the_model_was_given(tmp_path):
    """A reused model was sampled with the prompts of its time; their texts must not appear below other prompts."""
    run = toy_run(tmp_path / "store")
    made = toy_made(run, model_prompts=["The miller", "Something else"])
    new, miller = read_samples(run.store, made, lambda ids: f"{len(ids)} ids")
    assert [attempt.label for attempt in new.attempts] == ["Best weights"]
    assert [attempt.label for attempt in miller.attempts] == ["Step 0", "Step 3", "Step 100", "Best weights"]
