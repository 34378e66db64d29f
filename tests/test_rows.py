"""Rows of Parquet, JSON lines and CSV as foreign files have them: damaged, empty, null, of other types, or hostile."""

import csv
import io
import json
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.formats import parquet_groups, parquet_pages, parquet_values
from data.formats.base import Tally
from data.formats.ids import UniqueIds
from data.sources.base import Problem, RawDocument
from data.sources.hub import joining, text_rows
from data.sources.hub.parquet_pieces import cut, groups_of, header_of, parse_footer, spans_of
from data.sources.hub.row_documents import Origin, documents, joined_documents
from data.sources.hub.rows import Fields, Rows, Unreadable, parquet_rows
from data.sources.hub.text_rows import csv_rows, json_rows
from tests.hub_toys import parquet, text, texts

TEXT = Fields("text")


def read(data, fields=TEXT, offset=0):
    return list(parquet_rows(io.BytesIO(data), offset, len(data) - offset, fields))


def values(found, name="text"):
    return [value for one in found if isinstance(one, Rows) for value in one.values(name)]


def unreadable(found):
    return [(one.what, one.first, one.end) for one in found if isinstance(one, Unreadable)]


def piece(data, first, end, columns=("text",)):
    """What a fetch by ranges brings of row groups, made from the whole file."""
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") :]
    spans = spans_of(parse_footer(footer), (first, end), columns, len(data))
    parts = [data[start : start + size] for start, size in spans]
    return b"".join([header_of(len(data), (first, end), spans, len(footer)), *parts, footer])


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"compression": "zstd", "use_dictionary": False},
        {"compression": "none", "data_page_version": "2.0"},
        {"compression": "gzip", "data_page_size": 100, "write_page_checksum": True},
        {"compression": "brotli", "write_page_index": True},
        {"compression": "lz4", "column_encoding": {"text": "DELTA_BYTE_ARRAY"}, "use_dictionary": False},
    ],
)
def test_pieces_hold_the_rows_of_their_groups(how):
    data = texts(0, 95, group=10, **how)
    for first, end in ((0, 10), (0, 1), (3, 7), (9, 10)):
        part = b"before" + piece(data, first, end)
        found = read(part, offset=6)
        assert values(found) == [text(n) for n in range(10 * first, min(95, 10 * end))]
        assert found[0].first == 10 * first
        assert unreadable(found) == []


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "ü"]),
        pa.array(["a", None, "ü"], pa.large_string()),
        pa.array(["a", None, "ü"], pa.string_view()),
        pa.array(["a", None, "ü"]).dictionary_encode(),
        pa.array([b"a", None, "ü".encode()]),
        pa.array([b"a", None, "ü".encode()], pa.large_binary()),
    ],
)
def test_every_kind_of_text_column_is_text(column):
    assert values(read(parquet({"text": column}))) == ["a", None, "ü"]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([1, 2], "column 'text' holds int64, not text; its columns are text: int64, other: string"),
        ([["a"], ["b"]], "has no column 'text' of plain values; its columns are text, other"),
        ([{"x": "a"}, {"x": "b"}], "has no column 'text' of plain values; its columns are text, other"),
    ],
)
def test_a_column_of_something_else_is_named_with_all_there_are(column, said):
    (one,) = read(parquet({"text": column, "other": ["x", "y"]}))
    assert (one.what, one.why) == ("wrong_column", said)


def test_rows_that_are_no_utf8_are_named_one_by_one():
    column = pa.array([b"fine", b"caf\xe9", b"good"])
    for kind in (column, pa.Array.from_buffers(pa.string(), 3, column.buffers())):
        origin = Origin("a.parquet", None, None, {"look": 1}, 0)
        found = list(documents(iter(read(parquet({"text": kind}))), TEXT, origin, UniqueIds(), Tally()))
        assert [one.text for one in found if isinstance(one, RawDocument)] == ["fine", "good"]
        assert [(one.what, one.where) for one in found if isinstance(one, Problem)] == [("undecodable", "a.parquet#1")]


def test_empty_row_groups_are_passed_over_and_a_file_without_rows_is_named():
    sink = io.BytesIO()
    table = pa.table({"text": ["one", "two"]})
    with pq.ParquetWriter(sink, table.schema) as writer:
        for part in (table.slice(0, 0), table.slice(0, 1), table.slice(0, 0), table.slice(1), table.slice(0, 0)):
            writer.write_table(part)
    data = sink.getvalue()
    assert pq.read_metadata(io.BytesIO(data)).num_row_groups == 5
    assert values(read(data)) == ["one", "two"]
    assert unreadable(read(texts(0, 0))) == [("empty", None, None)]
    groups = groups_of(pq.read_metadata(io.BytesIO(data)), 100, ["text"])
    assert groups.rows == (0, 1, 0, 1, 0)
    pieces = cut(groups, 1)
    assert values([one for first, end in pieces for one in read(piece(data, first, end))]) == ["one", "two"]
    assert len(pieces) == 2


def test_a_damaged_page_costs_its_row_group_and_is_told():
    data = bytearray(texts(0, 100, group=10, write_page_checksum=True, compression="none", use_dictionary=False))
    at = data.index(text(34).encode())
    data[at] ^= 1
    found = read(bytes(data))
    assert values(found) == [text(n) for n in range(100) if not 30 <= n < 40]
    assert unreadable(found) == [("damaged", 30, 40)]
    assert [one.first for one in found if isinstance(one, Rows)] == [0, 10, 20, 40, 50, 60, 70, 80, 90]
    problem = next(
        one
        for one in documents(iter(found), TEXT, Origin("a.parquet", None, None, {"look": 1}, 0), UniqueIds(), Tally())
        if isinstance(one, Problem)
    )
    assert problem.where == "a.parquet#30-39"
    assert "(10 rows)" in problem.why


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_change_of_bytes_raises_anything(data):
    whole = texts(0, 60, group=20, compression=data.draw(st.sampled_from(["none", "snappy"])))
    content = bytearray(data.draw(st.sampled_from([whole, piece(whole, 1, 3)])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    for one in read(bytes(content[: data.draw(st.integers(0, len(content)))])):
        assert isinstance(one, Rows | Unreadable)


@pytest.mark.parametrize(
    "header",
    [
        *(b"[]", b"{", b"\xff", b"[" * 100_000, b'{"file_bytes":5,"footer":1,"groups":[1],"spans":[]}'),
        *(b'{"file_bytes":[],"footer":1}', b'{"file_bytes":Infinity,"footer":1,"groups":[1,2],"spans":[]}'),
        b'{"file_bytes":5,"footer":1,"groups":[1,2],"spans":[[1]]}',
    ],
)
def test_a_piece_whose_header_is_damaged_is_named(header):
    (problem,) = read(b"TMPIECE1" + len(header).to_bytes(8, "little") + header)
    assert problem.what == "damaged" and problem.why.startswith("the piece's header is damaged: ")


def test_what_grows_without_measure_is_given_up(monkeypatch):
    monkeypatch.setattr(parquet_groups, "BOMB_BYTES", 10_000)
    monkeypatch.setattr(parquet_groups, "BATCH_BYTES", 5_000)
    data = parquet(["x" * 1_000_000, "y"], group=1, compression="zstd", use_dictionary=False)
    found = read(data)
    assert values(found) == ["y"]
    assert unreadable(found) == [("decompression_bomb", 0, 1)]
    data = parquet(["x" * 10_000] * 500, group=500, use_dictionary=True)  # the footer says little of what rows repeat
    found = read(data)
    assert unreadable(found)[0][0] == "decompression_bomb"


def repeating(rows, value, path, lists=False):
    """A small Parquet file of rows that are all the same value, there once; as text, or as a list of authors."""
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value]))
    columns = {"text": names}
    if lists:
        columns = {"text": ["short"], "authors": pa.ListArray.from_arrays(pa.array([0, rows], pa.int32()), names)}
    pq.write_table(pa.table(columns), path, dictionary_pagesize_limit=1 << 30, store_schema=False, compression="zstd")
    assert path.stat().st_size < 100_000


def test_memory_stays_small_where_a_few_bytes_stand_for_gigabytes(tmp_path):
    for name, rows, lists in (("few", 9_000, False), ("many", 30_000, False), ("list", 9_000, True)):
        repeating(rows, "x" * 1_000_000, tmp_path / f"{name}.parquet", lists)
    code = """
import collections, json, sys
from pathlib import Path
from data.formats.base import File, Reading, Tally
from data.formats.reading import read_file
from data.sources.base import Problem
from data.sources.hub.rows import Fields, Rows, parquet_rows
from tests.benchmarks.hub import peak_memory
said = {}
for path in Path(sys.argv[1]).iterdir():
    counts = said[path.stem] = collections.Counter()
    with path.open("rb") as file:
        for one in parquet_rows(file, 0, path.stat().st_size, Fields("text")):
            rows, what = (len(one), "rows") if isinstance(one, Rows) else (one.end - one.first, one.what)
            counts["hub " + what] += rows
    for one in read_file(File(path.name, lambda: [path.read_bytes()]), Reading(), Tally()):
        counts["folder " + (one.what if isinstance(one, Problem) else "rows")] += 1
print(json.dumps(said | {"peak": peak_memory()}))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said.pop("list") == {"hub rows": 1, "folder decompression_bomb": 1}
    for rows, counts in ((9_000, said["few"]), (30_000, said["many"])):
        assert 50 <= counts["hub rows"] == rows - counts["hub decompression_bomb"] <= 64, "64 MB may come out"
        assert counts["folder rows"] == counts["hub rows"]
        assert counts["folder decompression_bomb"] == 1
    assert said["peak"] < 500, "MB"


@pytest.mark.parametrize("how", [{}, {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}])
@pytest.mark.parametrize("few", [0, 10_000])
def test_no_batch_is_larger_than_it_may_be(monkeypatch, how, few):
    monkeypatch.setattr(parquet_groups, "GROWTH_BYTES", 100_000)
    monkeypatch.setattr(parquet_groups, "_FEW_ROWS", few)
    data = parquet(["x" * 10_000] * 100 + ["y"] * 900, group=1_000, **how)
    table = parquet_groups.ParquetTable(io.BytesIO(data), ["text"])
    batches = list(table.batches(0))
    assert sum(batch.num_rows for batch in batches) == 1_000
    assert all(batch.nbytes <= 110_000 for batch in batches)


@pytest.mark.parametrize("how", [{}, {"dictionary_pagesize_limit": 500}, {"use_dictionary": False}])
@pytest.mark.parametrize(("longest_row", "is_read"), [(5, True), (500, True), (3_000, False)])
def test_lists_of_names_are_read_unless_one_alone_is_too_large(monkeypatch, how, longest_row, is_read):
    monkeypatch.setattr(parquet_groups, "GROWTH_BYTES", 100_000)
    names = ["x" * 80, *(f"Author {n}" for n in range(50))]
    authors = [[names[(row * 5 + n) % 51] for n in range(5)] for row in range(2_000)]
    authors[7], authors[8], authors[9] = [], None, ["x" * 80] * longest_row
    data = parquet({"text": [text(n) for n in range(2_000)], "authors": authors}, group=2_000, **how)
    table = parquet_groups.ParquetTable(io.BytesIO(data), ["text", "authors"])
    if is_read or "use_dictionary" in how:  # without a dictionary the file is as large as what comes out
        batches = list(table.batches(0))
        assert [row for batch in batches for row in batch.column("authors").to_pylist()] == authors
        assert longest_row > 5 or len(batches) < 30
        if not how:
            assert all(batch.column("authors").nbytes <= 110_000 for batch in batches)
    else:
        with pytest.raises(parquet_groups.GrowsTooMuchError, match="a list in column authors"):
            list(table.batches(0))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_pages_say_whether_those_with_a_dictionary_come_first(version):
    how = {"data_page_version": version, "data_page_size": 1_000, "dictionary_pagesize_limit": 5_000}
    data = parquet({"text": [[text(n)] for n in range(2_000)]}, group=2_000, **how)
    chunk = pq.read_metadata(io.BytesIO(data)).row_group(0).column(0)
    encodings = list(parquet_pages._encodings(io.BytesIO(data), chunk))
    assert encodings == sorted(encodings, reverse=True)
    assert set(encodings) == {8, 0}, "RLE_DICTIONARY, then PLAIN"
    assert parquet_pages.dictionary_comes_first(io.BytesIO(data), chunk)
    assert not parquet_pages.dictionary_comes_first(io.BytesIO(data[: chunk.data_page_offset + 100]), chunk)
    for seed in range(50):
        other = np.random.default_rng(seed).bytes(len(data))
        assert isinstance(parquet_pages.dictionary_comes_first(io.BytesIO(other), chunk), bool)


@pytest.mark.parametrize(("encodings", "is_so"), [([8, 8, 0], True), ([8, 0, 8], False), ([0, 2], False), ([0], True)])
def test_a_dictionary_after_plain_pages_is_seen(encodings, is_so):
    # by hand: a data page (0) of 3 bytes, 3 compressed, with a header of 1 value in this encoding, levels in RLE (3)
    pages = [bytes.fromhex(f"1500 1506 1506 2c 1502 15{2 * one:02x} 1506 1506 00 00") + b"abc" for one in encodings]
    content = b"PAR1" + b"".join(pages)
    chunk = SimpleNamespace(data_page_offset=4, has_dictionary_page=False, total_compressed_size=len(content) - 4)
    assert parquet_pages.dictionary_comes_first(io.BytesIO(content), chunk) is is_so


def test_the_largest_row_counts_every_value_as_often_as_it_is_there():
    names = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 1, 1, 0], pa.int8()), pa.array(["a", "b" * 10]))
    lists = pa.ListArray.from_arrays(pa.array([0, 2, None, 3, 6], pa.int32()), names)
    assert [parquet_values.largest_row(lists.slice(n, 1), 4) for n in range(4)] == [19, 4, 0, 33]
    assert parquet_values.largest_row(lists, 4) == 33
    records = pa.ListArray.from_arrays([0, 2, 6], pa.StructArray.from_arrays([names, names], ["name", "other"]))
    assert parquet_values.largest_row(records, 0) == 42
    assert parquet_values.largest_row(pa.ListArray.from_arrays([0, 2, 4], lists), 0) == 21
    assert parquet_values.largest_row(pa.FixedSizeListArray.from_arrays(names, 3).slice(1), 0) == 21
    assert parquet_values.largest_row(pa.MapArray.from_arrays([0, 2, 6], pa.array(range(6)), names), 0) == 21


def test_two_columns_of_one_name_are_told():
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"]), sink)
    (one,) = read(sink.getvalue())
    assert (one.what, one.why) == ("damaged", "two of its columns are called 'text'")


@pytest.mark.parametrize(
    "dates",
    [
        pa.array([0, 10**18, 86_400_000_000]).cast(pa.timestamp("us")),
        pa.array([0, 10**9, 1], pa.int32()).cast(pa.date32()),
        pa.array([0, 10**17, 86_400_000]).cast(pa.date64()),
        pa.array([0, 10**18, 86_400_000_000]).cast(pa.timestamp("us", "UTC")),
    ],
)
@pytest.mark.parametrize("run", [None, 1])
def test_a_date_that_cannot_be_held_costs_itself(dates, run):
    fields, origin = Fields("text", date="day"), Origin("a.parquet", None, None, {"look": 1}, 0)
    found = read(parquet({"text": ["a", "b", "c"], "day": dates}), fields)
    made = (
        joined_documents(found, fields, origin, run, " ")
        if run
        else documents(found, fields, origin, UniqueIds(), Tally())
    )
    assert [(one.text, one.created and one.created[:10]) for one in made] == [
        ("a", "1970-01-01"),
        ("b", None),
        ("c", "1970-01-02"),
    ]


def test_a_time_zone_that_is_not_known_costs_the_dates_only():
    days = pa.array([0, 1]).cast(pa.timestamp("us", "Mars/Phobos"))
    assert read(parquet({"text": ["a", "b"], "day": days}), Fields("text", date="day"))[0].values("day") == [None, None]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1\xff\xff\xff\x7fPAR1", b"PAR1" * 30, b"\0" * 100])
def test_what_is_no_parquet_is_named(data):
    assert unreadable(read(data)) == [("damaged", None, None)]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 50)), max_size=12),
    st.integers(1, 120),
    st.none() | st.integers(1, 30),
)
def test_cuts_take_every_group_with_rows_once_and_in_order(groups, size, limit):
    from data.sources.hub.parquet_pieces import Groups

    said = Groups((), (), tuple(rows for rows, _ in groups), tuple(bytes_ for _, bytes_ in groups), 10)
    pieces = cut(said, size, limit)
    taken = [number for first, end in pieces for number in range(first, end)]
    assert taken == sorted(set(taken))
    needed, seen = [], 0
    for number, (rows, _) in enumerate(groups):
        if rows and (limit is None or seen < limit):
            needed.append(number)
        seen += rows
    assert [number for number in taken if groups[number][0]] == needed
    for first, end in pieces:
        held = [bytes_ for rows, bytes_ in groups[first:end] if rows]
        assert held
        assert len(held) == 1 or sum(held) <= size


def lines(*values):
    return b"\n".join(value if isinstance(value, bytes) else json.dumps(value).encode() for value in values)


def test_broken_lines_cost_themselves_only():
    data = lines(
        {"text": "zero"}, b"", b"{", [1], {"other": 1}, {"text": 5}, b'{"text": "\xff"}', {"text": "seven"}, b"  "
    )
    found = list(json_rows([data[:9], data[9:]], TEXT))
    assert values(found) == ["zero", 5, "seven"]
    assert unreadable(found) == [
        (what, n, n + 1) for what, n in (("broken", 2), ("broken", 3), ("wrong_column", 4), ("undecodable", 6))
    ]
    got = list(documents(iter(found), TEXT, Origin("a", None, None, {"look": 1}, 0), UniqueIds(), Tally()))
    assert [one.native_id for one in got if isinstance(one, RawDocument)] == ["a#0", "a#7"]
    assert [one.where for one in got if isinstance(one, Problem) and one.what == "not_text"] == ["a#5"]


def test_a_file_without_the_column_is_given_up():
    found = list(json_rows([lines(*[{"body": "x", "id": 1}] * 5000)], TEXT))
    assert len(found) == 101
    assert found[0].why == "has no column 'text' of plain values; its columns are body, id"
    assert found[-1].first is None


def test_long_and_deep_lines_are_named(monkeypatch):
    monkeypatch.setattr(text_rows, "RECORD_BYTES", 1_000)
    data = lines({"text": "x" * 2_000}, {"text": "fine"}, b"[" * 900, b"[" * 100_000)
    found = list(json_rows([data[at : at + 64] for at in range(0, len(data), 64)], TEXT))
    assert values(found) == ["fine"]
    assert [what for what, _, _ in unreadable(found)] == ["too_long", "broken", "too_long"]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.binary(max_size=30)
        | st.sampled_from([b'{"text":"a"}', b"\n", b'"', b"text\n", b"a,text\n", b"\xef\xbb\xbf"])
    )
)
@example([b"text\n", b'"\n'])
@example([b"text\n", b"\0"])
def test_any_bytes_give_rows_or_named_problems(chunks):
    for found in (json_rows(chunks, TEXT), csv_rows(lambda: iter(chunks), TEXT, ",")):
        for one in found:
            assert isinstance(one, Rows | Unreadable)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)), st.data())
def test_json_and_csv_come_back_as_other_writers_wrote_them(rows, data):
    size = data.draw(st.integers(1, 50))
    written = "".join(json.dumps({"text": row}, ensure_ascii=False) + "\n" for row in rows).encode()
    chunks = [written[at : at + size] for at in range(0, len(written), size)]
    assert values(list(json_rows(chunks, TEXT))) == rows
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "text"), *enumerate(rows)])
    found = list(csv_rows(lambda: [sink.getvalue().encode()], Fields("text", id="id"), ","))
    assert values(found) == rows
    assert values(found, "id") == [str(n) for n in range(len(rows))]


def test_a_csv_without_the_column_or_in_no_utf8_is_named():
    (one,) = csv_rows(lambda: [b"a;b\n1;2\n"], TEXT, ",")
    assert (one.what, one.why) == ("wrong_column", "has no column 'text' of plain values; its columns are a;b")
    (one,) = csv_rows(lambda: [b"text\ncaf\xe9\n"], TEXT, ",")
    assert one.what == "undecodable"


@settings(deadline=None)
@given(
    st.lists(st.none() | st.sampled_from(["", " ", "\u3000\x1c\x85", "a", "b c", " ü\n"]), max_size=40),
    st.integers(2, 9),
    st.integers(1, 7),
    st.none() | st.integers(1, 40),
    st.sampled_from([None, pa.string(), pa.large_string(), pa.binary()]),
    st.integers(1, 40),
)
def test_runs_are_those_of_plain_counting(column, run, batch, limit, kind, gathered):
    found = [Rows(at + 100, {"text": column[at : at + batch]}) for at in range(0, len(column), batch)]
    if kind:
        found = [Rows(one.first, {"text": pa.array(one.columns["text"]).cast(kind)}) for one in found]
    limits = mock.patch.object(joining, "_GATHERED_BYTES", gathered)
    origin = Origin("f", None, None, {"look": 1}, 0, limit)
    with limits:
        got = list(joined_documents(iter(found), TEXT, origin, run, "|"))
    column = column[:limit]
    wanted = {}
    for at in range(0, len(column), run):
        kept = [value for value in column[at : at + run] if value and value.strip()]
        if kept:
            wanted[f"f#{at + 100}"] = "|".join(kept)
    assert {one.native_id: one.text for one in got if isinstance(one, RawDocument)} == wanted
    nulls = [f"f#{at + 100}" for at, value in enumerate(column) if value is None]
    assert [one.where for one in got if isinstance(one, Problem)] == nulls


def test_rows_that_are_no_utf8_are_left_out_of_their_run():
    column = pa.array([b"a", b"\xc3", b"\xbc", b"b"])  # two halves of a letter
    for kind in (column, pa.Array.from_buffers(pa.string(), 4, column.buffers())):
        (one, two, made) = joined_documents([Rows(0, {"text": kind})], TEXT, Origin("f", None, None, {}, 0), 4, "")
        assert [(bad.what, bad.where) for bad in (one, two)] == [("undecodable", "f#1"), ("undecodable", "f#2")]
        assert (made.text, made.position["rows"]) == ("ab", 2)
