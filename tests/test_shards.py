import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.shards import (
    CORPUS,
    DOCUMENTS,
    MATCHES,
    DamagedShardError,
    ShardWriter,
    TextTooLongError,
    read_batches,
    read_texts,
    table_of,
    text_buffer,
    text_sizes,
)


def columns(texts):
    return {
        "native_id": [f"{n}.txt" for n in range(len(texts))],
        "authors": [["Ann", "Émile"][: n % 3] for n in range(len(texts))],
        "text": texts,
        "source": ["mine"] * len(texts),
        "url": [None if n % 2 else f"file:{n}" for n in range(len(texts))],
        "created": [None] * len(texts),
        "licence": ["CC0-1.0"] * len(texts),
        "meta": ['{"look":0}'] * len(texts),
    }


def write(path, texts, row_group_bytes=1000):
    with ShardWriter(path, DOCUMENTS, row_group_bytes) as writer:
        writer.write(table_of(DOCUMENTS, columns(texts)))
    return writer


TEXTS = [f"text {n} " + "é字" * (n % 7) for n in range(100)]


def test_rows_come_back_as_they_were_and_other_readers_agree(tmp_path):
    path = tmp_path / "a.parquet"
    assert write(path, TEXTS).rows == 100
    assert pq.read_table(path).to_pydict() == columns(TEXTS)
    assert pa.Table.from_batches(read_batches(path)).to_pydict() == columns(TEXTS)
    assert [text for texts in read_texts(path) for text in texts] == TEXTS
    assert next(read_batches(path, ["url", "text"])).schema.names == ["url", "text"]
    assert pq.read_schema(path).equals(DOCUMENTS)


def test_row_groups_are_bounded_however_the_rows_arrive(tmp_path):
    write(tmp_path / "whole.parquet", TEXTS)
    with ShardWriter(tmp_path / "single.parquet", DOCUMENTS, 1000) as writer:
        for n in range(100):
            writer.write(table_of(DOCUMENTS, columns(TEXTS)).slice(n, 1))
    sizes = [
        [sum(len(t.encode()) for t in texts) for texts in read_texts(tmp_path / f"{name}.parquet")]
        for name in ("whole", "single")
    ]
    assert sizes[0] == sizes[1]
    assert sum(sizes[0]) == sum(len(text.encode()) for text in TEXTS)
    assert all(950 < size <= 1000 for size in sizes[0][:-1])
    assert (tmp_path / "whole.parquet").read_bytes() == (tmp_path / "single.parquet").read_bytes()


def test_a_text_over_the_limit_has_a_row_group_of_its_own(tmp_path):
    write(tmp_path / "a.parquet", ["a", "b" * 5000, "c", "d"])
    assert list(read_texts(tmp_path / "a.parquet")) == [["a"], ["b" * 5000], ["c", "d"]]


def test_row_groups_of_very_short_texts_are_bounded_by_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("data.shards.ROW_GROUP_ROWS", 3)
    write(tmp_path / "a.parquet", [""] * 8)
    assert [len(texts) for texts in read_texts(tmp_path / "a.parquet")] == [3, 3, 2]
    with ShardWriter(tmp_path / "m.parquet", MATCHES) as writer:
        writer.write(pa.table([[1, 2, 3, 4], [0, 0, 0, 0], [5, 6, 7, 8]], schema=MATCHES))
    assert pq.ParquetFile(tmp_path / "m.parquet").metadata.num_row_groups == 2


def test_no_rows_no_file(tmp_path):
    assert write(tmp_path / "a.parquet", []).rows == 0
    assert list(tmp_path.iterdir()) == []


def test_a_failed_block_leaves_no_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path / "a.parquet", DOCUMENTS, 1000) as writer:
        writer.write(table_of(DOCUMENTS, columns(TEXTS)))
        assert (tmp_path / "a.parquet").exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_changed_byte_in_any_page_is_noticed_and_the_file_named(tmp_path):
    path = tmp_path / "a.parquet"
    write(path, [f"{n * 7919 % 10007} some words" for n in range(2000)], 20_000)
    whole = path.read_bytes()
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(2)
    assert chunk.path_in_schema == "text"
    middle = chunk.data_page_offset + chunk.total_compressed_size // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(DamagedShardError, match=r"a\.parquet is damaged: .*rebuilt"):
        list(read_batches(path))


def test_a_cut_file_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    write(path, TEXTS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedShardError, match=r"a\.parquet is damaged"):
        list(read_texts(path))


def test_a_missing_file_is_no_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        list(read_texts(tmp_path / "gone.parquet"))


def test_a_table_of_texts_or_of_their_bytes_is_what_pyarrow_makes_of_them_without_pandas():
    code = """
import sys
from data.shards import DOCUMENTS, table_of
from tests.test_shards import TEXTS, columns

made = table_of(DOCUMENTS, columns(TEXTS))
made.validate(full=True)
assert made.equals(table_of(DOCUMENTS, columns(TEXTS) | {"text": [text.encode() for text in TEXTS]}))
assert table_of(DOCUMENTS, columns([])).num_rows == 0
assert "pandas" not in sys.modules
import pyarrow as pa
assert made.equals(pa.table(columns(TEXTS), schema=DOCUMENTS))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_text_that_no_page_could_hold_is_refused_by_name(monkeypatch):
    monkeypatch.setattr("data.shards.MAX_TEXT_BYTES", 10)
    table_of(DOCUMENTS, columns(["é" * 5]))
    with pytest.raises(TextTooLongError, match=r"'1\.txt' holds 12 bytes.*the limit is 10"):
        table_of(DOCUMENTS, columns(["", "é" * 6]))


def test_text_bytes_of_slices_and_chunks():
    texts = pa.array(["", "né", "字", "last"]).slice(1, 3)
    offsets, content = text_buffer(texts)
    assert content.slice(offsets[0], offsets[3] - offsets[0]).to_pybytes().decode() == "né字last"
    assert np.diff(offsets).tolist() == [3, 3, 4]
    table = pa.table({"text": pa.chunked_array([texts, pa.array(["x"]), pa.array([], pa.string())])})
    assert text_sizes(table).tolist() == [3, 3, 4, 1]
    assert text_buffer(pa.array([], pa.string()))[0].tolist() == [0]


def test_the_corpus_has_the_documents_columns_and_passages():
    assert CORPUS.names == [*DOCUMENTS.names, "passage", "passages"]
