"""Archives made by Python's own zipfile and tarfile, whole, nested, hostile and broken."""

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import tarfile
import zipfile

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.formats import archives, budget, decoding, spool, zips
from data.sources.base import Problem, RawDocument
from tests.format_toys import documents, found, problems, texts

PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


def zipped(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def tarred(members, form=tarfile.PAX_FORMAT):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


MEMBERS = [
    ("a.txt", "Größe".encode()),
    ("deep/b.jsonl", b'{"text": "one"}\n{"text": "two"}\n'),
    ("deep/c.txt.gz", gzip.compress(b"packed")),
    ("picture.png", b"\x89PNG"),
    (".hidden.txt", b"hidden"),
    ("__MACOSX/._a.txt", b"junk"),
    ("a.txt", b"a second member of that name"),
]
EXPECTED = {
    "a.txt": "Größe",
    "deep/b.jsonl#1": "one",
    "deep/b.jsonl#2": "two",
    "deep/c.txt.gz": "packed",
    "a.txt;2": "a second member of that name",
}
NAMES = [f"x.tar{ending}" for ending in PACK] + ["x.tgz", "x.tbz2", "x.txz", "x.tzst", "x.zip", "x.ZIP.gz"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_are_read_as_files_are(name):
    endings = {"tgz": ".gz", "tbz2": ".bz2", "txz": ".xz", "tzst": ".zst"}
    ending = endings.get(name.split(".")[-1]) or next((one for one in PACK if one and name.endswith(one)), "")
    data = PACK[ending]((zipped if "zip" in name.lower() else tarred)(MEMBERS))
    got = found(name, data, chunk=100)
    assert texts(got) == {f"{name}/{member}": text for member, text in EXPECTED.items()}
    assert [str(problem) for problem in problems(got)] == [
        f"{name}: ignored: passed over: 1 files of kinds that are not read (.png), 2 hidden files"
    ]
    assert documents(got)[1].position == {"member": "deep/b.jsonl", "row": 1}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format(form):
    long = "d/" * 40 + "Übung " + "x" * 60 + ".txt"
    assert texts(found("x.tar", tarred([(long, b"text")], form))) == {f"x.tar/{long}": "text"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_zip_method(method):
    assert texts(found("x.zip", zipped([("a.txt", b"text" * 99)], method))) == {"x.zip/a.txt": "text" * 99}


def test_large_members_are_read_twice_from_a_file_without_a_name(monkeypatch, tmp_path):
    monkeypatch.setattr(decoding, "WHOLE_BYTES", 10)
    monkeypatch.setattr(archives, "MEMORY_BYTES", 10)
    monkeypatch.setattr(spool, "MEMORY_BYTES", 10)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    text = "Größe und Mühle\n" * 100
    inner = zipped([("b.txt", text.encode())])
    for name, make in (("x.tar", tarred), ("x.zip", zipped)):
        got = found(name, make([("a.txt", text.encode("cp1252")), ("n.zip", inner)]))
        assert texts(got) == {f"{name}/a.txt": text, f"{name}/n.zip/b.txt": text}
        assert list(tmp_path.iterdir()) == []


PATHS = ["/etc/a.txt", "../a.txt", "x/../../a.txt", "..\\a.txt", "C:\\a.txt", "c:a.txt"]


@pytest.mark.parametrize("path", PATHS)
def test_paths_that_lead_out_are_named_and_lead_nowhere(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, make in (("x.tar", tarred), ("x.zip", zipped)):
        got = found(name, make([(path, b"evil"), ("fine.txt", b"fine")]))
        assert texts(got) == {f"{name}/fine.txt": "fine"}
        assert [problem.what for problem in problems(got)] == ["unsafe_path"]
    assert list(tmp_path.iterdir()) == []


def test_links_and_devices_are_not_followed():
    members = []
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        info = tarfile.TarInfo(f"{kind.decode()}.txt")
        info.type, info.linkname = kind, "/etc/passwd"
        members.append((info, b""))
    folder = tarfile.TarInfo("folder.txt")
    folder.type = tarfile.DIRTYPE
    got = found("x.tar", tarred([*members, (folder, b""), ("fine.txt", b"fine")]))
    assert texts(got) == {"x.tar/fine.txt": "fine"}
    assert [problem.what for problem in problems(got)] == ["no_file"] * 4
    info = zipfile.ZipInfo("link.txt")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    got = found("x.zip", zipped([(info, b"/etc/passwd"), ("folder.txt/", b"")]))
    assert [(problem.what, problem.where) for problem in got] == [("no_file", "x.zip/link.txt")]


def test_a_sparse_member_is_named():
    info = tarfile.TarInfo("a.txt")
    info.type = tarfile.GNUTYPE_SPARSE
    buffer = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    buffer[483:495] = b"77777777777\0"  # its size with the holes: 8 GB
    buffer[148:156] = b"        "
    buffer[148:156] = f"{sum(buffer[:512]):06o}\0 ".encode()
    got = found("x.tar", bytes(buffer) + bytes(1024))
    assert [problem.what for problem in got] == ["no_file"]


def test_encrypted_members_are_named():
    data = bytearray(zipped([("a.txt", b"text"), ("b.txt", b"more")]))
    data[6] |= 1  # in the member's own header, and in the directory
    data[data.index(b"PK\1\2") + 8] |= 1
    got = found("x.zip", bytes(data))
    assert texts(got) == {"x.zip/b.txt": "more"}
    assert [(problem.what, problem.where) for problem in problems(got)] == [("encrypted", "x.zip/a.txt")]


def test_archives_in_archives_are_read_to_a_depth():
    got = found("x.zip", zipped([("a.txt", b"1"), ("n.zip", zipped([("n.zip", zipped([("a.txt", b"3")]))]))]))
    assert texts(got) == {"x.zip/a.txt": "1", "x.zip/n.zip/n.zip/a.txt": "3"}
    data = tarred([("n.zip", zipped([("a.txt", b"deep")]))])
    for _ in range(budget.MAX_DEPTH - 1):
        data = tarred([("n.tgz", gzip.compress(data)), ("b.txt", b"goes on")])
    got = found("x.tar", data)
    assert texts(got) == {"x.tar/n.tgz/b.txt": "goes on", "x.tar/b.txt": "goes on"}
    (problem,) = problems(got)
    assert (problem.what, problem.where) == ("too_deep", "x.tar/n.tgz/n.tgz/n.zip")


def test_a_bomb_stops_at_the_stated_size(monkeypatch):
    monkeypatch.setattr(budget, "BOMB_BYTES", 100_000)
    bomb = bytes(b"0" * 60_000)
    got = found("x.zip", zipped([("a.txt", bomb), ("b.txt", bomb), ("c.txt", bomb)]))
    assert [document.native_id for document in documents(got)] == ["x.zip/a.txt"]
    assert {problem.what for problem in problems(got)} == {"decompression_bomb"}
    nested = zipped([("n.zip", zipped([("a.txt", bomb)])), ("o.zip", zipped([("a.txt", bomb)])), ("c.txt", b"c")])
    got = found("x.zip", nested)
    assert [document.native_id for document in documents(got)] == ["x.zip/n.zip/a.txt"]
    packed = zipped([("a.txt.gz", gzip.compress(bomb)), ("b.txt.gz", gzip.compress(bomb))])
    assert [document.native_id for document in documents(found("x.zip", packed))] == ["x.zip/a.txt.gz"]
    data = gzip.compress(tarred([("a.zip", zipped([("a.txt", bomb), ("b.txt", bomb)]))]))
    assert [document.native_id for document in documents(found("x.tgz", data))] == ["x.tgz/a.zip/a.txt"]


def test_a_large_archive_that_is_no_bomb_is_read(monkeypatch):
    monkeypatch.setattr(budget, "BOMB_BYTES", 1_000)
    members = [(f"{number}.txt", os.urandom(50).hex().encode() * 20) for number in range(50)]
    assert len(documents(found("x.zip", zipped(members)))) == 50


def test_damage_is_named_and_what_comes_before_is_read():
    data = tarred([("a.txt", b"a" * 3_000), ("b.txt", b"b" * 3_000), ("c.txt", b"c")])
    at = data.index(b"b.txt")
    for broken in (data[: at + 1_000], data[: at + 20] + b"\xff" * 400 + data[at + 420 :]):
        got = found("x.tar", broken)
        assert "x.tar/a.txt" in texts(got)
        assert problems(got)[-1].what in ("damaged", "cut")
    got = found("x.tar", data[: data.index(b"c.txt") + 1_024])  # without the two empty blocks that end an archive
    assert ([*texts(got)][-1], [problem.what for problem in problems(got)]) == ("x.tar/c.txt", ["cut"])
    assert [problem.what for problem in found("x.tar", b"no archive" * 100)] == ["damaged"]
    assert [problem.what for problem in found("x.zip", b"no archive" * 100)] == ["damaged"]
    packed = bytearray(zipped([("a.txt", b"a" * 5_000), ("b.txt", b"b")], zipfile.ZIP_STORED))
    packed[100] ^= 1
    got = found("x.zip", bytes(packed))
    assert texts(got) == {"x.zip/b.txt": "b"}
    assert [(problem.what, problem.where) for problem in problems(got)] == [("damaged", "x.zip/a.txt")]


def test_a_header_that_asks_for_memory_is_refused():
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 33
    got = found("x.tar", tarred([("a.txt", b"a")])[:1024] + info.tobuf() + bytes(1024))
    assert texts(got) == {"x.tar/a.txt": "a"}
    assert [problem.what for problem in problems(got)] == ["damaged"]


def test_a_directory_that_asks_for_memory_is_refused(monkeypatch):
    monkeypatch.setattr(zips, "_DIRECTORY_BYTES", 100)
    (problem,) = found("x.zip", zipped([(f"{number}.txt", b"") for number in range(10)]))
    assert problem.what == "too_large"


def test_an_archive_that_grows_keeps_the_ids_of_its_members():
    rows = [("2024.jsonl", json.dumps({"text": "old"}).encode())]
    before = texts(found("x.tar.gz", gzip.compress(tarred(rows))))
    after = texts(found("x.tar.gz", gzip.compress(tarred([*rows, ("2025.txt", b"new")]))))
    assert after == {**before, "x.tar.gz/2025.txt": "new"}


NAME = st.text("ab./\\", min_size=1, max_size=6).map(lambda name: name + ".txt")


@given(
    st.sampled_from([("x.zip", zipped), ("x.tar", tarred)]),
    st.lists(st.tuples(NAME, st.binary(max_size=30)), max_size=3),
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 255)), max_size=8),
    st.integers(0, 3_000),
)
@example(("x.zip", zipped), [("\\.txt", b"")], [(83, 0)], 0)  # the name in the directory begins with a NUL: it is empty
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_damage_raises_anything(kind, members, changes, cut):
    name, make = kind
    data = bytearray(make(members))
    for at, value in changes:
        data[at % len(data)] = value
    for one in found(name, bytes(data[: len(data) - cut % 700] if cut % 2 else data)):
        assert isinstance(one, RawDocument | Problem)
        assert (one.native_id if isinstance(one, RawDocument) else one.where).startswith(name)
