"""JSON lines, JSON and tables: against Python's own readers and pandas, on whole files and on every way to cut them."""

import codecs
import csv
import io
import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats import base, decoding, json_lines, json_values
from data.formats.base import File, Reading, Tally
from data.formats.kinds import kind_of
from data.formats.reading import read_file
from data.sources.base import Problem, RawDocument
from tests.format_toys import documents, found, problems, texts

CHUNKS = st.integers(1, 40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(st.fixed_dictionaries({"text": st.text()}, optional={"id": st.text(), "more": JSON}), max_size=6)


def test_ids_text_and_provenance_of_records():
    lines = [
        {"text": "one", "title": "T", "url": "http://a/1", "date": "2020-02-03", "author": "A", "license": "CC0-1.0"},
        {"text": None, "content": "two", "created_at": "2020-02-03T04:05:06Z", "authors": ["B", "C"], "date": "March"},
        "three",
        {"body": "four", "more": {"text": "no"}},
    ]
    data = "\n".join(map(json.dumps, lines)).encode()
    one, two, three, four = documents(found("a.jsonl", data))
    assert (one.native_id, one.text, one.url, one.created) == ("a.jsonl#1", "one", "http://a/1", "2020-02-03")
    assert (one.meta, one.authors, one.licence) == ({"look": 1, "title": "T"}, ("A",), "CC0-1.0")
    assert (two.text, two.created, two.authors, two.meta) == ("two", "2020-02-03T04:05:06Z", ("B", "C"), {"look": 1})
    assert (three.text, four.text) == ("three", "four")
    assert [one.position for one in (one, four)] == [{"row": 1}, {"row": 4}]


def test_the_fields_are_chosen_by_setting():
    data = b'{"text": "no", "story": "yes", "key": "k"}\n{"text": "no", "story": "more", "key": 7}\n{"text": "no"}\n'
    got = found("a.jsonl", data, Reading(text_field="story", id_field="key"))
    assert texts(got) == {"a.jsonl#k": "yes", "a.jsonl#7": "more"}
    (problem,) = problems(got)
    assert str(problem) == "a.jsonl#3: no_text: no field story (text_field); its fields are: 'text'"


def test_a_repeated_id_is_told_apart_and_counted():
    tally = Tally()
    got = found("a.jsonl", b'{"text":"1","id":"x"}\n{"text":"2","id":"x"}\n', Reading(id_field="id"), tally)
    assert texts(got) == {"a.jsonl#x": "1", "a.jsonl#x;2": "2"}
    notes = []
    tally.tell(notes.append, None)
    assert notes == ["1 row with the id of an earlier row, told apart by the row number after it: a.jsonl#x;2"]


@given(st.lists(st.sampled_from(["1", "2", "3", "x", "x;2", "x;3", "", 2, None, True, 1.5]), max_size=8))
def test_no_two_rows_are_called_the_same_and_rows_that_are_added_rename_none(ids):
    lines = [json.dumps({"text": "t", "id": one}).encode() for one in ids]
    names = [
        [one.native_id for one in found("a.jsonl", b"\n".join(lines[:end]), Reading(id_field="id"))]
        for end in (len(ids), len(ids) // 2)
    ]
    assert len(set(names[0])) == len(ids)
    assert names[0][: len(ids) // 2] == names[1]
    assert all(name == f"a.jsonl#{one}" for name, one in zip(names[0][:1], ids, strict=False) if one == "x")


BROKEN_LINES = [
    (b'{"text": "cut', "broken"),
    (b"{'text': 'python'}", "broken"),
    (b'{"text": null}', "null"),
    (b'{"text": 5}', "no_text"),
    (b'{"other": "x"}', "no_text"),
    (b"{}", "no_text"),
    (b"[1, 2]", "no_record"),
    (b"17", "no_record"),
    (b"null", "no_record"),
    (b"[" * 100_000 + b"]" * 100_000, "broken"),
    (b'{"text": ' + b"9" * 5_000 + b"}", "broken"),
    (b'{"text": "a\0b\x81\xfe"}', "broken"),
]


def test_broken_lines_are_counted_and_named_and_the_rest_goes_on():
    lines = [line for line, _ in BROKEN_LINES]
    data = b'{"text": "first"}\n' + b"\n".join(lines) + b'\n\n{"text": "last"}\r\n'
    got = found("a.jsonl", data)
    assert texts(got) == {"a.jsonl#1": "first", f"a.jsonl#{len(lines) + 3}": "last"}
    expected = [(what, f"a.jsonl#{row}") for row, (_, what) in enumerate(BROKEN_LINES, 2)]
    assert [(problem.what, problem.where) for problem in problems(got)] == expected


def test_what_only_strict_readers_refuse_is_read():
    got = found("a.jsonl", b'{"text": "a", "n": NaN}\n{"text": "b\\ud83d"}\n{"text": "c", "n": 123456789012345678901}')
    assert list(texts(got).values()) == ["a", "b\ud83d", "c"]


def test_lines_in_other_encodings():
    data = 'ï»¿{"text": "a"}\n'.encode("cp1252") + '{"text": "Größe"}\n{"text": "Mühle"}\n'.encode("cp1252")
    tally = Tally()
    assert list(texts(found("a.jsonl", data, tally=tally)).values()) == ["a", "Größe", "Mühle"]
    notes = []
    tally.tell(notes.append, None)
    assert notes == ["1 file not in UTF-8, read as cp1252 (detected): a.jsonl"]
    wide = codecs.BOM_UTF16_LE + '{"text": "磨坊"}\n{"text": "b"}'.encode("utf-16-le")
    assert list(texts(found("a.jsonl", wide)).values()) == ["磨坊", "b"]


def test_a_line_that_is_too_long_is_named(monkeypatch):
    monkeypatch.setattr(json_lines, "RECORD_BYTES", 30)
    got = found("a.jsonl", b'{"text": "short"}\n{"text": "' + b"x" * 100 + b'"}\n{"text": "next"}', chunk=10)
    assert list(texts(got).values()) == ["short", "next"]
    assert [(problem.what, problem.where) for problem in problems(got)] == [("too_long", "a.jsonl#2")]


@given(RECORDS, CHUNKS, st.booleans())
@settings(deadline=None)
def test_json_lines_agree_with_the_standard_library(records, chunk, ascii_only):
    data = "\n".join(json.dumps(record, ensure_ascii=ascii_only) for record in records).encode("utf-8", "replace")
    expected = [json.loads(line)["text"] for line in data.decode().split("\n") if line]
    got = found("a.ndjson", data, Reading(repair_mojibake=False), chunk=chunk)
    assert [document.text for document in documents(got)] == expected
    assert len(got) == len(expected)


@given(RECORDS, CHUNKS, st.sampled_from([None, 1]), st.integers(1, 50))
@settings(deadline=None)
def test_json_agrees_with_the_standard_library(records, chunk, indent, window):
    data = json.dumps(records, indent=indent, ensure_ascii=False).encode("utf-8", "replace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values, "_WINDOW", window)
        patch.setattr(decoding, "WHOLE_BYTES", window)
        got = found("a.json", data, Reading(repair_mojibake=False), chunk=chunk)
    assert [document.text for document in documents(got)] == [
        # line ends become line feeds in files of text, and in JSON they can only stand between values
        record["text"]
        for record in json.loads(data)
    ]
    assert len(got) == len(records)


JSON_FILES = {
    b"[]": ([], []),
    b'{"text": "a"}': (["a"], []),
    b'{"text": "a"}\n{"text": "b"}\n': (["a", "b"], []),
    b'["a", {"text": "b]"}, 5]': (["a", "b]"], ["no_record"]),
    b'[{"text": "a"}, {"text": oops, "x": [1, "]", 2]}, {"text": "b"}]': (["a", "b"], ["broken"]),
    b'[{"text": "a"}, ' + b"[" * 50_000 + b"]" * 50_000 + b', {"text": "b"}]': (["a", "b"], ["too_deep"]),
    b'[{"text": "a"}, ' + b'{"x":' * 50_000: (["a"], ["too_deep", "cut"]),
    b'[{"text": "a"}, {"text": "cut': (["a"], ["broken", "cut"]),
    b'[{"text": "a"} {"text": "lost"}, {"text": "c"}]': (["a", "c"], ["broken"]),
    b'[{"text": "a"}] and more': (["a"], ["broken"]),
    b"": ([], ["empty"]),
    b"  \n": ([], ["empty"]),
    b"\xef\xbb\xbf[]": ([], []),
    b"}}}": ([], ["broken"]),
    b"[[[": ([], ["broken", "cut"]),
    b"null": ([], ["no_record"]),
    b'[{"text": "' + b"9" * 100 + b'"}, {"text": "b"}]': (["9" * 100, "b"], []),
    b"[" + b"9" * 5_000 + b', {"text": "b"}]': (["b"], ["broken"]),
}


@pytest.mark.parametrize("chunk", [3, 10_000_000])
@pytest.mark.parametrize("data", JSON_FILES, ids=lambda data: data[:40].decode(errors="replace"))
def test_json_files_whole_and_broken(data, chunk, monkeypatch):
    monkeypatch.setattr(json_values, "_WINDOW", 10)
    monkeypatch.setattr(decoding, "WHOLE_BYTES", 5)
    got = found("a.json", data, chunk=chunk)
    expected_texts, expected_problems = JSON_FILES[data]
    assert [document.text for document in documents(got)] == expected_texts
    assert [problem.what for problem in problems(got)] == expected_problems


def test_a_value_that_is_too_long_is_passed_over(monkeypatch):
    monkeypatch.setattr(json_values, "RECORD_BYTES", 100)
    monkeypatch.setattr(json_values, "_WINDOW", 20)
    monkeypatch.setattr(decoding, "WHOLE_BYTES", 5)
    data = b'[{"text": "a"}, {"text": "' + b"x, ]" * 200 + b'"}, {"text": "b"}]'
    got = found("a.json", data, chunk=10)
    assert [document.text for document in documents(got)] == ["a", "b"]
    assert [problem.what for problem in problems(got)] == ["too_long"]


CELLS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), max_size=12)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=8), st.sampled_from(",;\t|"), CHUNKS)
@settings(deadline=None)
def test_tables_agree_with_csv_and_pandas(rows, delimiter, chunk):
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("name", "text"), *rows])
    data = file.getvalue().encode()
    got = found("a.csv", data, Reading(repair_mojibake=False), chunk=chunk)
    table = pd.read_csv(io.BytesIO(data), sep=delimiter, dtype=str, keep_default_na=False, skip_blank_lines=False)
    assert [document.text for document in documents(got)] == table["text"].tolist() == [text for _, text in rows]
    assert not problems(got)


def test_tables_with_problems():
    data = b'id,text,n\n1,"two\nlines, ""quoted""",x\n\n2,too few\n3,a,b,too many\n4,last,z\n'
    got = found("a.csv", data, Reading(id_field="id"))
    assert texts(got) == {"a.csv#1": 'two\nlines, "quoted"', "a.csv#4": "last"}
    assert [str(problem) for problem in problems(got)] == [
        "a.csv#2: broken: 2 fields where the header has 3",
        "a.csv#3: broken: 4 fields where the header has 3",
    ]
    (problem,) = found("a.tsv", b"name\tstory\nx\ty\n")
    assert str(problem) == (
        "a.tsv: no_text: no column text or content or body (text_field); its columns are: 'name', 'story'"
    )
    assert [one.what for one in found("a.csv", b"")] == ["no_text"]
    assert [one.what for one in found("a.csv", b"a\0b,text\n")] == ["binary"]
    assert found("a.csv", b"id,text\n") == []


def test_a_quote_that_never_ends_stops_at_a_bound(monkeypatch):
    monkeypatch.setattr("data.formats.tables.RECORD_BYTES", 50)
    got = found("a.csv", b'text\nfine\n"' + b"never\n" * 100)
    assert [document.text for document in documents(got)] == ["fine"]
    assert [(problem.what, problem.where) for problem in problems(got)] == [("broken", "a.csv#2")]
    csv.field_size_limit(base.RECORD_BYTES)


@pytest.mark.parametrize(
    ("name", "content_type", "kind"),
    [
        ("a.TXT", None, ("text", None)),
        ("a.b/c.jsonl.zst", None, ("lines", ".zst")),
        ("a.tgz", None, ("tar", ".gz")),
        ("a.tar.xz", None, ("tar", ".xz")),
        ("page", "text/html; charset=utf-8", ("html", None)),
        ("page.html", "text/plain", ("html", None)),
        ("page.php", "Text/HTML", ("html", None)),
        ("data.gz", "application/json", ("json", ".gz")),
        ("a.png", "image/png", None),
        ("a", None, None),
    ],
)
def test_kinds(name, content_type, kind):
    assert kind_of(name, content_type) == kind


def test_what_is_of_no_kind_is_named():
    (problem,) = read_file(File("a.xyz", lambda: [b""], content_type="image/png"), Reading(), Tally())
    assert isinstance(problem, Problem)
    assert problem.what == "unknown_format"


@given(
    st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv"]),
    st.binary(max_size=120) | st.text('[]{}",:\\ \nabtext0', max_size=80).map(str.encode),
    CHUNKS,
)
@settings(max_examples=400, deadline=None)
def test_no_bytes_raise_anything(name, data, chunk):
    for one in found(name, data, chunk=chunk):
        assert isinstance(one, RawDocument | Problem)
        assert (one.native_id if isinstance(one, RawDocument) else one.where).startswith(name)
