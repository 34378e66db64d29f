"""Documents taken out of files of several: every other one is read as it was, and the bytes of those are gone."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.forgetting.blanking import blank_slot, may_blank
from data.formats.base import Reading, Tally
from data.formats.reading import packed_file, read_file
from data.sources.base import RawDocument, SlotItem
from data.sources.pack import PackReader, PackWriter, read_items

TABLE = 'id,text,author\n1,"first, of\nmany",Ann\n\n2,"secret ""quoted"" words",Ben\n3,third,Cid'
PIECES = "first\nof many\n---\nsecret words\n---  \n\nthird\n---\nfourth"
LINES = '{"text": "first", "author": "Ann"}\r\n\n{"text": "secret words", "author": "Ben"}\r\n{"text": "third"}'


def parquet(rows):
    out = io.BytesIO()
    table = pa.table({"text": rows, "author": ["Ann", "Ben"] * 3, "n": range(6), "tags": [["a"], None, []] * 2})
    pq.write_table(table, out, row_group_size=2, compression="zstd")
    return out.getvalue()


def packed(folder, name, content):
    folder.mkdir()
    with PackWriter(folder) as pack:
        pack.add(SlotItem("0.txt", "", 3, look=1), [b"abc"], check=False)
        pack.add(SlotItem(name, "print", len(content), look=1), [content], check=False)
    return folder


def read(folder, reading):
    """(id, text, authors) of all documents."""
    with PackReader(folder) as reader:
        found = [one for item in read_items(folder) for one in read_file(packed_file(reader, item), reading, Tally())]
    return [(one.native_id, one.text, list(one.authors)) for one in found if isinstance(one, RawDocument)]


@pytest.mark.parametrize(
    ("name", "content", "gone", "reading"),
    [
        ("a.jsonl", LINES.encode(), ["a.jsonl#3"], Reading()),
        ("a.ndjson", b"\xef\xbb\xbf" + LINES.encode(), ["a.ndjson#1", "a.ndjson#3"], Reading()),
        ("a.csv", TABLE.encode(), ["a.csv#2"], Reading()),
        ("a.csv", TABLE.replace(",", ";").encode() + b"\n", ["a.csv#1", "a.csv#3"], Reading(text_field="text")),
        ("a.tsv", TABLE.replace(",", "\t").encode("latin-1"), ["a.tsv#2"], Reading()),
        ("a.txt", PIECES.encode(), ["a.txt#2"], Reading(delimiter="---")),
        ("a.txt", PIECES.encode(), ["a.txt#1", "a.txt#4"], Reading(delimiter="---")),
        ("a.parquet", parquet(["1st", "secret words", "3", "4", None, "6"]), ["a.parquet#2", "a.parquet#6"], Reading()),
    ],
)  # fmt: skip
def test_the_others_stay_what_they_were(tmp_path, name, content, gone, reading):
    raw, out = packed(tmp_path / "raw", name, content), tmp_path / "out"
    before = read(raw, reading)
    assert set(gone) < {native_id for native_id, _, _ in before}
    out.mkdir()
    found = blank_slot(raw, out, gone, [reading])
    assert (found.done, found.left) == ((name,), ())
    after = read(out, reading)
    assert [one for one in after if one[0] not in gone] == [one for one in before if one[0] not in gone]
    assert all(not text and not authors for native_id, text, authors in after if native_id in gone)
    secret = [text for native_id, text, _ in before if native_id in gone]
    left = (out / "content.bin").read_bytes()
    assert not any(word.encode() in left for text in secret for word in text.split() if len(word) > 4)
    first, item = read_items(out)
    assert first.sifted is None and item.sifted and item.fingerprint == "print"
    again = tmp_path / "again"
    again.mkdir()
    assert blank_slot(out, again, gone, [reading]).done == ()
    assert (again / "content.bin").read_bytes() == left and list(read_items(again)) == [first, item]


@pytest.mark.parametrize(
    ("name", "content", "gone", "readings"),
    [
        ("a.jsonl", LINES.encode("utf-16"), ["a.jsonl#3"], [Reading()]),  # lines end in two bytes
        ("a.jsonl", b'{"text": "x", "id": 1}\n{"text": "y", "id": 1}', ["a.jsonl#1"], [Reading(id_field="id")]),  # ;2
        ("a.txt", PIECES.encode(), ["a.txt#2"], [Reading(delimiter="---"), Reading(delimiter="fourth")]),
        ("a.json", b'[{"text": "first"}, {"text": "secret"}]', ["a.json#2"], [Reading()]),
        ("a.jsonl", LINES.encode(), ["a.jsonl#3"], []),  # nobody knows how it was read
    ],
)
def test_what_would_change_others_is_left_as_it_is(tmp_path, name, content, gone, readings):
    raw, out = packed(tmp_path / "raw", name, content), tmp_path / "out"
    out.mkdir()
    assert blank_slot(raw, out, gone, readings).left == (name,)
    for file in ("content.bin", "items.jsonl"):
        assert (out / file).read_bytes() == (raw / file).read_bytes()


def test_formats_and_sources_that_documents_can_be_taken_out_of():
    assert may_blank("folder", "a.JSONL") and may_blank("folder", "a.csv@0002")
    assert not may_blank("folder", "a.csv.gz") and not may_blank("folder", "a.zip") and not may_blank("reddit", "a.csv")
