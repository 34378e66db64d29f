"""The corpus card: its numbers against counting texts, drift since the corpus before, and that no run depends on it."""

import json
import logging
from collections import Counter

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from data.cleaning import CleanConfig
from data.near.config import NearConfig
from tasks import corpus_card as card_module
from tasks.corpus_card import publish_corpus_card
from tasks.corpus_facts import DUPLICATES, EDITING, UNSAID, TextFlow, gather_corpus_facts
from tasks.corpus_parts import find_corpus, indexes
from tasks.corpus_pictures import draw_waterfall, waterfall_rows
from tasks.registry import VERSIONS
from tasks.run import Run, StageRecord
from tasks.runtime import Runtime
from tasks.slots import Slot
from tests.corpus_toys import SENTENCES, toy_corpus

LONG = "The old mill by the river had been still for years, and the wheel was green with moss when we came. " * 6
BOOKS = {
    "a.txt": LONG,
    "b.txt": SENTENCES[0],
    "c.txt": LONG,
    "short.txt": "too short",
    "e.txt": "Grüße <b>| *aus* Bonn",
}
NOTES = {"d.txt": "Trailing spaces go away.   \n\n\n\n\n\nAnd blank lines.", "x.txt": "tiny", "y.txt": SENTENCES[1]}


@pytest.fixture
def run(tmp_path):
    return Run("Toy", Runtime(store=str(tmp_path / "store")))


def facts_of(run, index, name="Toy"):
    return gather_corpus_facts(run.store, index, find_corpus(run.store, str(index)).parts, name)


def slots_of(run, index):
    """Documents, drop lists and shards as the stages hand them over."""
    parts = find_corpus(run.store, str(index)).parts
    return [
        [Slot(part.source, part.number, "", part.label, getattr(part, what).ref) for part in parts]
        for what in ("documents", "drops", "shards")
    ]


def published(run, index, monkeypatch):
    """The card that Prefect is given, and its key."""
    given = []
    monkeypatch.setattr(card_module, "create_markdown_artifact", lambda card, **more: given.append((card, more["key"])))
    publish_corpus_card(run, *slots_of(run, index), index)
    (found,) = given
    return found


def test_facts_are_what_counting_texts_gives(run):
    index = toy_corpus(run.store, "Toy", [("books", BOOKS), ("notes", NOTES)])
    facts = facts_of(run, index)
    books, notes = facts.sources
    assert (books.documents_in, books.documents_kept, books.equal, books.similar) == (5, 3, 1, 0)
    assert books.reasons == notes.reasons == {"too_short": 1}
    assert facts.all.characters_in == sum(map(len, (*BOOKS.values(), *NOTES.values())))
    kept = [LONG.rstrip(), SENTENCES[0], BOOKS["e.txt"], "Trailing spaces go away.\n\n\nAnd blank lines.", SENTENCES[1]]
    assert facts.all.characters_kept == sum(map(len, kept))
    sizes = [len(text.encode()) for text in kept]
    assert facts.all.bytes_kept == sum(sizes) and facts.all.licences == {"unknown": sum(sizes)}
    assert facts.all.lengths == dict(sorted(Counter(1 << (size.bit_length() - 1) for size in sizes).items()))
    took = {step.name: (step.documents, step.characters) for step in facts.all.steps}
    assert took == {
        "too_short": (2, len("too short") + len("tiny")),
        EDITING: (0, 2 + len(NOTES["d.txt"]) - len(kept[3])),  # a space at both copies' ends, and what d.txt lost
        DUPLICATES: (1, len(kept[0])),
    }
    assert (facts.clusters.count, facts.clusters.largest, facts.clusters.sizes) == (1, 2, {2: 1})
    assert facts.drift.before is None and not facts.all.tokens


def test_characters_are_broken_down_by_rule_wherever_it_judges(run):
    """Before a batch (too_short, licence), or with the batch (languages)."""
    german = "Die alte Mühle am Fluss stand seit Jahren still, und das Rad war grün von Moos, als wir kamen."
    cleaning = CleanConfig(languages={"wanted": ["en"]})
    flow = facts_of(run, toy_corpus(run.store, "Toy", [("books", BOOKS | {"g.txt": german})], cleaning=cleaning)).all
    took = {step.name: (step.documents, step.characters) for step in flow.steps}
    assert took["language"][0] >= 1 and took["too_short"] == (1, len("too short")) and UNSAID not in took
    assert flow.lost["language"] == len(german) + (took["language"][0] - 1) * len(BOOKS["e.txt"])
    assert sum(flow.lost.values()) == flow.documents["characters_dropped"]
    strict = CleanConfig(licence_policy="redistributable")
    flow = facts_of(run, toy_corpus(run.store, "Toy", [("books", BOOKS), ("notes", NOTES)], cleaning=strict)).all
    assert flow.lost == {"licence": flow.characters_in} and flow.documents_kept == 0 and flow.licences == {}


def test_a_waterfall_ends_where_its_steps_lead(run):
    facts = facts_of(run, toy_corpus(run.store, "Toy", [("books", BOOKS), ("notes", NOTES)]))
    groups = [(flow.name, [flow]) for flow in facts.sources]
    rows = waterfall_rows(groups, ["too_short", EDITING], "documents")
    assert rows == [
        ("read", [5, 3]),
        ("too_short", [1, 1]),
        (EDITING, [0, 0]),
        ("other rules", [1, 0]),
        ("kept", [3, 2]),
    ]
    for what in ("documents", "characters"):
        rows = waterfall_rows(groups, ["too_short"], what)
        for column in range(2):
            first, *steps, last = (parts[column] for _, parts in rows)
            assert first - sum(steps) == last
    assert draw_waterfall(facts, "dark")[:8] == b"\x89PNG\r\n\x1a\n"


def test_older_artifacts_without_breakdowns_still_add_up():
    counts = {"documents_in": 9, "characters_in": 900, "characters_dropped": 300, "characters_out": 590}
    flow = TextFlow("old", 1, counts | {"dropped_too_short": 4}, {"train_characters": 590}, 0, {}, {}, {}, {})
    assert [(step.name, step.documents, step.characters) for step in flow.steps] == [
        ("too_short", 4, 0),
        (UNSAID, 0, 300),
        (EDITING, 0, 10),
    ]


def test_what_copies_and_lines_took_is_shown_behind_however_many_rules(run):
    counts = {f"dropped_rule_{number:02d}": 100 - number for number in range(30)} | {"characters_out": 500}
    kept = {"duplicates_dropped": 2, "dropped_boilerplate": 1, "boilerplate_characters_removed": 30}
    flow = TextFlow("all", 1, counts, kept | {"train_characters": 400}, 0, {}, {}, {}, {})
    shown = card_module._steps(flow).splitlines()
    assert shown[-2:] == ["| duplicates | 2 | 200.0% | 70 |", "| boilerplate | 1 | 100.0% | 30 |"]
    assert "rule 19" in shown[-4] and "editing" in shown[-3]


def test_the_card_says_what_was_read_dropped_and_kept(run, monkeypatch):
    index = toy_corpus(
        run.store,
        "Toy",
        [("books", BOOKS | {"f.txt": "Write to miller@example.org, or not at all."}), ("notes", NOTES)],
        NearConfig(),
        CleanConfig(privacy="on", languages={"wanted": ["en", "de"], "min_confidence": 0}),
    )
    run.records["corpus"] = StageRecord(built=1)
    card, key = published(run, index, monkeypatch)
    assert key == "corpus-toy" and card.startswith("# Corpus of Toy\n")
    assert "**6 of 9 documents** are kept" in card
    assert "| books | 6 | 1 | 1 | 4 |" in card and "| notes | 3 | 1 | 0 | 2 |" in card and "| all | 9 |" in card
    assert "| too short | 2 | 22.2% | 13 |" in card and "| duplicates | 1 | 11.1% |" in card
    assert "Duplicates: 1 equal to earlier documents, 0 similar. They form 1 cluster;" in card
    assert "- Personal data replaced: e-mail addresses 1." in card
    assert "- Languages of the documents judged: en" in card
    assert "| unknown |" in card and "100.0%" in card
    assert "512 to         1,023            1" in card and "too short: short.txt: too short" in card
    assert "data:image/png;base64," in card and len(card) < 200_000


def test_a_card_of_a_run_that_reused_everything_has_no_picture(run, monkeypatch):
    index = toy_corpus(run.store, "Toy", [("books", BOOKS)])
    run.records["corpus"] = StageRecord(reused=2)
    card, _ = published(run, index, monkeypatch)
    assert "data:image" not in card and "| too short | 1 |" in card and list(run.records) == ["corpus"]


def test_text_of_strangers_stays_text_on_the_card(run, monkeypatch):
    evil = {"e.txt": "<i>|x|`", "f.txt": LONG}
    card, _ = published(run, toy_corpus(run.store, "Toy", [("books", evil)]), monkeypatch)
    assert "&lt;i&gt;\\|x\\|\\`" in card and "<i>" not in card


def many(short, good, start=0):
    """A file with so many documents that are too short and that are not."""
    texts = [f"s {n}" for n in range(start, start + short)]
    texts += [f"{SENTENCES[n % 40]} Number {n} of many." for n in range(start, start + good)]
    return {f"{start}.jsonl": "".join(json.dumps({"text": text}) + "\n" for text in texts)}


def test_a_rule_that_suddenly_takes_much_more_is_flagged_and_logged(run, monkeypatch, caplog):
    before = [("web", many(2, 100)), ("books", BOOKS)]
    toy_corpus(run.store, "Toy", before)
    index = toy_corpus(run.store, "Toy", [*before, ("web", many(30, 70, start=200))])
    with caplog.at_level(logging.WARNING, "textmill"):
        run.records["corpus"] = StageRecord(reused=3)
        published(run, index, monkeypatch)
        assert not caplog.records and not run.notes, "it was told when the corpus was made"
        run.records["corpus"] = StageRecord(built=1)
        card, _ = published(run, index, monkeypatch)
    line = "web: too_short drops 30.0% of what is new (30 of 100 documents), and dropped 2.0% in the corpus before."
    assert [record.getMessage() for record in caplog.records if record.name == "textmill"] == [line]
    assert run.notes == [line]
    assert "## Suddenly dropped" in card and "30 of 100 documents" in card


@pytest.mark.parametrize(
    ("before", "now", "rules"),
    [
        ((2, 100), (19, 30), []),  # too few to tell
        ((10, 100), (40, 60), []),  # 40% after 9% is no five times as much
        ((10, 100), (60, 40), ["too_short"]),
        ((0, 100), (20, 700), []),  # 2.8%, and none of 100 may well be 1%
        ((0, 1000), (20, 700), ["too_short"]),
    ],
)
def test_noise_is_not_flagged(run, before, now, rules):
    toy_corpus(run.store, "Toy", [("web", many(*before))])
    grown = [("web", many(*before)), ("web", many(*now, start=2000))]
    drift = facts_of(run, toy_corpus(run.store, "Toy", grown)).drift
    assert drift.before is not None and [jump.rule for jump in drift.jumps] == rules


def test_copies_count_as_a_rule_and_only_the_same_recipe_is_compared(run):
    first = [("web", many(0, 100))]
    toy_corpus(run.store, "Toy", first)
    copies = [*first, ("web", {"copy.jsonl": many(0, 30)["0.jsonl"]})]
    index = toy_corpus(run.store, "Toy", copies)
    (jump,) = facts_of(run, index).drift.jumps
    assert (jump.rule, jump.documents, jump.of, jump.share_before) == ("duplicates", 30, 30, 0.0)
    assert facts_of(run, index, "Another").drift.before is None
    oldest = indexes(run.store)[0]
    assert facts_of(run, oldest.ref).drift.before is None  # a later one is none before it


@pytest.mark.filterwarnings("ignore:Artifact creation outside")
def test_a_run_goes_on_when_prefect_does_not_take_its_card(run, caplog):
    index = toy_corpus(run.store, "Toy", [("books", BOOKS)])
    closed = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(closed), caplog.at_level(logging.WARNING, "textmill"):
        publish_corpus_card(run, *slots_of(run, index), index)
        publish_corpus_card(run, *slots_of(run, index)[:2], [], index)  # nor when it cannot be made
    messages = [record.getMessage() for record in caplog.records if record.name == "textmill"]
    assert len(messages) == 2 and all("corpus card" in message for message in messages)


def test_the_page_about_a_corpus_is_made_again_with_its_new_section():
    assert VERSIONS["report"] == 5
