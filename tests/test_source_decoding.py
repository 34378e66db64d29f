"""Decoding and splitting against Python's own codecs and against plain splitting of whole texts."""

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats import decoding
from data.formats.decoding import CannotDecodeError, Encoding, decode, split

TEXT = "Die Mühle — 磨坊 🌾\nzweite Zeile"


def read(data, fallback="cp1252", chunk=5):
    encoding, texts = decode(lambda: (data[at : at + chunk] for at in range(0, len(data), chunk)), fallback)
    return encoding, "".join(texts)


@pytest.fixture(params=["whole", "streamed"])
def way(request, monkeypatch):
    """Both ways of reading a file: held as a whole, and read twice."""
    monkeypatch.setattr(decoding, "WHOLE_BYTES", 3 if request.param == "streamed" else 16_000_000)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode(), Encoding("utf-8")),
        (codecs.BOM_UTF8 + TEXT.encode(), Encoding("utf-8", 3)),
        (TEXT.encode("utf-16"), Encoding("utf-16-le", 2)),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), Encoding("utf-16-be", 2)),
        (codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"), Encoding("utf-32-le", 4)),
        (codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"), Encoding("utf-32-be", 4)),
    ],
)
def test_marks_and_utf8_are_recognised(way, data, encoding):
    assert read(data) == (encoding, TEXT)


def test_anything_else_is_the_fallback(way):
    assert read("Größe – 5 €".encode("cp1252")) == (Encoding("cp1252", guessed=True), "Größe – 5 €")
    assert read("мельница".encode("cp1251"), "cp1251") == (Encoding("cp1251", guessed=True), "мельница")
    assert read("粉".encode("utf-16-le"), "utf-16-le")[1] == "粉"


def test_an_empty_file_is_an_empty_text(way):
    assert read(b"") == (Encoding("utf-8"), "")
    assert read(codecs.BOM_UTF8) == (Encoding("utf-8", 3), "")


def test_line_ends_become_line_feeds_across_chunks(way):
    assert read(b"12345\r\n6\r7\n\r\n8", chunk=6)[1] == "12345\n6\n7\n\n8"


@pytest.mark.parametrize(
    ("data", "what", "why"),
    [
        (b"abc\0def", "binary", "a NUL at byte 3"),
        (b"\x89PNG\r\n\0", "binary", "a NUL at byte 6"),
        (TEXT.encode("utf-16-le"), "binary", "a NUL"),
        (b"caf\xe9 \x81", "undecodable", "not utf-8 at byte 3; not cp1252 at byte 5"),
        (codecs.BOM_UTF8 + b"abcdefg\xff", "undecodable", "not utf-8 at byte 10"),
        (codecs.BOM_UTF16_LE + b"a\0b", "undecodable", "not utf-16-le at byte 4"),
        (codecs.BOM_UTF16_LE + b"a\0\0\xd8b\0", "undecodable", "not utf-16-le at byte 4"),
        (codecs.BOM_UTF16_LE + b"a\0\0\0", "binary", "a NUL character"),
    ],
)
def test_what_is_no_text_is_named(way, data, what, why):
    with pytest.raises(CannotDecodeError) as caught:
        read(data)
    assert (caught.value.what, why in caught.value.why) == (what, True), caught.value.why


def test_a_cut_character_at_the_end_is_noticed(way):
    assert read("磨".encode()[:2])[0].guessed
    with pytest.raises(CannotDecodeError, match="not ascii at byte 0"):
        read("磨".encode()[:2], "ascii")


@given(
    st.binary(max_size=60) | st.text().map(str.encode) | st.text().map(lambda text: text.encode("utf-16", "replace")),
    st.sampled_from(["cp1252", "iso8859-1", "shift_jis", "utf-16", "gb18030"]),
    st.integers(1, 9),
)
def test_streamed_and_whole_agree_on_any_bytes(data, fallback, chunk):
    answers = []
    for limit in (2, 16_000_000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoding, "WHOLE_BYTES", limit)
            try:
                answers.append(read(data, fallback, chunk))
            except CannotDecodeError as error:
                assert error.what in ("binary", "undecodable")
                answers.append(None)
    assert answers[0] == answers[1]
    if answers[0] and answers[0][0] == Encoding("utf-8"):
        assert answers[0][1] == data.decode().replace("\r\n", "\n").replace("\r", "\n")


def pieces(text, delimiter="<|endoftext|>", chunk=4):
    return list(split((text[at : at + chunk] for at in range(0, len(text), chunk)), delimiter))


def test_a_delimiter_is_a_line_and_numbers_count_delimiters():
    text = "one\n<|endoftext|>\ntwo <|endoftext|>\nstill two\n<|endoftext|> \n \n<|endoftext|>\nfour"
    assert pieces(text) == [(1, 1, "one\n"), (2, 1, "two <|endoftext|>\nstill two\n"), (4, 1, "four\n")]


def test_appending_changes_no_number():
    before = "one\n<|endoftext|>\ntwo\n<|endoftext|>\n"
    assert pieces(before) == [(1, 1, "one\n"), (2, 1, "two\n")]
    assert pieces(before + "three\n<|endoftext|>") == [(1, 1, "one\n"), (2, 1, "two\n"), (3, 1, "three\n")]


def test_a_file_without_text_is_one_empty_document():
    assert pieces("<|endoftext|>\n \n<|endoftext|>") == [(1, 1, "")]
    assert pieces("", None) == [(1, 1, "")]


def test_a_long_document_comes_in_parts_cut_at_paragraphs(monkeypatch):
    monkeypatch.setattr(decoding, "DOCUMENT_CHARACTERS", 20)
    expected = ["first paragraph\n\n", "a second line\n", "and-on-and-on-and-on", "-and-on"]
    text = "".join(expected)
    assert pieces(text, None) == [(1, at, part) for at, part in enumerate(expected, 1)]
    assert [part for _, _, part in pieces("early\n\n" + "x" * 20, None)] == ["early\n\n" + "x" * 13, "x" * 7]
    assert pieces(text + " and more", None)[:3] == pieces(text, None)[:3]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "bb", "\n", "##", "##\n", " ", "x" * 9, "\n##\n"]), max_size=40), st.integers(1, 7)
)
def test_splitting_agrees_with_splitting_lines(tokens, chunk):
    text = "".join(tokens)
    expected = [[]]
    for line in text.split("\n"):
        if line.rstrip() == "##":
            expected.append([])
        else:
            expected[-1].append(line)
    expected = [(at, "\n".join(lines).strip()) for at, lines in enumerate(expected, 1)]
    expected = [(at, piece) for at, piece in expected if piece] or [(1, "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_LINE_CHARACTERS", 3)
        assert [(at, piece.strip()) for at, _, piece in pieces(text, "##", chunk)] == expected


@given(st.text(alphabet="ab\n", max_size=200), st.integers(1, 30), st.integers(2, 25))
def test_parts_are_the_document_and_do_not_depend_on_chunks(text, chunk, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "DOCUMENT_CHARACTERS", limit)
        parts = pieces(text, None, chunk)
        assert parts == pieces(text, None, 1000)
    assert "".join(part for _, _, part in parts) == text
    assert all(len(part) <= limit for _, _, part in parts)
