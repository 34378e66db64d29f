"""C4's rules against a plain version of themselves, one line after the other, and by hand."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.cleaning import CleanConfig
from data.documents import clean_slot, sign
from data.quality import rules as rules_module
from data.quality.c4 import C4Rules
from data.quality.columns import columns_of
from data.quality.fineweb import FineWebRules
from data.quality.gopher import GopherRules
from data.quality.rules import QualityConfig, judged
from data.quality.sentences import count_sentences
from data.sources.base import RawDocument
from tests.test_quality import plain_words

POLICIES = ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"]
OFF = dict.fromkeys(C4Rules.model_fields)
GOOD = "One good line. It has two sentences."


def only(**on):
    return C4Rules(**{**OFF, **on})


def judge_one(text, rules, **groups):
    [one] = judged([text], QualityConfig(c4=rules, **groups))
    return one


def left_of(text, rules):
    one = judge_one(text, rules)
    assert one.reason is None
    return one.text


def plain_sentences(line):
    """Sentences by words: one, and one more at each first real word behind a word that is . ? or !"""
    count, after_stop = 1, False
    tokens = [part for row in re.split(r"(\s+)", line) for part in ([row] if row.isspace() else plain_words(row))]
    for token in tokens:
        if token == " ":
            continue
        if after_stop and not re.fullmatch(r"[-.!?,:;'\"“”’()\[\]{}…*#@_。•/&%]+", token):
            count, after_stop = count + 1, False
        elif token in [".", "?", "!", "。"]:
            after_stop = True
    return count


def plain_c4(text, rules):
    """(reason, text, what was taken out)."""
    removed, left, sentences, marks = {}, [], 0, 0

    def take(rule):
        if line:
            removed[rule] = removed.get(rule, 0) + 1

    for whole in text.splitlines():
        line = edited = whole.strip()
        words = line.split()
        if rules.max_word_length is not None and max(map(len, words), default=0) > rules.max_word_length:
            take("max_word_length")
            continue
        of_line = 0
        if rules.citation_marks:
            edited, of_line = re.subn(r"\[\d*\]|\[edit\]|\[citation needed\]", "", line)
        if rules.unended_lines and (edited[-1:] not in [*".?!\"'"] or edited[-3:] == "..."):
            take("unended_lines")
            continue
        if rules.min_words_per_line is not None and len(words) < rules.min_words_per_line:
            take("min_words_per_line")
            continue
        lower = edited.lower()
        if rules.lorem_ipsum and "lorem ipsum" in lower:
            return "c4_lorem_ipsum", text, {}
        if rules.javascript and "javascript" in lower:
            take("javascript")
            continue
        if rules.curly_bracket and "{" in lower:
            return "c4_curly_bracket", text, {}
        if rules.policies and any(phrase in lower for phrase in POLICIES):
            take("policies")
            continue
        sentences += plain_sentences(edited)
        left.append(edited)
        marks += of_line
    if rules.min_sentences is not None and sentences < rules.min_sentences:
        return "c4_min_sentences", text, {}
    removed |= {"citation_marks": marks} if marks else {}
    return None, "\n".join(left).strip(), removed


pieces = st.sampled_from(
    [GOOD, "One two three four.", "a b c", "ab", "x" * 9, "y" * 8, "Mr.", "e.g.", "Yes! No? ", ". . .", '." ', "。",
     "[1]", "[23]", "[]", "[edit]", "[citation needed]", "[Edit]", "[ 1]", "[٣]", "[[1]", "java", "script",
     "JavaScript", "lorem ipsum", "Lorem", "Ipsum", "LOREM IPSUM", "{", "}", *POLICIES, "Terms Of Use",
     "use coo\u212aies", "İ", "é", "...", "..", "…", ".", "?", "!", '"', "'", "”", " ", "  ", "\t",
     "\n", "\n\n", "\r\n", "\r",
     "\x85", "\u2028", "\u3000"]
)  # fmt: skip
texts = st.lists(st.lists(pieces | st.sampled_from([" ", "\n"]), max_size=24).map("".join), max_size=5)


@st.composite
def some_rules(draw):
    numbers = {"max_word_length": [4, 8, 1000], "min_words_per_line": [0, 2, 3], "min_sentences": [0, 1, 2, 3, 5]}
    default = dict(C4Rules())
    return C4Rules(**{name: draw(st.sampled_from([None, *numbers.get(name, [default[name]] * 3)])) for name in default})


@settings(deadline=None, max_examples=400)
@given(texts, some_rules())
@example(
    ["", " ", "\n", "{", "[1]", "[1] [2] [3]", " [1] a\n[2] b [3]\r\n\r\n[4]", "a\x85b\u2028\n"],
    only(citation_marks="remove"),
)
@example(["a b c. \n\n a b c.\n", f"{GOOD}\n" * 3], C4Rules(min_sentences=2))
@example(["a { b c.\nlorem ipsum a.", "lorem ipsum a.\na { b c.", "lorem ipsum { a.", "javascript { a."], C4Rules())
def test_c4_agrees_with_its_plain_version(batch, rules):
    found = [(one.reason, one.text, dict(one.removed)) for one in judged(batch, QualityConfig(c4=rules))]
    assert found == [plain_c4(text, rules) for text in batch]


@pytest.mark.parametrize(
    ("rules", "text", "left"),
    [
        (
            {"unended_lines": "remove"},
            "A.\nB?\nC!\nD\"\nE'\nF”\nG\nH,\nI...\nJ..\n\nK.",
            "A.\nB?\nC!\nD\"\nE'\nJ..\nK.",
        ),
        ({"min_words_per_line": 3}, "one two three\none two\none\n\none, two - ", "one two three\none, two -"),
        ({"min_words_per_line": 0}, "\n\none\n\n\ntwo \n", "one\n\n\ntwo"),
        ({"javascript": "remove"}, "Enable JavaScript.\nJava, script\nJAVASCRIPTS\nx", "Java, script\nx"),
        (
            {"policies": "remove"},
            "Terms of Use\nprivacy policy.\nCookie policy\nIt USES COOKIES\nuse of cookies\n"
            "use coo\u212aies\nuse a cookie",
            "use a cookie",
        ),
        ({"citation_marks": "remove"}, "So [edit]it is[12][3]. [citation needed]", "So it is."),
        ({"citation_marks": "remove"}, "[Edit] [a] [1 [1] [-1] [[7]", "[Edit] [a] [1  [-1] ["),
        ({"max_word_length": 1000}, "a " + "x" * 1000 + "\nb " + "字" * 1001, "a " + "x" * 1000),
        ({}, " a \r\n\tb\x0b\n{ lorem ipsum", "a\nb\n\n{ lorem ipsum"),
        ({}, "nothing  to do\n{", "nothing  to do\n{"),
    ],
)
def test_what_is_left_by_each_rule(rules, text, left):
    assert left_of(text, only(**rules)) == left


@pytest.mark.parametrize(
    ("rule", "value", "kept", "broken"),
    [
        ("lorem_ipsum", "drop", "lorem\nipsum", "a Lorem Ipsum b"),
        ("curly_bracket", "drop", "a } b", "a\nb{"),
        ("min_sentences", 5, f"{GOOD}\n{GOOD}\nOne.", f"{GOOD}\n{GOOD}"),
        ("min_sentences", 5, "1\n2\n3\n4\n5", "1\n2\n3\n4"),
        ("min_sentences", 1, "a", ""),
    ],
)
def test_whole_documents_at_their_thresholds(rule, value, kept, broken):
    assert judge_one(kept, only(**{rule: value})).reason is None
    assert judge_one(broken, only(**{rule: value})) == (f"c4_{rule}", broken, {})
    assert judge_one(broken, only()).reason is None


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("", 1),
        ("no stop", 1),
        ("One. two! Three? four", 4),
        ("Mr. Smith of the U.S. said e.g. this.", 1),
        ('"Is it?" he said. (Yes.) "Well...', 4),
        ("Wait... what. . . now.", 2),
        ("at 3.5 of a-b.org.", 1),
        ('a.  "', 2),  # two spaces are a word to spaCy
        ('a. "', 1),
        ("字字。 字。", 2),
    ],
)
def test_sentences_by_hand(line, sentences):
    columns = columns_of(["x.\ny", line])
    words = rules_module.find_words(columns)
    assert count_sentences(columns, columns.lines, words).tolist() == [1, 1, sentences]


def test_a_line_meets_the_rules_in_order():
    rules = C4Rules(min_sentences=None)
    assert judge_one("short {", rules).reason is None  # the line is gone before brackets are asked for
    assert judge_one("javascript { is here.", rules).reason is None
    assert judge_one("our privacy policy {.", rules).reason == "c4_curly_bracket"
    assert judge_one("javascript and lorem ipsum.", rules).reason == "c4_lorem_ipsum"
    assert judge_one("one { bracket here.\nsome lorem ipsum here.", rules).reason == "c4_curly_bracket"
    assert left_of("two words[1] [2].\none two [3]", rules) == "two words ."  # words are counted before marks go
    removed = judge_one(f"javascript\n\n \nour javascript terms of use.\n{GOOD}\n", rules).removed
    assert removed == {"unended_lines": 1, "javascript": 1}


def test_c4_comes_after_gopher_and_before_fineweb():
    lines = f"{GOOD}\n" + "list item of it\n" * 9
    nothing = {name: None for name in GopherRules.model_fields if name != "stop_words"}
    gopher = GopherRules(**{**nothing, "min_words": 3})
    assert judge_one("{ a b.", C4Rules(), gopher=gopher).reason == "gopher_min_words"
    fineweb = {"min_punctuated_lines": 0.5, "max_short_lines": None, "max_line_feeds_per_word": None}
    before = QualityConfig.model_validate({"fineweb": fineweb})
    assert judged([lines], before)[0].reason == "fineweb_min_punctuated_lines"
    both = QualityConfig.model_validate({"c4": {"min_sentences": 2}, "fineweb": fineweb})
    assert judged([lines], both)[0] == (None, GOOD, {"unended_lines": 9})
    # FineWeb's rules count the words that are left, 12 on 2 line feeds, also where Gopher's have counted 32
    text = "It is so.\n" * 3 + "and\n" * 20
    for most, reason in ((2 / 12, None), (0.1, "fineweb_max_line_feeds_per_word")):
        feeds = {"max_line_feeds_per_word": most, "max_short_lines": None, "max_duplicate_line_characters": None}
        assert judge_one(text, C4Rules(min_sentences=3), gopher=gopher, fineweb=FineWebRules(**feeds)).reason == reason


def test_neighbours_in_a_batch_do_not_matter(monkeypatch):
    batch = [
        "",
        "a.\nb c d.",
        GOOD,
        "{ a b.",
        " \n",
        f"a[1] b c.\r\n{GOOD}\nx",
        "[1]",
        "lorem ipsum a.",
        "\nx y z.\n",
        "a",
    ]
    for minimum in (None, 1, 2):
        config = QualityConfig(c4=C4Rules(min_sentences=minimum), fineweb=None)
        alone = [judged([text], config)[0] for text in batch]
        for size in (1, 30, 10_000):
            monkeypatch.setattr(rules_module, "_CHARACTERS_AT_ONCE", size)
            assert judged(batch, config) == alone


def test_with_c4_off_texts_stay_as_they_are():
    text = " a {\r\n[1] javascript\n"
    assert judged([text], QualityConfig()) == [(None, text, {})]
    nothing = {name: None for name in FineWebRules.model_fields if name.startswith(("min_", "max_"))}
    assert judged([text], QualityConfig(fineweb=FineWebRules(**nothing))) == [(None, text, {})]
    others = CleanConfig(quality={"gopher": {}}).identity(False)["quality"]
    assert set(others) == {"repetition", "gopher", "fineweb", "words"}
    assert CleanConfig(quality={"gopher": {}, "c4": {}}).identity(False)["quality"]["c4"]["min_sentences"] == 5


@pytest.mark.parametrize("wrong", [{"min_sentence": 5}, {"min_sentences": -1}, {"javascript": "drop"}])
def test_a_wrong_config_is_refused(wrong):
    with pytest.raises(ValidationError):
        C4Rules(**wrong)


def test_a_slot_counts_what_was_taken_out(tmp_path):
    long = "A line that stays here, and goes on for a while so that it is long enough."
    texts = [
        f"{long} [1]\nMenu\n\nPlease enable JavaScript to read on.\n{long} It has another[2][edit] sentence.",
        f"{long}\nwrite to a[3]nn@ex[4]ample.org or so.  [5]\nHome",
        "Lorem ipsum is here. And more.",
        "See that.",
        f"Mine is\n{GOOD} So.\n" + "short lines are here\n" * 9,
        "So. I. A.\nHe",
        long * 2,
    ]
    quality = {"c4": {"unended_lines": None, "min_sentences": 2}, "fineweb": {"max_short_lines": 0.8}}
    config = CleanConfig(min_characters=9, quality=quality, privacy="on", privacy_types=["email"])
    documents = [RawDocument(f"{n}", text, position=n, meta={"look": 1}) for n, text in enumerate(texts)]
    facts = clean_slot(documents, tmp_path, config, "mine", "CC0-1.0")
    kept = pq.read_table(tmp_path / "documents.parquet")["text"].to_pylist()
    assert kept[0] == f"{long}\n{long} It has another sentence."
    assert re.fullmatch(rf"{re.escape(long)}\nwrite to <[^>]*> or so\.", kept[1])
    assert kept[2:] == [long * 2]
    drops = json.loads((tmp_path / "drops.json").read_text())
    assert drops["counts"] == {
        "c4_lorem_ipsum": 1,
        "c4_min_sentences": 1,
        "fineweb_min_punctuated_lines": 1,
        "fineweb_max_short_lines": 1,
    }
    assert drops["examples"]["c4_lorem_ipsum"][0]["excerpt"] == texts[2]
    counts = facts.counts
    assert {name: count for name, count in counts.items() if name.startswith(("c4_", "replaced_"))} == {
        "c4_lines_removed_javascript": 1,
        "c4_lines_removed_min_words_per_line": 2,
        "c4_citation_marks_removed": 6,
        "replaced_email": 1,
    }
    assert counts["characters_out"] == sum(map(len, kept))
    assert counts["bytes_out"] == sum(len(text.encode()) for text in kept)
    assert counts["characters_dropped"] == sum(len(texts[n]) for n in range(2, 6))
    signatures = np.load(tmp_path / "signatures.npy")
    assert signatures.astype(">u8").tobytes() == b"".join(sign(text.encode()) for text in kept)


def test_what_editing_leaves_too_short_is_dropped(tmp_path):
    config = CleanConfig(min_characters=30, quality={"c4": {"min_sentences": None}})
    documents = [
        RawDocument(f"{n}", text, meta={"look": 1})
        for n, text in enumerate(["one two three four five, and no stop at all", f"a b c.\n{'one two ' * 9}", GOOD])
    ]
    facts = clean_slot(documents, tmp_path, config, "mine", "CC0-1.0")
    assert (facts.counts["dropped_empty"], facts.counts["dropped_too_short"]) == (1, 1)
    assert facts.counts["documents_out"] == 1
    assert not any(name.startswith("c4_") for name in facts.counts)  # only what was taken out of documents kept
