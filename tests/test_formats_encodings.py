"""Guessed encodings and repaired mojibake: against the encodings that texts were written in, and ftfy's own cases."""

import json
import re

import pytest
from ftfy import fix_encoding
from ftfy.badness import MOJIBAKE_CATEGORIES as CATEGORIES
from ftfy.badness import is_bad
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats import mojibake
from data.formats.base import Reading, Tally
from data.formats.charsets import canonical, declared_encodings, detect
from data.formats.mojibake import repair
from tests.format_toys import SHARED, documents, found

with_samples = pytest.mark.skipif(not SHARED.exists(), reason="the sample data are not here")
TEXTS = {
    "german": "Die Mühle stand am Fluß, und über der Straße lag früh am Morgen ein schöner Nebel.",
    "french": "Il était déjà allé à la forêt où l'été régnait, près du château.",
    "russian": "Мельница стояла у реки, и утром над дорогой лежал красивый туман.",
    "polish": "Młyn stał nad rzeką, a rano nad drogą leżała piękna mgła. Zażółć gęślą jaźń.",
    "czech": "Mlýn stál u řeky a ráno nad cestou ležela krásná mlha. Příliš žluťoučký kůň.",
    "turkish": "Değirmen nehrin kıyısındaydı ve sabahları güzel bir sis vardı. Şöyle çığlık attı.",
    "greek": "Ο μύλος στεκόταν δίπλα στο ποτάμι και το πρωί υπήρχε ομίχλη.",
    "hebrew": "הטחנה עמדה ליד הנהר ובבוקר היה ערפל יפה מעל הדרך.",
    "japanese": "水車小屋は川のそばに立っていて、朝には霧が美しかった。昔のことを思い出すと、今でも涙が出ます。",
    "chinese": "磨坊坐落在河边，清晨的路上弥漫着美丽的雾气，村里的人们都起得很早。",
    "korean": "방앗간은 강가에 서 있었고 아침에는 아름다운 안개가 길 위에 깔려 있었다.",
    "english": "It’s the miller’s “café” – nothing more, nothing less…",
    "short": "café",
}
ENCODINGS = {
    "german": ["cp1252", "mac_roman", "cp850"],
    "french": ["cp1252", "mac_roman"],
    "russian": ["cp1251", "koi8_r", "cp866", "iso8859_5"],
    "polish": ["cp1250", "iso8859_2"],
    "czech": ["cp1250"],
    "turkish": ["cp1254"],
    "greek": ["cp1253", "iso8859_7"],
    "hebrew": ["cp1255"],
    "japanese": ["cp932", "euc_jp"],
    "chinese": ["gb18030"],
    "korean": ["cp949"],
    "english": ["cp1252", "mac_roman"],
    "short": ["cp1252"],
}
CASES = [(language, encoding) for language, encodings in ENCODINGS.items() for encoding in encodings]


@pytest.mark.parametrize(("language", "encoding"), CASES)
def test_undeclared_encodings_are_found(language, encoding):
    tally = Tally()
    (document,) = found("a.txt", TEXTS[language].encode(encoding), tally=tally)
    assert document.text == TEXTS[language]
    notes = []
    tally.tell(notes.append, None)
    assert notes == [f"1 file not in UTF-8, read as {document.meta['encoding']} (detected): a.txt"]


def test_a_setting_goes_before_the_guess_and_a_declaration_before_both():
    data = TEXTS["russian"].encode("koi8_r")
    (document,) = found("a.txt", data, Reading(fallback_encoding="cp866", repair_mojibake=False))
    assert document.text == data.decode("cp866")
    (document,) = found("a.txt", data, Reading(fallback_encoding="cp866"), content_type="text/plain; charset=KOI8-R")
    assert document.text == TEXTS["russian"]


@with_samples
@pytest.mark.parametrize("name", ["14155-8", "2000-8", "22367-8", "7000-8"])
def test_sample_books_in_latin_1_are_found_to_be(name):
    data = (SHARED / "gutenberg" / f"{name}.txt").read_bytes()
    (document,) = found(f"{name}.txt", data)
    assert document.text == data.decode("cp1252").replace("\r\n", "\n")


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_a_guess_is_always_made_and_known_to_python(data):
    names = detect(data)
    assert names
    assert all(canonical(name) == name for name in names)


@pytest.mark.parametrize(
    ("declared", "encodings"),
    [
        ("ISO-8859-1", ["cp1252", "iso8859-1"]),
        ("us-ascii", ["cp1252"]),
        ("gb2312", ["gb18030", "gb2312"]),
        ("x-sjis", ["cp932", "shift_jis"]),
        ("cp-1251", ["cp1251"]),
        ("utf8", []),
        ("utf-16", []),
        ("rot13", []),
        ("undefined", []),
        ("no such\0", []),
        ("", []),
    ],
)
def test_declared_names(declared, encodings):
    assert declared_encodings(declared) == encodings


def cases(name):
    if not SHARED.exists():
        return []
    rows = json.loads((SHARED / "messy" / f"ftfy-{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(row["original"], row.get("fixed-encoding", row["fixed"]), id=row["label"]) for row in rows]


@pytest.mark.parametrize(("original", "fixed"), cases("in-the-wild") + cases("synthetic") + cases("negative"))
def test_cases_are_repaired_as_they_say(original, fixed):
    assert repair(original) == fixed
    assert repair(f"Before.\n{original}\nAfter.") == f"Before.\n{fixed}\nAfter."


@with_samples
def test_there_are_as_many_cases_as_were_counted():
    assert [len(cases(name)) for name in ("in-the-wild", "synthetic", "negative")] == [70, 30, 31]


@pytest.mark.parametrize(("original", "fixed"), cases("known-failures"))
@pytest.mark.xfail(strict=True, reason="ftfy says so")
def test_known_failures_are_still_known(original, fixed):
    assert repair(original) == fixed


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x2200) | st.sampled_from("ŒœÃÂâ€™é »É"), max_size=30))
@settings(max_examples=1000, deadline=None)
def test_the_quick_look_misses_nothing(text):
    assert not is_bad(text) or (mojibake._suspicion().search(text) and mojibake._neighbours().search(text))
    if not is_bad(text):
        assert repair(text) is text


def test_the_quick_look_misses_no_pair_of_signs():
    known = [sign for sign in map(chr, range(0x80, 0x2700)) if re.search(f"[{''.join(CATEGORIES.values())}]", sign)]
    assert len(known) > 400
    look = mojibake._suspicion()
    for first in known:
        for second in known:
            for text in (first + second, f"a {first}{second}a", f"a{first}{second}{first} "):
                assert (look.search(text) and mojibake._neighbours().search(text)) or not is_bad(text)


@given(st.lists(st.sampled_from(["schÃ¶n", "schön", "plain", "â€œquotedâ€\x9d", "»Éstas", ""]), max_size=6))
def test_lines_are_repaired_one_by_one(lines):
    expected = [line if line == "»Éstas" else fix_encoding(line) for line in lines]
    assert repair("\n".join(lines)) == "\n".join(expected)


def test_repair_is_counted_named_and_can_be_switched_off():
    data = b'{"text": "sch\\u00c3\\u00b6n"}\n{"text": "sch\\u00f6n"}\n'
    tally = Tally()
    assert [one.text for one in documents(found("a.jsonl", data, tally=tally))] == ["schön", "schön"]
    notes = []
    tally.tell(notes.append, None)
    assert notes == ["1 document with text decoded wrongly by whoever wrote it (mojibake), repaired: a.jsonl#1"]
    (first, _) = found("a.jsonl", data, Reading(repair_mojibake=False))
    assert first.text == "schÃ¶n"


def test_names_in_notes_are_cut():
    tally = Tally()
    for number in range(25):
        tally.repaired(str(number))
    notes = []
    tally.tell(notes.append, None)
    assert notes[0].endswith("17, 18, 19 and 5 more")
