import hashlib
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.digests import file_digest, logical_digest, payload_digest, text_digest

TEXT = st.none() | st.sampled_from(["", "a", "b", "ab", "ä", "\0"])
CELLS = {
    "string": (pa.string(), TEXT),
    "large_string": (pa.large_string(), TEXT),
    "int32": (pa.int32(), st.none() | st.integers(-1, 1)),
    "int64": (pa.int64(), st.none() | st.integers(-1, 1)),
    "double": (pa.float64(), st.none() | st.sampled_from([0.0, 1.0, 1.5])),
    "list": (pa.list_(pa.string()), st.none() | st.lists(TEXT, max_size=3)),
    "nested": (pa.list_(pa.list_(pa.int64())), st.none() | st.lists(st.none() | st.lists(st.just(1), max_size=2))),
}


@st.composite
def tables(draw, rows=None, kinds=None):
    """A small table of few different values, so that two of them are often nearly the same."""
    kinds = kinds or draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=2))
    rows = draw(st.integers(0, 4)) if rows is None else rows
    columns = [pa.array(draw(st.lists(CELLS[k][1], min_size=rows, max_size=rows)), CELLS[k][0]) for k in kinds]
    return pa.table(columns, names=[f"column{i}" for i in range(len(kinds))])


@st.composite
def near_misses(draw):
    """Two tables of the same columns: independent, or one made from the other by a change of order, names or nulls."""
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=2))
    one = draw(tables(kinds=kinds))
    change = draw(st.sampled_from(["none", "other", "reverse", "swap", "rename", "first", "required", "retype"]))
    match change:
        case "other":
            return one, draw(tables(rows=one.num_rows, kinds=kinds))
        case "reverse":
            return one, one.take(pa.array(range(one.num_rows)[::-1], pa.int64()))
        case "swap":
            return one, one.select(one.column_names[::-1])
        case "rename":
            return one, one.rename_columns([f"{name}_" for name in one.column_names])
        case "first":
            return one, one.slice(1)
        case "required" if not any(column.null_count for column in one.columns):
            return one, one.cast(pa.schema([field.with_nullable(False) for field in one.schema]))
        case "retype" if kinds[0] == "int32":
            return one, one.set_column(0, "column0", one.column(0).cast(pa.int64()))
    return one, one


WRITERS = st.fixed_dictionaries(
    {
        "row_group_size": st.integers(1, 5),
        "compression": st.sampled_from(["none", "zstd", "snappy", "gzip"]),
        "use_dictionary": st.booleans(),
        "write_statistics": st.booleans(),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "data_page_size": st.sampled_from([64, 1 << 20]),
        "write_page_checksum": st.booleans(),
        "version": st.sampled_from(["2.4", "2.6"]),
    }
)


def digest_of(table, folder, **options):
    path = folder / "table.parquet"
    pq.write_table(table, path, **options)
    return logical_digest(path)


@settings(deadline=None, max_examples=200)
@given(pair=near_misses(), one=WRITERS, other=WRITERS)
def test_digests_agree_exactly_where_tables_are_equal(tmp_path_factory, pair, one, other):
    folder = tmp_path_factory.getbasetemp()
    first, second = pair
    agree = digest_of(first, folder, **one) == digest_of(second, folder, **other)
    assert agree == (first.schema.equals(second.schema) and first.equals(second))


@settings(deadline=None, max_examples=50)
@given(table=tables(rows=4), cuts=st.lists(st.integers(0, 4), max_size=4))
def test_pieces_and_metadata_are_nothing(tmp_path_factory, table, cuts):
    folder = tmp_path_factory.getbasetemp()
    bounds = [0, *sorted(cuts), 4]
    pieces = [table.slice(start, end - start) for start, end in pairwise(bounds)]
    described = pa.concat_tables(pieces).replace_schema_metadata({"written": "at noon"})
    assert digest_of(described, folder) == digest_of(table, folder)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array(["ab", "c"]), pa.array(["a", "bc"])),
        (pa.array([""]), pa.array([None], pa.string())),
        (pa.array([0]), pa.array([None], pa.int64())),
        (pa.array([[]], pa.list_(pa.string())), pa.array([None], pa.list_(pa.string()))),
        (pa.array([["a"], ["b"]]), pa.array([["a", "b"], []])),
        (pa.array([[None]], pa.list_(pa.string())), pa.array([[""]])),
        (pa.array([[["a"]]]), pa.array([["a"]])),
        (pa.array([[[1], []]]), pa.array([[[], [1]]])),
        (pa.array([1], pa.int32()), pa.array([1], pa.int64())),
    ],
)
def test_values_that_are_easily_confused_differ(tmp_path, one, other):
    assert digest_of(pa.table({"x": one}), tmp_path) != digest_of(pa.table({"x": other}), tmp_path)


def test_more_rows_than_one_batch_are_all_seen(tmp_path):
    numbers = np.arange(150_000)
    for convert in (pa.array, lambda values: pa.array([f"{value}" for value in values])):
        table = pa.table({"x": convert(numbers)})
        one = digest_of(table, tmp_path, row_group_size=1000)
        assert one == digest_of(table, tmp_path, row_group_size=150_000)
        changed = numbers.copy()
        changed[140_000] += 1
        assert one != digest_of(pa.table({"x": convert(changed)}), tmp_path)


def test_columns_without_a_digest_are_refused_by_name(tmp_path):
    with pytest.raises(TypeError, match=r"columns of struct<a: int64>"):
        digest_of(pa.table({"x": [{"a": 1}]}), tmp_path)


def test_a_flipped_bit_in_a_page_is_noticed(tmp_path):
    path = tmp_path / "table.parquet"
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.table({"x": ["some text"]}), path, **plain, write_page_checksum=True)
    content = path.read_bytes()
    assert content.count(b"some text") == 1
    path.write_bytes(content.replace(b"some text", b"some tezt"))
    with pytest.raises(OSError, match="CRC"):
        logical_digest(path)


def test_other_files_are_digested_by_their_bytes(tmp_path):
    path = tmp_path / "array.npy"
    path.write_bytes(b"x" * (3 << 20))
    assert logical_digest(path) == file_digest(path) == hashlib.sha256(b"x" * (3 << 20)).hexdigest()
    assert text_digest("ä") == hashlib.sha256(b"\xc3\xa4").hexdigest()


def test_a_payload_is_its_paths_and_digests_in_any_order():
    files = {"a": "1", "b": "2"}
    assert payload_digest(files) == payload_digest({"b": "2", "a": "1"})
    others = [{}, {"a": "1"}, {"a": "2", "b": "1"}, {"b": "1", "a": "2", "c": "3"}, {"a": "1", "c": "2"}]
    assert len({payload_digest(one) for one in (files, *others)}) == 6
