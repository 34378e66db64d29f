"""Disks that refuse: each time one clear line that names the place, no half artifact, and a clean work folder."""

import errno
import os
import shutil
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.facts import Facts
from data.files import StorageError, storage_errors, write_durably
from data.refs import Refs
from data.store import Store
from tests.store_toys import files, fill, in_work, published, start, toy


def mounted(path, options):
    return (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True
        ).returncode
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted(folder, "size=1m"):
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(folder, leave=0):
    """Use all of a disk but `leave` bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC
                break
        file.truncate(file.tell() - leave)
    return ballast


def write_bytes(path):
    path.write_bytes(bytes(2 << 20))


def write_array(path):
    np.save(path, np.zeros(1 << 18))


def write_table(path):
    pq.write_table(pa.table({"x": np.random.default_rng(0).random(1 << 18)}), path)


def write_tokenizer(path):
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE(vocab={str(i): i for i in range(200_000)}, merges=[])).save(str(path))


@pytest.mark.parametrize("write", [write_bytes, write_array, write_table, write_tokenizer])
def test_a_disk_that_fills_up_during_a_build(small_disk, write):
    store = Store(small_disk / "store")

    def make(build):
        write(build.out / "payload.bin")
        return Facts()

    with pytest.raises(StorageError, match=f"{store.root}.*the disk is full: free space there"):
        store.build(toy(), "x", make)
    assert in_work(store) == published(store) == []
    assert store.build(toy(), "x", fill)  # there is room again


@pytest.mark.parametrize("leave", range(0, 6 * 4096, 4096))
def test_a_disk_that_is_full_at_any_point(small_disk, leave):
    store = Store(small_disk / "store")
    store.build(toy(1), "earlier", fill)
    ballast = fill_up(small_disk, leave)
    with pytest.raises(StorageError, match="the disk is full"):  # it takes 6 files of at most 4096 bytes each
        store.build(toy(), "x", fill)
    assert in_work(store) == []
    assert published(store) == [f"toy/earlier-{toy(1).key}"]
    ballast.unlink()
    store.build(toy(), "x", fill)
    assert list(store.verify()) == []


def test_a_full_disk_leaves_state_as_it_was(small_disk):
    refs = Refs(small_disk / "refs")
    token = refs.swap("x", None, "old")
    fill_up(small_disk)
    with pytest.raises(StorageError, match="the disk is full"):
        refs.swap("x", token, "new" * 10_000)
    with pytest.raises(StorageError, match="the disk is full"):
        refs.swap("y" * 300, None, 1)
    assert refs.read("x").value == "old"
    assert {path.split("/")[-1] for path in files(small_disk / "refs")} == {f"{token}.json", "current"}


def test_a_disk_that_became_read_only(small_disk):
    store = Store(small_disk / "store")
    ref = store.build(toy(), "x", fill)
    store.refs.swap("x", None, 1)
    (store.root / "work" / "toy-of-a-killed-build").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    uses = [
        lambda: store.build(toy(1), "y", fill),
        lambda: store.build(toy(), "x", fill, refresh=True),
        lambda: store.refs.swap("x", None, 2),
        lambda: store.refs.swap("new", None, 2),
        store.sweep,
    ]
    for use in uses:
        with pytest.raises(StorageError, match=f"Cannot use {small_disk}.*read-only: mount it writable"):
            use()
    assert store.find("toy", [toy().key]) == {toy().key: ref}  # what is there can still be read
    assert store.refs.read("x").value == 1
    assert list(store.verify()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_belongs_to_somebody_else(tmp_path):
    (tmp_path / "store").mkdir(mode=0o500)
    with pytest.raises(StorageError, match=f"Cannot use {tmp_path}/store.*permission denied"):
        Store(tmp_path / "store").build(toy(), "x", fill)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EDQUOT, "the quota is used up"), (errno.EIO, "input/output error"), (errno.EACCES, "permission denied")],
)
@pytest.mark.parametrize("nth", range(8))
def test_a_disk_that_refuses_to_keep_what_was_written(tmp_path, monkeypatch, number, words, nth):
    store = Store(tmp_path / "store")
    store.build(toy(1), "earlier", fill)
    fsync, calls = os.fsync, []

    def refuse(descriptor):
        calls.append(descriptor)
        if len(calls) > nth:
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=f"Cannot use {store.root}.*{words}"):
        store.build(toy(), "x", fill)
    monkeypatch.undo()
    assert in_work(store) == []
    assert published(store) == [f"toy/earlier-{toy(1).key}"]


def test_a_file_that_may_not_grow_so_far(tmp_path):
    log = tmp_path / "log"
    assert start("write_too_much", tmp_path / "store", log).wait(60) == 0
    assert log.read_text().startswith(f"StorageError: Cannot use {tmp_path}/store (store {tmp_path}/store): ")
    assert "raise the limit (ulimit -f)" in log.read_text()
    assert in_work(Store(tmp_path / "store")) == published(Store(tmp_path / "store")) == []


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_store_whose_place_is_a_file(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    store = Store(tmp_path / place)
    for use in (
        lambda: store.build(toy(), "x", fill),
        lambda: store.refs.read("x"),
        lambda: store.refs.swap("x", None, 1),
    ):
        with pytest.raises(StorageError, match=f"Cannot use {tmp_path}/file.*is a file, not a folder"):
            use()
    assert store.find("toy", [toy().key]) == {}
    assert store.sweep() == store.stages() == []
    assert (tmp_path / "file").read_text() == "mine"


def test_a_fault_of_ours_is_no_fault_of_the_disk(tmp_path):
    with pytest.raises(FileNotFoundError):
        Store(tmp_path).build(toy(), "x", lambda build: Facts(notes=[(build.out / "none").read_text()]))
    with pytest.raises(ZeroDivisionError), storage_errors(tmp_path):
        raise ZeroDivisionError


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "text"
    write_durably(path, "old")

    def refuse(descriptor):
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError):
        write_durably(path, "new")
    assert files(tmp_path) == {"text": b"old"}
