"""People's names, found by real pipelines of spaCy's that are made here."""

import json
import re
import shutil
import sys
import time
from dataclasses import replace as changed
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data import ending
from data.cleaning import CleanConfig
from data.documents import clean_slot
from data.privacy import names
from data.privacy.names import NameReplacer, cut_lines
from data.privacy.pipelines import UnusablePipelineError, find_pipeline, pipeline_for
from data.sources.base import RawDocument
from data.sources.chats.conversations import ConversationBuilder, Message
from data.sources.chats.pseudonyms import KeyedNames, NumberedNames
from tasks.report_facts import SourceFacts
from tests.name_pipelines import PEOPLE, SENTENCES, by_patterns, with_recogniser

LABELS = ("PERSON", "PER")
PEOPLE_OF_RULER = (
    "Ann",
    "Ann Lee",
    "Bob Miller",
    "“Bob Miller",
    "Ann's",
    "EMAIL",
    "NAME",
    "Ann <",
    "1984",
    "Bob\nMiller",
)


def test_cut_texts_are_whole_and_short_enough():
    assert [*cut_lines("", 3)] == []
    text = "One.\n\nTwo, three.\nFour five six"
    assert [text[slice(*span)] for span in cut_lines(text, 14)] == ["One.\n\n", "Two, three.\n", "Four five six"]
    assert [text[slice(*span)] for span in cut_lines(text, 5)] == [
        *("One.\n", "\n", "Two, ", "three", ".\n", "Four ", "five ", "six")
    ]


@settings(deadline=None)
@given(st.text("ab \n", max_size=60), st.integers(1, 12))
def test_nothing_is_lost_by_cutting(text, longest):
    parts = [text[slice(*span)] for span in cut_lines(text, longest)]
    assert "".join(parts) == text and all(0 < len(part) <= longest for part in parts)


@pytest.mark.parametrize(
    "wrong", [{"names": ""}, {"name_labels": []}, {"names_in": "books"}, {"privacy_types": ["name"]}]
)
def test_a_wrong_config_is_refused(wrong):
    with pytest.raises(ValidationError):
        CleanConfig(**wrong)


def test_where_names_are_replaced():
    assert not CleanConfig().replaces_names(True)
    everywhere, chats = CleanConfig(names="x", privacy="off"), CleanConfig(names="x", names_in="chats", profile="web")
    assert [one.replaces_names(personal) for one in (everywhere, chats) for personal in (True, False)] == [
        *(True, True, True, False)
    ]
    assert chats.identity(False) == CleanConfig(profile="web").identity(False)
    assert pipeline_for(chats, False, Path("/")) is None


def test_without_spacy_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(UnusablePipelineError, match=r"en_core_web_sm.*pip install -c constraints.txt -e '\.\[names\]'"):
        find_pipeline("en_core_web_sm", LABELS, tmp_path)


def test_the_report_names_what_was_replaced():
    facts = SourceFacts("chat", 1, {"replaced_name": 1200, "replaced_email": 1}, {}, {}, ())
    assert facts.replaced == ["1 e-mail address", "1,200 people's names"]


@pytest.fixture(scope="module")
def spacy():
    return pytest.importorskip("spacy", reason="needs the extra names")


@pytest.fixture(scope="module")
def ruler(spacy, tmp_path_factory):
    return by_patterns(tmp_path_factory.mktemp("ruler") / "toy", PEOPLE_OF_RULER, ["Bob Miller Ltd"])


@pytest.fixture(scope="module")
def learnt(spacy, tmp_path_factory):
    return with_recogniser(tmp_path_factory.mktemp("learnt") / "toy", rounds=25)


@pytest.mark.parametrize(
    ("text", "expected", "count"),
    [
        ("Ann Lee met Bob Miller.", "<NAME> met <NAME>.", 2),
        ("Ann Lee’s and Ann's mill", "<NAME>’s and <NAME>'s mill", 2),
        ("She said: “Bob Miller” (Ann)", "She said: “<NAME>” (<NAME>)", 2),
        ("Bob\nMiller", "<NAME>\n<NAME>", 2),
        ("Write to Ann <EMAIL>, <NAME> or <PHONE>", "Write to <NAME> <EMAIL>, <NAME> or <PHONE>", 1),
        ("Ann\u0338 \u0338Ann", "Ann\u0338 \u0338Ann", 0),
        ("Bob Miller Ltd sold it in 1984.", "Bob Miller Ltd sold it in 1984.", 0),
        ("An annual miller, bob and lee.", "An annual miller, bob and lee.", 0),
        ("", "", 0),
    ],
)
def test_names_go_and_all_else_stays(ruler, text, expected, count):
    replacer = NameReplacer(find_pipeline(ruler, LABELS, Path("/")), made_names=True)
    assert replacer.replace([text]) == [(expected, count)]


def test_other_labels_are_other_names(ruler):
    replacer = NameReplacer(find_pipeline(ruler, ["ORG"], Path("/")), made_names=True)
    assert replacer.replace(["Ann of Bob Miller Ltd"]) == [("Ann of <NAME>", 1)]


@pytest.mark.parametrize("made", [KeyedNames(b"k" * 32, "discord"), NumberedNames()], ids=["keyed", "numbered"])
def test_made_names_of_authors_stay_in_chats(spacy, tmp_path, made):
    builder = ConversationBuilder(30, 10_000, made)
    messages = [
        Message("1", 1, "7", "I am Ann Lee, and <@8> is Bob Miller."),
        Message("2", 2, "8", "No."),
        Message("3", 3, "9", "Who?", reply_to="1"),
        Message("4", 4, "7", "Ann Lee, not <@9>'s u/" + made.name("9")),
    ]
    [conversation] = builder.conversations(messages)
    given_names = [made.name(one) for one in "789"]
    pipeline = find_pipeline(
        by_patterns(tmp_path / "toy", [*given_names, f"@{given_names[1]} is Bob Miller", "Ann Lee"]),
        LABELS,
        tmp_path,
    )
    [(text, count)] = NameReplacer(pipeline, made_names=True).replace([conversation.text])
    assert text == conversation.text.replace("Ann Lee", "<NAME>").replace(
        f"{given_names[1]} is Bob Miller", f"{given_names[1]} <NAME>"
    )
    assert count == 3
    [(text, _)] = NameReplacer(pipeline, made_names=False).replace([conversation.text])
    assert not any(one in text.split(":")[0] for one in given_names)


def test_long_texts_and_many_are_replaced_as_each_line_is(ruler, monkeypatch):
    replacer = NameReplacer(find_pipeline(ruler, LABELS, Path("/")), made_names=True)
    lines = [f"{number} Ann Lee met Bob Miller and nobody else." for number in range(40)]
    texts = ["\n".join(lines[:at]) for at in (40, 1, 0, 7)]
    expected = [re.sub("Ann Lee|Bob Miller", "<NAME>", text) for text in texts]
    monkeypatch.setattr(names, "_PIECE", 100)
    monkeypatch.setattr(names, "_AT_ONCE", 250)
    assert [text for text, _ in replacer.replace(texts)] == expected
    assert [count for _, count in replacer.replace(texts)] == [80, 2, 0, 14]


class StoppedAt(list):
    """Texts that are read while the run is told to end: when the one with this number is asked for."""

    number = 2

    def __getitem__(self, number):
        if number == self.number:
            ending.begin()
        self.last = number
        return super().__getitem__(number)


def test_a_stop_is_heard_between_pieces_of_a_batch(ruler, monkeypatch):
    replacer = NameReplacer(find_pipeline(ruler, LABELS, Path("/")), made_names=True)
    monkeypatch.setattr(names, "_AT_ONCE", 10)
    texts = StoppedAt(f"{number} Ann Lee met Bob Miller." for number in range(20))
    try:
        with pytest.raises(ending.EndingError):
            replacer.replace(texts)
    finally:
        ending.reset()
    assert texts.last == texts.number


def test_a_text_longer_than_spacy_takes_is_cut(ruler):
    word = "x" * 1_000
    text = " ".join(["Ann Lee", *[word] * 1_000, "Bob Miller"])
    assert len(text) > 1_000_000
    replacer = NameReplacer(find_pipeline(ruler, LABELS, Path("/")), made_names=True)
    assert replacer.replace([text]) == [(" ".join(["<NAME>", *[word] * 1_000, "<NAME>"]), 2)]


@pytest.mark.parametrize("piece", ["(", "-=", "a.", "://", "x", "界", "Ann<"])
def test_hostile_text_takes_no_long(ruler, piece):
    replacer = NameReplacer(find_pipeline(ruler, LABELS, Path("/")), made_names=True)
    middle = piece * (20_000 // len(piece))
    replacer.replace(["Ann"])
    begun = time.process_time()
    assert replacer.replace([f"Ann Lee {middle} Ann Lee"]) == [(f"<NAME> {middle} <NAME>", 2)]
    assert time.process_time() - begun < 3


def test_a_recogniser_that_learnt_is_loaded_alone_and_finds_what_the_whole_finds(spacy, learnt):
    pipeline = find_pipeline(learnt, LABELS, Path("/"))
    assert pipeline.exclude == ("tok2vec", "tagger", "sentencizer")
    assert names._loaded(pipeline).pipe_names == ["ner"]
    pairs = [(sentence, name) for sentence in SENTENCES for name in PEOPLE]
    texts = [sentence.format(name) for sentence, name in pairs]
    got = NameReplacer(pipeline, made_names=True).replace(texts)
    assert [count for _, count in got] == [len(document.ents) for document in spacy.load(learnt).pipe(texts)]
    right = [one for one, (sentence, _) in zip(got, pairs, strict=True) if one == (sentence.format("<NAME>"), 1)]
    assert len(right) >= 18


def test_what_it_listens_to_stays(spacy, tmp_path):
    pipeline = find_pipeline(with_recogniser(tmp_path / "toy", listening=True), LABELS, tmp_path)
    assert pipeline.exclude == ("tagger", "sentencizer")
    NameReplacer(pipeline, made_names=True).replace(["Ann Lee came."])
    assert names._loaded(pipeline).pipe_names == ["tok2vec", "ner"]


def test_an_installed_package_is_found_by_its_name(tmp_path, ruler, monkeypatch):
    package = tmp_path / "en_toy"
    shutil.copytree(ruler, package / "en_toy-1.0")
    (package / "__init__.py").write_text(
        "from pathlib import Path\nfrom spacy.util import load_model_from_init_py\n"
        "def load(**overrides):\n    return load_model_from_init_py(__file__, **overrides)\n"
    )
    shutil.copy(Path(ruler) / "meta.json", package)
    info = tmp_path / "en_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: en_toy\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    pipeline = find_pipeline("en_toy", LABELS, Path("/"))
    assert (pipeline.source, pipeline.name, pipeline.version) == ("en_toy", "en_toy", "1.0")
    assert NameReplacer(pipeline, made_names=True).replace(["Ann came."]) == [("<NAME> came.", 1)]


def test_the_key_tells_the_pipeline_and_not_where_it_lies(spacy, tmp_path):
    one = find_pipeline("toy", LABELS, Path(by_patterns(tmp_path / "toy")).parent)
    shutil.copytree(tmp_path / "toy", tmp_path / "moved")
    config = CleanConfig(names="whatever", name_labels=("PERSON", "PER", "PER"))
    told = config.identity(False, one)["names"]
    assert (told["pipeline"], told["version"], set(told["libraries"])) == ("en_toy", "1.0", {"spacy", "thinc"})
    others = [
        find_pipeline("moved", LABELS, tmp_path),
        find_pipeline(by_patterns(tmp_path / "later", version="1.1"), LABELS, tmp_path),
        find_pipeline(by_patterns(tmp_path / "more", ("Ann", "Eve")), LABELS, tmp_path),
        changed(one, labels=("PERSON",)),
        changed(one, spacy="3.9.0"),
    ]
    same = [json.dumps(other.identity()) == json.dumps(one.identity()) for other in others]
    assert same == [True, False, False, False, False]
    with pytest.raises(ValueError, match="pipeline"):
        config.identity(False)


def test_pipelines_that_cannot_work_are_refused_in_one_line(tmp_path, spacy, ruler):
    spacy.blank("en").to_disk(tmp_path / "blank")
    shutil.copytree(ruler, tmp_path / "damaged")
    (tmp_path / "damaged" / "meta.json").write_text("{")
    for named, labels, told in [
        ("no_such_pipeline", LABELS, r"'no_such_pipeline', but no package of that name.*spacy download en_core_web_sm"),
        ("blank", LABELS, r"no component that finds entities.*`ner`.*spacy download"),
        (ruler, ["PER"], r"finds ORG, PERSON, and none of cleaning\.name_labels \(PER\)"),
        ("damaged", LABELS, r"damaged .*cannot be read: JSONDecodeError.*Install it again"),
    ]:
        with pytest.raises(UnusablePipelineError, match=told) as failure:
            find_pipeline(named, labels, tmp_path)
        assert "\n" not in str(failure.value)


def test_pipelines_that_do_not_load_or_changed_meanwhile_are_refused(spacy, tmp_path):
    folder = Path(by_patterns(tmp_path / "toy"))
    before = find_pipeline(str(folder), LABELS, tmp_path)
    (folder / "vocab" / "strings.json").write_text("no JSON")
    with pytest.raises(UnusablePipelineError, match=r"not the one that this run began with: digest was .* and is "):
        NameReplacer(before, made_names=True).replace(["Ann"])
    with pytest.raises(UnusablePipelineError, match=r"cannot load the pipeline .*spacy download") as failure:
        NameReplacer(find_pipeline(str(folder), LABELS, tmp_path), made_names=True).replace(["Ann"])
    assert "\n" not in str(failure.value)


def test_documents_lose_names_before_anything_is_judged_or_shown(tmp_path, ruler):
    config = CleanConfig(names=ruler, min_characters=12, quality={"c4": {"min_sentences": 0, "min_words_per_line": 1}})
    texts = [
        "Ann Lee or Bob Miller: ann@example.org.",
        "Ann Lee, Ann Lee.",
        "So Bob Miller.",
        "Lorem ipsum, Ann Lee, says it.",
        "By Ann[1] the Good.",
    ]
    documents = [RawDocument(f"{number}", text, meta={"look": 1}) for number, text in enumerate(texts)]
    pipeline = pipeline_for(config, False, Path("/"))
    with pytest.raises(ValueError, match="pipeline"):
        clean_slot(documents, tmp_path, config, "mine", "CC0-1.0")
    facts = clean_slot(documents, tmp_path, config, "mine", "CC0-1.0", pipeline=pipeline)
    kept = pq.read_table(tmp_path / "documents.parquet")["text"].to_pylist()
    assert kept == ["<NAME> or <NAME>: ann@example.org.", "<NAME>, <NAME>.", "By <NAME> the Good."]
    counts = {name: count for name, count in facts.counts.items() if name.startswith(("replaced", "dropped"))}
    assert counts == {"dropped_too_short": 1, "dropped_c4_lorem_ipsum": 1, "replaced_name": 5}
    drops = json.loads((tmp_path / "drops.json").read_text())
    assert "Ann" not in json.dumps(drops)
    assert drops["examples"]["c4_lorem_ipsum"][0]["excerpt"] == "Lorem ipsum, <NAME>, says it."


@pytest.mark.usefixtures("flow_server")
def test_a_run_replaces_names_and_another_pipeline_makes_it_anew(tmp_path):
    pytest.importorskip("spacy", reason="needs the extra names")
    from flows.corpus import corpus
    from flows.recipe import Recipe
    from tasks.runtime import Runtime, open_store

    (tmp_path / "texts").mkdir()
    for number in range(3):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"Ann Lee has {number} letters of Bob Miller's.\n" * 5)
    store = open_store(str(tmp_path / "store"))

    def run(**cleaning):
        source = {"kind": "folder", "path": str(tmp_path / "texts")}
        recipe = Recipe.model_validate({"sources": {"texts": source}, "cleaning": cleaning})
        made = corpus(recipe=recipe, until="documents", runtime=Runtime(store=str(store.root)))
        [ref] = map(store.resolve, made["artifacts"]["documents"])
        return ref, store.manifest(ref)

    folder = by_patterns(tmp_path / "toy")
    plain, _ = run()
    ref, manifest = run(names=folder)
    assert manifest.counts["replaced_name"] == 30
    texts = pq.read_table(store.path(ref) / "documents.parquet")["text"].to_pylist()
    assert texts[0] == "\n".join(["<NAME> has 0 letters of <NAME>'s."] * 5)
    assert run(names=folder)[0] == ref and run(names=folder, names_in="chats")[0] == plain
    by_patterns(folder, ("Ann Lee",), version="1.1")
    later, manifest = run(names=folder)
    assert later != ref and manifest.counts["replaced_name"] == 15
    assert manifest.recipe.config["cleaning"]["names"]["version"] == "1.1"
