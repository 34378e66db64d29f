import importlib
import inspect
import json
import re
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.cleaning import CleanConfig, normalise
from data.documents import clean_slot
from data.edits.config import EditConfig
from data.edits.editing import Editor
from data.sources.base import RawDocument

NORMALISE = partial(normalise, config=CleanConfig())
MENDING = EditConfig(
    invisible=True, html_leftovers=True, running_heads=True, page_numbers=True, hyphenation=True, max_repeated_lines=3
)
ALL = MENDING.model_copy(
    update={"urls": "remove", "remove_symbols": ("boxes", "pictographs"), "lower_case": True, "repeated_line": 3}
)
SHARED = Path(__file__).parents[1].parent / "shared" / "data"


def edited(text, **settings_):
    return Editor(EditConfig(**settings_), NORMALISE).edit(NORMALISE(text))


def mended(text):
    return Editor(MENDING, NORMALISE).edit(NORMALISE(text))[0]


@pytest.mark.parametrize(
    ("raw", "after"),
    [
        ("soft\u00adhyphen zero\u200bwidth wo\u2060rd", "softhyphen zerowidth word"),
        ("ex\u00adam\u00ad\nple of it", "example\nof it"),
        ("an ex\u00ad\nample", "an example"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # Persian: the joiner shapes the letter before it
        ("क्\u200dष", "क्\u200dष"),  # Devanagari: half form
        ("क्\u200d and \u200dه", "क्\u200d and \u200dه"),  # with a letter on one side only
        ("👩\u200d💻 and ❤️\u200d🔥", "👩\u200d💻 and ❤️\u200d🔥"),
        ("Auf\u200clage a\u200d\u200db", "Auflage ab"),
        ("ភាសា\u200bខ្មែរ and so\u200b", "ភាសា\u200bខ្មែរ and so"),  # Khmer: the border of a word
    ],
)
def test_invisible_characters_go_where_no_script_needs_them(raw, after):
    assert edited(raw, invisible=True)[0] == after


@pytest.mark.parametrize(
    ("raw", "after"),
    [
        ("Tom &amp; Jerry&#39;s &quot;show&quot;&nbsp;&#8211; caf&eacute;", 'Tom & Jerry\'s "show" – café'),
        ("twice&amp;amp;nbsp;escaped &amp;#39;so&amp;#39;", "twice escaped 'so'"),
        ("3 &lt; 5 and 5 &gt; 3", "3 < 5 and 5 > 3"),
        ("so &lt;b&gt; is written", "so &lt;b&gt; is written"),
        ("AT&T; x &sum; y && z; &image;", "AT&T; x &sum; y && z; &image;"),
        ("<p>One <b>bold</b> word.<br/>Next</p>", "One bold word.\nNext"),
        ("See <a href=\"http://x.org/?a=1&amp;b=2\" rel='nofollow'>this</a>.", "See this."),
        ("a <b and c> d, <a statement>, List<i> x <3", "a <b and c> d, <a statement>, List<i> x <3"),
        ("In HTML, <b>bold</b> is bold.", "In HTML, <b>bold</b> is bold."),
        ("Put it in a <b> tag</b>.", "Put it in a <b> tag</b>."),
        ("Write `<b>x</b> &amp; y` and <i>see</i>", "Write `<b>x</b> &amp; y` and see"),
        ("A <i>list</i>:\n```\n<i>x</i> &amp;\n```\nend", "A list:\n```\n<i>x</i> &amp;\n```\nend"),
        ("Code, <i>so</i>:\n\n    <i>x</i> &amp; y\n\nend", "Code, so:\n\n    <i>x</i> &amp; y\n\nend"),
        ("| a<br>b | &amp; |\n| --- | --- |\n<i>so</i>", "| a<br>b | &amp; |\n| --- | --- |\nso"),
    ],
)
def test_leftovers_of_html_go_from_prose_alone(raw, after):
    assert edited(raw, html_leftovers=True)[0] == after


LINE = "a line of printed prose is longer than verse,"


@pytest.mark.parametrize(
    ("raw", "after"),
    [
        ("exam-\nple of it", "example\nof it"),
        ("exam-\n  ple, and\n  so on", "example,\n  and\n  so on"),
        ("exam-\nple", "example"),
        ("well-\nknown; it is well-known", "well-known;\nit is well-known"),
        ("well-\nknown; well-known, wellknown", "wellknown;\nwell-known, wellknown"),
        ("Exam-\nple, exam-\nPle, exam-\n3, 3-\nple, e-\nmail", "Exam-\nple, exam-\nPle, exam-\n3, 3-\nple, e-\nmail"),
        ("pre-\nand post-war mother-in-\nlaw", "pre-\nand post-war mother-in-\nlaw"),
        ("the dash -said he-\nwas open", "the dash -said he-\nwas open"),
        ("   no te dirá el boquirru-\n   que no pones bien los de-.", None),  # verses of Cervantes, cut on purpose
        ("---\ntitle-\n-----\n\n    code-\n    line", None),
        (f"{LINE} exam-\nple `x` {LINE} exam-\nple`z`", f"{LINE} example\n`x` {LINE} example`z`"),
        ("ein-Bei-\nspiel\nüber-\nall, при-\nмер", "ein-Bei-\nspiel\nüberall,\nпример"),
        (f"{LINE} über-\nall\nпри-\nмер", f"{LINE} überall\nпример"),
    ],
)
def test_words_cut_at_line_ends_are_joined(raw, after):
    assert edited(raw, hyphenation=True)[0] == NORMALISE(raw if after is None else after)


def pages(number_line, count=5, length=900, step=1):
    """A book of which every page ends in the midst of a sentence, as (its text, the same without page breaks)."""
    words = "the road went on along the river and nobody said a word until the {} evening came "
    with_breaks, without = [], []
    for at in range(count):
        page = (words.format("abcdefghijklmnop"[at]) * 99)[:length].rsplit(" ", 1)[0].replace("until ", "until\n")
        with_breaks += [page, "", number_line.format(7 + at * step), ""]
        without += [page]
    return "\n".join([*with_breaks, page]), "\n".join([*without, page])


@pytest.mark.parametrize("line", ["{}", "- {} -", "[{}]", "Page {}", "        {}"])
def test_page_numbers_go_and_sentences_close_up(line):
    book, without = pages(line)
    after, counts = edited(book, page_numbers=True)
    assert after == without
    assert counts == {"page_numbers": 5}


@pytest.mark.parametrize(
    "text",
    [
        pages("{}", count=2)[0],  # too few
        pages("{}", length=100)[0],  # pages of one line
        pages("{}", step=-1)[0],
        pages("{}.5")[0],
        re.sub(r"[a-z]+(?=\n\n\d)", "end.", pages("{}")[0]),  # chapters
        "\n".join(f"{n}\n{'A stanza ends here, and so does what it says.' * 9}" for n in range(1, 9)),
        "\n".join(str(n) for n in range(900)),
    ],
)
def test_other_numbers_alone_in_a_line_stay(text):
    assert edited(text, running_heads=True, page_numbers=True)[0] == NORMALISE(text)


def test_running_heads_go_with_the_number_in_their_line_or_beside_it():
    book, without = pages("{} THE LONG ROAD")
    assert edited(book, running_heads=True) == (without, {"running_heads": 5})
    book, without = pages("THE LONG ROAD {}")
    assert edited(book, running_heads=True) == (without, {"running_heads": 5})
    book, without = pages("{}\nTHE LONG ROAD")
    assert edited(book, running_heads=True, page_numbers=True)[0] == without
    book, _ = pages("{}\nTHE LONG ROAD", count=2)
    assert edited(book, running_heads=True, page_numbers=True)[0] == NORMALISE(book)
    chapters = "\n".join(f"Chapter {n}\n{'It was so, and so it stayed for long. ' * 30}\n" for n in range(1, 9))
    assert edited(chapters, running_heads=True)[0] == NORMALISE(chapters)


BUTTON = "Share this article on Facebook"


def test_a_line_that_comes_too_often_stays_once():
    story = [f"Story {n} is told here in one long sentence.\n\n{BUTTON}\n" for n in range(5)]
    text = "\n".join(story)
    after, counts = edited(text, max_repeated_lines=3)
    assert after.count(BUTTON) == 1 and counts == {"repeated_lines": 4}
    assert [line for line in after.split("\n") if line not in ("", BUTTON)] == [
        f"Story {n} is told here in one long sentence." for n in range(5)
    ]
    assert edited("\n".join(story[:3]), max_repeated_lines=3)[0] == NORMALISE("\n".join(story[:3]))
    assert edited(text, max_repeated_lines=3, repeated_line=len(BUTTON) + 1)[0] == NORMALISE(text)


def test_refrains_code_and_tables_may_repeat_their_lines():
    verse = "Verse {} has its own words,\nAnd then as always we sing:\nRow the boat ashore, my lads!"
    song = "\n\n".join(map(verse.format, "abcdef"))
    table = "| name | value |\n| --- | --- |\n" + "| the same row | 1 |\n" * 9 + "one two\tthree four five six\n" * 9
    code = "```\n" + "print a line of text\n" * 9 + "```\n\n" + "    return the same value\n" * 9
    code += "do_something_long();\n" * 9
    for text in (song, table, code):
        assert edited(text, max_repeated_lines=3)[0] == NORMALISE(text)


@pytest.mark.parametrize(
    ("raw", "removed", "placed"),
    [
        ("See https://a.org/x?y=1#z. Or www.b.com/c_(d), so", "See . Or , so", "See <URL>. Or <URL>, so"),
        ("[text](http://a.org) <HTTPS://A.B>!", "[text]() <>!", "[text](<URL>) <<URL>>!"),
        ("http:// www. ftp://x", "http:// www. ", "http:// www. <URL>"),
    ],
)
def test_addresses_are_taken_out_or_replaced(raw, removed, placed):
    assert edited(raw, urls="remove")[0] == NORMALISE(removed)
    assert edited(raw, urls="placeholder")[0] == placed
    assert edited(raw, urls="placeholder", lower_case=True)[0].count("<URL>") == placed.count("<URL>")


def test_signs_are_taken_out_by_kind():
    text = "┌──┐ a😀b 👩🏽\u200d💻✨ © → ½ ▓"
    assert edited(text, remove_symbols=["pictographs"])[0] == "┌──┐ ab  © → ½ ▓"
    assert edited(text, remove_symbols=["boxes"])[0] == " a😀b 👩🏽\u200d💻✨ © → ½"
    assert edited("Große ÄPFEL", lower_case=True) == ("große äpfel", {"lower_case": 1})


REAL = {
    "code": [
        inspect.getsource(importlib.import_module(name)) for name in ("json.decoder", "textwrap", "statistics", "heapq")
    ],
    "markdown": [(Path(__file__).parents[1] / name).read_text() for name in ("docs/cleaning.md", "docs/privacy.md")],
    "docs": list(importlib.import_module("pydoc_data.topics").topics.values())[:40],
}


@pytest.mark.parametrize("kind", list(REAL))
def test_real_code_tables_and_documentation_stay_as_they_are(kind):
    """The documentation was filled by a program that breaks lines at hyphens: there these are joined, and rightly."""
    editor = Editor(MENDING.model_copy(update={"hyphenation": kind != "docs"}), NORMALISE)
    for text in REAL[kind]:
        assert editor.edit(NORMALISE(text))[0] == NORMALISE(text)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the sample texts are not here")
@pytest.mark.parametrize(
    ("name", "coding"), [("7000-8", "latin-1"), ("pg1661_current", "utf-8-sig"), ("2000-8", "latin-1")]
)
def test_real_books_of_verse_and_prose_stay_as_they_are(name, coding):
    """The Kalevala in verse with its refrains, a book of prose, and one of prose with verses cut on purpose."""
    text = (SHARED / "gutenberg" / f"{name}.txt").read_text(coding)[:400_000]
    assert mended(text) == NORMALISE(text)


PARTS = """exam- ple a- - & amp; lt; #39; nbsp; shy; <b> </b> <br> ` ``` | ~~~ \u00ad \u200b \u200d ع e\u0301 7 8 9 x.
well-known word. http://x.y www. 😀 ─ İ Σ"""
parts = st.sampled_from([*PARTS.split(), "\n", "\n\n", "    ", " ", "a line of printed prose is longer than verse, "])


@settings(deadline=None, max_examples=300)
@given(st.lists(parts, max_size=14).map("".join))
@example("&amp;shy;x")
@example("exam-\nple-\nwell-\nknown")
@example("&#60;b>x</b>")
def test_editing_an_edited_text_changes_nothing(text):
    for config in (MENDING, ALL, EditConfig(urls="placeholder", lower_case=True)):
        editor = Editor(config, NORMALISE)
        once, _ = editor.edit(NORMALISE(text))
        assert editor.edit(once) == (once, {})
        assert NORMALISE(once) == once


def test_books_are_edited_idempotently():
    book, _ = pages("{}\nTHE LONG ROAD", count=12)
    book = book.replace("word until", "word un-\ntil") + "\n\n12\n\n13\n\n"
    once = mended(book)
    assert "un-" not in once and "LONG ROAD" not in once and mended(once) == once


def test_text_that_needs_no_edit_is_the_same_object():
    text = "Nothing to do here, and nothing is done: 1 < 2 & so on.\nNext line."
    after, counts = Editor(MENDING, NORMALISE).edit(text)
    assert after is text and not counts


HOSTILE = ["&" + "amp;" * 100_000, "<b>" * 100_000, "`" * 200_000, "-\n" * 200_000, "a-\n" * 100_000, "7\n" * 100_000]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_takes_linear_time(text):
    mended(text)


def test_a_slot_counts_what_was_edited(tmp_path):
    texts = [
        f"{LINE} one exam-\nple, and {LINE} an-\nother.",
        "Nothing to be edited in here.",
        "T&amp;C &amp; more of the same",
        "&amp;",
    ]
    documents = [RawDocument(str(at), text, meta={"look": 1}) for at, text in enumerate(texts)]
    config = CleanConfig(edits=EditConfig(hyphenation=True, html_leftovers=True))
    facts = clean_slot(documents, tmp_path, config, "mine", "CC0-1.0")
    assert facts.counts["edited_hyphenation"] == 1 and facts.counts["edits_hyphenation"] == 2
    assert facts.counts["edited_html_leftovers"] == 1 and facts.counts["edits_html_leftovers"] == 2
    assert facts.counts["dropped_too_short"] == 1
    assert json.loads((tmp_path / "drops.json").read_text())["examples"]["too_short"][0]["excerpt"] == "&"


def test_only_edits_that_are_on_enter_the_key():
    assert "edits" not in CleanConfig(edits=EditConfig(repeated_line=7)).identity(False)
    chosen = EditConfig(hyphenation=True, remove_symbols=["pictographs", "boxes", "boxes"])
    on = CleanConfig(edits=chosen).identity(False)
    assert on["edits"] == {"hyphenation": True, "remove_symbols": ["boxes", "pictographs"], "rules": 1}
    repeated = CleanConfig(edits=EditConfig(max_repeated_lines=3)).identity(False)
    assert repeated["edits"] == {"max_repeated_lines": 3, "repeated_line": 20, "rules": 1}


def test_an_unknown_edit_is_refused():
    with pytest.raises(ValidationError):
        EditConfig(remove_symbols=["letters"])
