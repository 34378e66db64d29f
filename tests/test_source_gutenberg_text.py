"""Taking books out of Project Gutenberg's files, and joining their lines: hand-made facts of real books, and rules."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.sources.books.decoding import declared_charset, text_of
from data.sources.books.text import parse
from data.sources.books.unwrapping import unwrap

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
real_books = pytest.mark.skipif(not SHARED.exists(), reason="the sample data are not here")

# Read off the files by eye: first words of the book, last words, author, language, number, characters between.
FACTS = {
    "gutenberg/1342-0.txt": ("PRIDE AND PREJUDICE", "had been the means of uniting them.", "Jane Austen", "en", 1342),
    "gutenberg/14155-8.txt": ("Gustave Flaubert", "recevoir la croix d'honneur.", "Gustave Flaubert", "fr", 14155),
    "gutenberg/158-0.txt": ("EMMA", "FINIS", "Jane Austen", "en", 158),
    "gutenberg/2000-8.txt": ("El ingenioso hidalgo don Quijote", "Fin", "Miguel de Cervantes Saavedra", "es", 2000),
    "gutenberg/22367-8.txt": ("DIE VERWANDLUNG", "ihren jungen Körper dehnte.", "Franz Kafka", "de", 22367),
    "gutenberg/2600-0.txt": ("WAR AND PEACE", "dependence of which we are not conscious.", "Leo Tolstoy", "en", 2600),
    "gutenberg/2city11.txt": ("by Charles Dickens", 'than I have ever known."', "Charles Dickens", None, 98),
    "gutenberg/345.txt": ("DRACULA", "this morning from Dardanelles {pg 313}", "Bram Stoker", "en", 345),
    "gutenberg/4300-0.txt": ("Ulysses", "1914-1921", "James Joyce", "en", 4300),
    "gutenberg/7000-8.txt": ("Kalevala", "kansassa kasuavassa.", "Elias Lönnrot", "fi", 7000),
    "gutenberg/766-0.txt": ("DAVID COPPERFIELD", "near me, pointing upward!", "Charles Dickens", "en", 766),
    "gutenberg/pg1661_current.txt": ("The Adventures", "with considerable success.", "Arthur Conan Doyle", "en", 1661),
    "sherlock.txt": ("THE ADVENTURES OF SHER", "with considerable success.", "Arthur Conan Doyle", "en", 1661),
}  # fmt: skip
# Sentences that stand on several lines of the file, and verse that does.
WHOLE = {
    "gutenberg/1342-0.txt": [
        "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of "
        "a wife.",
    ],
    "gutenberg/14155-8.txt": [
        "Elle est pauvre et l'envoie, pour gagner sa vie, dans une filature de coton.",
    ],
    "gutenberg/158-0.txt": [
        "    My first displays the wealth and pomp of kings,\n      Lords of the earth! their luxury and ease.\n",
        "Emma Woodhouse, handsome, clever, and rich, with a comfortable home and happy disposition, seemed to unite",
    ],
    "gutenberg/2000-8.txt": [
        "   -Yo sé, Olalla, que me adoras,\n   puesto que no me lo has dicho\n   ni aun con los ojos siquiera,\n",
        "-Y ¡montas que no sabría yo autorizar el litado! -dijo Sancho.\n-Dictado has de decir,",
    ],
    "gutenberg/22367-8.txt": [
        "Über dem Tisch, auf dem eine auseinandergepackte Musterkollektion von Tuchwaren ausgebreitet war -- Samsa war "
        "Reisender --, hing das Bild",
    ],
    "gutenberg/345.txt": ["I don't want to talk to you: you don't count now; the Master is at hand."],
    "gutenberg/4300-0.txt": [
        "     Those girls, those girls,\n     Those lovely seaside girls.\nMilly too. Young kisses: the first.",
        "     —Weep no more, woful shepherds, weep no more\n",
    ],
    "gutenberg/7000-8.txt": [
        "  Vaka vanha Väinämöinen\n  lähteäksensä käkesi\n  tuonne kylmähän kylähän,\n",
        "Kalevalan ensimmäinen painos ilmestyi vuonna 1835. Teos syntyi Elias Lönnrotin (1802- 1884) työn tuloksena",
    ],
    "gutenberg/766-0.txt": [
        "     Gee up, Dobbin,\n     Gee ho, Dobbin,\n     Gee up, Dobbin,\n",
        "And now, as I close my task, subduing my desire to linger yet, these faces fade away.",
    ],
    "gutenberg/pg1661_current.txt": [
        "   I.     A Scandal in Bohemia\n   II.    The Red-Headed League\n",
        "“We both thought the best resource was flight, when pursued by so formidable an antagonist; so you will find",
    ],
    "sherlock.txt": ["I have seldom heard him mention her under any other name. In his eyes she eclipses"],
}  # fmt: skip


def book_of(name):
    return parse(text_of(lambda: [(SHARED / name).read_bytes()])[1])


@real_books
@pytest.mark.parametrize("name", FACTS)
def test_real_books_begin_and_end_where_they_should(name):
    first, last, author, language, number = FACTS[name]
    book = book_of(name)
    assert book.text.lstrip().startswith(first) and " ".join(book.text[-300:].split()).endswith(last)
    assert (book.authors, book.language, book.number) == ((author,), language, number)
    assert (book.has_header, book.has_end, book.copyrighted) == (True, True, False)
    assert not re.search(r"project\s+gutenberg", book.text, re.IGNORECASE) or name.endswith("7000-8.txt")
    assert "\r" not in book.text and "\ufeff" not in book.text


@real_books
@pytest.mark.parametrize("name", WHOLE)
def test_real_prose_is_joined_and_real_verse_is_not(name):
    book = book_of(name)
    text = unwrap(book.text)
    for passage in WHOLE[name]:
        assert passage in text
    assert text.split() == book.text.split() or _without_joints(text) == _without_joints(book.text)


def _without_joints(text):
    """Words alone: where a line ended in a dash or hyphen, the words beside it become one."""
    return re.sub(r"\s+", "", text)


def test_titles_of_real_books_are_theirs():
    if SHARED.exists():
        assert book_of("gutenberg/2city11.txt").title == "A Tale of Two Cities"
        assert book_of("gutenberg/2600-0.txt").title == "War and Peace"


HEADER = (
    "The Project Gutenberg EBook of A Book, by Some One\n\nTitle: A Book\n       and its Subtitle\n\nAuthor: Some One\n"
)


@pytest.mark.parametrize(
    "start",
    [
        "*** START OF THE PROJECT GUTENBERG EBOOK A BOOK ***",
        "*** START OF THIS PROJECT GUTENBERG EBOOK A BOOK ***",
        "***START OF THE PROJECT GUTENBERG EBOOK A BOOK***",
        "*** START OF THE PROJECT GUTENBERG EBOOK A BOOK\nWITH A LONG TITLE ***",
        "*** START OF THE PROJECT GUTENBERG EBOOK, A BOOK ***\n\n\nE-text prepared by A. Nonymous\nand another",
        "*** Start of this Project Gutenberg Etext A Book ***\n\nProduced by Some Body",
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
        "*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.10.04.01*END*\n\nThis etext was prepared by A. N. Other",
        "*** START OF THE PROJECT GUTENBERG EBOOK A ***\n\nsmall print\n*END*THE SMALL PRINT! x*END*",
    ],
)
@pytest.mark.parametrize(
    "end",
    [
        "*** END OF THE PROJECT GUTENBERG EBOOK A BOOK ***\n\nlicence",
        "            *** END OF THE PROJECT GUTENBERG EBOOK A BOOK ***\n        \nlicence",
        "***END OF THIS PROJECT GUTENBERG EBOOK A BOOK***\nlicence",
        "End of the Project Gutenberg EBook of A Book, by Some One\n\n*** END OF THIS PROJECT GUTENBERG EBOOK A ***",
        "End of The Project Gutenberg Etext of A Book",
        "End of Project Gutenberg's A Book, by Some One",
        "End of this Project Gutenberg Etext of A Book",
        "Ende dieses Project Gutenberg Etextes, A Book",
        "*** START: FULL LICENSE ***\n\nlicence",
        "",
    ],
)
def test_markers_of_every_age(start, end):
    book = parse(f"{HEADER}\n\n{start}\n\n\n\nCHAPTER I\n\nIt began.\n\nIt ended.\n\n\n\n{end}\n")
    assert book.text == "CHAPTER I\n\nIt began.\n\nIt ended."
    assert (book.title, book.authors) == ("A Book and its Subtitle", ("Some One",))
    assert (book.has_header, book.has_end) == (True, end != "")


def test_a_file_without_markers_is_the_book():
    book = parse("\ufeff\n\nCHAPTER I\n\nThe end of the project was near.\nShe spoke of Gutenberg.\n")
    assert book.text == "CHAPTER I\n\nThe end of the project was near.\nShe spoke of Gutenberg."
    assert (book.has_header, book.has_end, book.number, book.authors) == (False, False, None, ())


@pytest.mark.parametrize(
    ("header", "copyrighted"),
    [
        ("** This is a COPYRIGHTED Project Gutenberg eBook, Details Below **\n", True),
        ("*** This is a COPYRIGHTED Project Gutenberg Etext, Details Above ***\n", True),
        ("Copyright laws are changing all over the world, be sure to check the copyright laws\n", False),
    ],
)
def test_books_under_copyright_are_known(header, copyrighted):
    text = f"{HEADER}{header}\n*** START OF THE PROJECT GUTENBERG EBOOK ***\nText.\n"
    assert parse(text).copyrighted == copyrighted
    assert parse(text.replace("THE PROJECT", "THE COPYRIGHTED PROJECT")).copyrighted


def test_fields_over_several_lines_and_times():
    text = (
        "Title: One\n       Two: Three\n\nAuthor: A. B. See\n        D. Eff and Gee Aitch\nAuthor: Jot; Kay\n"
        "Release date: March 1, 1999 [eBook #12]\n\nLanguage: Middle English\n"
        "*** START OF THE PROJECT GUTENBERG X ***\n"
    )
    book = parse(text)
    assert (book.title, book.number, book.language) == ("One Two: Three", 12, "middle english")
    assert book.authors == ("A. B. See", "D. Eff", "Gee Aitch", "Jot", "Kay")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("UTF-8", "utf-8"),
        ("ISO-8859-1", "iso-8859-1"),
        ("ISO Latin-1", "latin-1"),
        ("ISO-646-US (US-ASCII)", "iso-646-us"),
        ("Unicode UTF-8", "utf-8"),
        ("Windows-1252", "cp1252"),
        ("CP-1252", "cp1252"),
        ("Windows Code Page 1250", "cp1250"),
        ("Codepage 437", "cp437"),
        ("1251", "cp1251"),
        ("", None),
    ],
)
def test_declared_encodings(said, meant):
    assert declared_charset(f"Title: A\r\nCharacter set encoding: {said}\r\n\r\n".encode()) == meant


@pytest.mark.parametrize(
    ("declared", "data", "text"),
    [
        ("ISO-8859-1", "Größe".encode("latin1"), "Größe"),
        ("ISO-8859-1", "Größe – “so”".encode("cp1252"), "Größe – “so”"),
        ("ISO-8859-1", "Größe – 5 €".encode(), "Größe – 5 €"),
        ("Windows-1251", "Война и мир".encode("cp1251"), "Война и мир"),
        ("ISO-8859-2", "Krzyżacy, święto".encode("iso8859-2"), "Krzyżacy, święto"),
        ("ASCII", "café".encode("latin1"), "café"),
        ("martian", "café".encode("latin1"), "café"),
        ("rot13", "café".encode("latin1"), "café"),
    ],
)
def test_the_declared_encoding_is_used(declared, data, text):
    whole = f"Character set encoding: {declared}\n\n".encode() + data
    assert text_of(lambda: [whole[:10], whole[10:]])[1].endswith(text)


PROSE = (
    "The mill stood by the river, and the river turned the wheel, and the wheel turned the stones, and whoever came by "
    "in the evening heard how they sang; for stones that are well set sing, as every miller will tell you who has ever "
    "listened to his own."
)


def wrapped(text, width, indent=""):
    lines, line = [], indent
    for word in text.split():
        if line.strip() and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = indent
        line += word if line == indent else f" {word}"
    return "\n".join([*lines, line])


VERSE = [
    "Tiger, tiger, burning bright\nIn the forests of the night,\nWhat immortal hand or eye\nCould frame thy symmetry?",
    "    O, won't we have a merry time,\n    Drinking whisky, beer and wine!",
    "Friends, Romans, countrymen, lend me your ears;\nI come to bury Caesar, not to praise him.\n"
    "The evil that men do lives after them;\nThe good is oft interred with their bones;",
    "vaka vanha väinämöinen\nlähteäksensä käkesi\ntuonne kylmähän kylähän,\npimeähän pohjolahan.",
    "   I. A Scandal in Bohemia\n  II. The Red-headed League\n III. A Case of Identity",
    "Year      Wheat     Barley    Oats and whatever else there was\n"
    "1801      12.5      3.1       100 to 120, by the barrel\n"
    "1802      11.0      2.9       90, some of it wet",
    "Yours truly,\n        THE MILLER",
    "HAMLET. To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n"
    "The slings and arrows of outrageous fortune,\nOr to take arms against a sea of troubles",
]  # fmt: skip


@pytest.mark.parametrize("verse", VERSE)
@pytest.mark.parametrize("width", [60, 66, 72, 78])
def test_verse_between_prose_stays(verse, width):
    prose = wrapped(PROSE, width)
    assert prose.count("\n") >= 2
    text = "\n\n".join([prose, verse, prose, prose])
    assert unwrap(text) == "\n\n".join([PROSE, verse, PROSE, PROSE])


@pytest.mark.parametrize("width", [55, 66, 75])
def test_prose_that_is_moved_in_is_joined(width):
    quoted = wrapped(PROSE, width, "     ")
    first_line_in = "    " + wrapped("x" * 4 + PROSE, width)[4:]
    assert unwrap(f"{quoted}\n\n{first_line_in}") == f"{PROSE}\n\n{PROSE}"


def test_a_poem_within_a_paragraph_keeps_its_lines():
    prose = wrapped(PROSE, 70)
    poem = "     Those girls, those girls,\n     Those lovely seaside girls."
    assert unwrap(f"{prose}\n{poem}\n{prose}") == f"{PROSE}\n{poem}\n{PROSE}"


@pytest.mark.parametrize(
    ("before", "after", "joined"),
    [
        ("he went away--", "and came back", "he went away--and came back"),
        ("he went away", "--and came back", "he went away--and came back"),
        ("er ging fort --", "und kam zurück", "er ging fort -- und kam zurück"),
        ("he went away—", "and came back", "he went away—and came back"),
        ("a well-", "known man", "a well-known man"),
        ("with two-", "or threefold", "with two- or threefold"),
        ("he stayed", "where he was", "he stayed where he was"),
    ],
)
def test_joints(before, after, joined):
    filler = "and so on and so forth until the line is just as long as this"
    text = f"{filler} {before}\n{after}"
    assert unwrap(text) == f"{filler} {joined}"


@given(st.lists(st.text(alphabet="aB .-—*\t\n", max_size=90), max_size=12))
@settings(max_examples=60)
def test_unwrapping_loses_no_character_but_white_space(lines):
    text = "\n".join(lines)
    assert _without_joints(unwrap(text)) == _without_joints(text)


_PIECES = st.sampled_from(
    [
        "*** START OF THE PROJECT GUTENBERG EBOOK X ***",
        "*END*THE SMALL PRINT! *END*",
        "*** END OF THE PROJECT GUTENBERG EBOOK X ***",
        "End of the Project Gutenberg",
        "Title: X",
        "Author:",
        "Language: ",
        "The Project Gutenberg Etext of",
        "[EBook #99999999999999999999]",
        "",
        "   ",
    ]
)


@given(st.lists(_PIECES | st.text(max_size=30), max_size=20))
@settings(max_examples=100)
def test_no_text_raises_anything(lines):
    text = "\n".join(lines).replace("\r", "")
    book = parse(text)
    known = {line.removeprefix("\ufeff").rstrip() for line in text.split("\n")}
    assert set(book.text.split("\n")) <= known | {""}
