"""What is left of an extract: headings, sections without prose, parentheses that lost their content."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
import wikipediaapi
from hypothesis import given
from hypothesis import strategies as st

from data.sources.wiki import mediawiki
from data.sources.wiki.languages import category_title, disambiguation_categories, sections_without_prose
from data.sources.wiki.listing import Listing, list_category, list_titles, read_query
from data.sources.wiki.pages import read_page
from data.sources.wiki.text import article_text, section_key
from tests.stand_in_mediawiki import Article, Wiki

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "wikipedia"
recorded = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared samples are not here")
ENGLISH = frozenset(map(section_key, sections_without_prose("en")))


def body(name):
    return (SHARED / f"{name}.json").read_bytes()


def test_headings_become_lines_and_sections_without_prose_go():
    extract = (
        "Lead.\nMore.\n\n\n== History ==\nOld.\n\n\n=== Early days ===\nOlder.\n\n\n== See also ==\nLink\n\n\n"
        "=== Lists ===\nMore links\n\n\n== Legacy ==\nNew.\n\n\n=== REFERENCES ===\n\n\n==  External   links  ==\nx"
    )
    assert article_text(extract, ENGLISH) == "Lead.\nMore.\n\nHistory\nOld.\n\nEarly days\nOlder.\n\nLegacy\nNew."


def test_headings_with_nothing_below_go_and_those_of_subsections_stay():
    extract = (
        "Lead.\n== Tables ==\n\n=== Of numbers ===\n \n== Prose ==\n\n=== Part ===\n==== Deep ====\nText.\n== End =="
    )
    assert article_text(extract, ()) == "Lead.\n\nProse\n\nPart\n\nDeep\nText."


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Tokyo ( ; ) is", "Tokyo is"),
        ("Tokyo ( ; ), officially", "Tokyo, officially"),
        ("Tokyo () is", "Tokyo is"),
        ("Tokyo (; born 1950) is", "Tokyo (born 1950) is"),
        ("Tokyo (, , UK: tok) is", "Tokyo (UK: tok) is"),
        ("東京 （；、） は", "東京 は"),
        ("call f() or (a, b) and (1,)", "call f() or (a, b) and (1,)"),
        ("a smile :) (really)", "a smile :) (really)"),
        ("== History ==\nThe operator () is and ( ; ) was", "History\nThe operator () is and was"),
    ],
)
def test_parentheses_that_lost_their_content_go(before, after):
    assert article_text(before, ENGLISH) == after


@pytest.mark.parametrize(
    ("language", "title"),
    [
        ("de", "Einzelnachweise"), ("fr", "Notes et références"), ("fr", "Voir aussi"), ("es", "Véase también"),
        ("ja", "脚注"), ("zh", "參考文獻"), ("zh-yue", "参考文献"), ("ru", "Примечания"), ("simple", "Other websites"),
        ("simple", "References"), ("it", "Galleria d’immagini"), ("xx", "See also"),
    ],
)  # fmt: skip
def test_every_large_language_has_its_own_titles(language, title):
    dropped = frozenset(map(section_key, sections_without_prose(language)))
    assert article_text(f"Text.\n== {title} ==\n[1]", dropped) == "Text."


def test_no_language_lists_a_title_twice():
    for language in ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "uk", "ja", "zh", "ko", "ar", "sv", "tr"):
        keys = [section_key(title) for title in sections_without_prose(language)]
        assert len(keys) == len(set(keys)) >= 5, language
    assert "Begriffsklärung" in disambiguation_categories("de")
    assert category_title("Kategorie: Physik") == category_title("Physik") == "Category:Physik"


@given(st.text(alphabet="= \n()（);,ax\t\u00a0", max_size=200))
def test_any_extract_gives_text_without_hollow_parentheses(extract):
    text = article_text(extract, ENGLISH)
    assert " ( ; )" not in text and "\n\n\n" not in text
    assert len(text) <= len(extract)
    assert sorted(char for char in text if char in "ax") == sorted(char for char in extract if char in "ax")


def test_long_lines_take_no_long_time():
    for line in (
        "== " + " " * 200_000,
        "=" * 200_000,
        "(" * 100_000,
        " (" + ";" * 200_000,
        "(; " * 70_000,
        "\n \n" * 70_000,
    ):
        article_text("Text.\n" + line, ENGLISH)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["query", "pages", "7", "-1", "pageid", "title", "extract", "missing", "lastrevid", "revisions", "error",
             "pageprops", "categories", "normalized", "redirects", "from", "to", "interwiki", "info"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_no_answer_raises_anything_unexpected(value):
    read_page(json.dumps(value).encode(), "7")
    with suppress(mediawiki.WikiError):
        read_query(value)


@given(st.binary(max_size=50))
def test_no_bytes_raise(data):
    assert read_page(data, "7").problem is not None


@recorded
def test_the_recorded_article_is_what_the_library_makes_of_it():
    page = read_page(body("extract_Python_programming_language"), "23862")
    assert (page.title, page.problem) == ("Python (programming language)", None)
    text = article_text(page.extract, ENGLISH)
    article = Article(23862, page.title, [page.extract])
    with Wiki(article) as wiki:
        library = wikipediaapi.Wikipedia("Tests/1.0 (t@t.invalid)", "en", transport=mediawiki._Transport(wiki.api))
        sections = library.page(page.title).sections
        kept = [one for one in sections if section_key(one.title) not in ENGLISH]
    assert 0 < len(kept) < len(sections)
    lines = text.split("\n")
    for section in sections:
        assert (section.title in lines) == (section in kept and bool(section.full_text().strip())), section.title
    for section in kept:
        first = section.text.strip().split("\n")[0]
        assert first.split(" (")[0] in text
    assert "==" not in "".join(line for line in lines if line.startswith("=="))


@recorded
def test_recorded_bodies_are_read():
    [page] = read_query(json.loads(body("info_existing"))).pages.values()
    assert (page.pageid, page.lastrevid, page.length) == (23862, 1345336232, 140415)
    [page] = read_query(json.loads(body("info_missing"))).pages.values()
    assert page.missing and page.title == "NonExistentPage WikiAPI Test 12345"
    moved = read_query(json.loads(body("made_redirect")))
    assert [one.after for one in (*moved.normalized, *moved.redirects)] == ["Example old title", "Example page"]
    example = read_page(body("made_redirect"), "1000001")
    text = article_text(example.extract, ENGLISH)
    assert text.split("\n") == [
        "An example page is a page made up for tests.", "", "History", "It was made up.", "", "Early days",
        "Nothing happened.",
    ]  # fmt: skip
    assert read_page(body("made_disambiguation"), "1000002").problem.what == "disambiguation"
    members = json.loads(body("categorymembers"))["query"]["categorymembers"]
    assert len(read_query({"query": {"pages": {str(one["pageid"]): one for one in members}}}).pages) == len(members)
    categories = read_page(body("categories"), "23862", ["All pages needing cleanup"])
    assert categories.problem.what == "disambiguation", "any category that is asked for marks a page"


@recorded
def test_recorded_errors_are_told_apart(monkeypatch):
    errors = json.loads(body("made_errors"))
    assert read_page(json.dumps(errors["empty_extract"]["body"]).encode(), "1000003").problem.what == "empty"
    members = json.loads(body("categorymembers"))["query"]["categorymembers"]
    waits = []
    clock = mediawiki.PACER.clock.__class__(lambda: sum(waits), lambda: 0.0, waits.append)
    monkeypatch.setattr(mediawiki, "PACER", mediawiki.PACER.__class__(clock))
    articles = [Article(one["pageid"], one["title"], ns=one["ns"], categories=("Category:Physics",)) for one in members]
    with Wiki(*articles) as wiki:
        asked = mediawiki.MediaWiki("en", wiki.api, "Tests/1.0 (t@t.invalid)", 10)
        for name in ("maxlag", "ratelimited"):
            wiki.fail(200 if name == "maxlag" else 429, errors[name]["body"], errors[name]["headers"])
        found = Listing()
        list_category(asked, "Category:Physics", 0, found)
        assert sorted(found.pages) == sorted(one["pageid"] for one in members if one["ns"] == 0)
        assert sum(waits) >= 5 + 1 and len(wiki.requests) == 3
        wiki.fail(200, errors["bad_title"]["body"])
        found = Listing()
        list_titles(asked, ["A<B>"], found)
        assert not found.pages and not found.complete, "the answer is about another title"
        for _ in range(2):
            wiki.fail(200, errors["html_not_json"]["body"].encode())
        with pytest.raises(mediawiki.WikiError, match=r"no JSON, it begins with '<!DOCTYPE html>"):
            asked.query(titles="A")
        asked.close()
