"""What a killed publisher or remover left in a bucket, or another machine in its cache, does not stay."""

import pytest

from data.storage import store as store_module
from data.storage.bucket import Bucket
from tests.store_toys import fill, toy
from tests.test_bucket_store import key, machine, objects, store  # noqa: F401 - fixtures


def killed(*_):
    raise KeyboardInterrupt


def other(build):
    return fill(build, "other")


def test_a_removal_that_was_killed_is_ended_by_the_next_clearing(store, monkeypatch):  # noqa: F811
    ref, kept = store.build(toy(), "x", fill), store.build(toy(1), "y", fill)
    before = objects(store, f"payload/toy/{kept.key}/")
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "delete_all", killed)
        with pytest.raises(KeyboardInterrupt):
            store.remove(ref)
    assert len(objects(store, f"payload/toy/{ref.key}/")) == 4
    assert store.clear_attempts(["toy"], older_than=3600) == []
    assert store.clear_attempts(["corpus"]) == []
    (place,) = store.clear_attempts(["toy"])
    assert place.startswith(f"payload/toy/{ref.key}/")
    assert objects(store, "payload/") == before
    assert list(store.verify()) == []


def test_an_equal_payload_ends_a_replacement_that_was_killed(store, monkeypatch):  # noqa: F811
    store.build(toy(), "x", fill)
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "delete_all", killed)
        with pytest.raises(KeyboardInterrupt):
            store.build(toy(), "x", other, refresh=True)
    assert len(objects(store, "payload/")) == 8
    store.build(toy(), "x", other, refresh=True)
    assert len(objects(store, "payload/")) == 8, "somebody might be at it just now"
    monkeypatch.setattr(store_module, "YOUNG", 0)
    store.build(toy(), "x", other, refresh=True)
    assert len(objects(store, "payload/")) == 4
    assert list(store.verify()) == []


def test_parts_of_files_that_nobody_completes_go(store):  # noqa: F811
    place = f"payload/toy/{key()}/{'a' * 16}/large.bin"
    number = store.bucket.call("create_multipart_upload", place)["UploadId"]
    store.bucket.call("upload_part", place, UploadId=number, PartNumber=1, Body=b"forgotten")
    assert store.clear_attempts() == [place.rpartition("/")[0]]
    with pytest.raises(FileNotFoundError):
        store.bucket.call("list_parts", place, UploadId=number)


def test_copies_of_what_others_have_replaced_go(store, machine):  # noqa: F811
    ref, same = store.build(toy(), "x", fill), store.build(toy(1), "y", fill)
    two = machine("two")
    copies = [two.path(ref), two.path(same)]
    store.build(toy(), "x", other, refresh=True)
    machine("two").sweep()
    assert [copy.exists() for copy in copies] == [False, True]


def test_a_whole_download_is_not_fetched_again(store, tmp_path, s3):  # noqa: F811
    store.bucket.put("one", b"some bytes")
    digest = store.bucket.download("one", tmp_path / "one")
    s3.requests()
    assert Bucket(store.bucket.name, store.bucket.prefix).download("one", tmp_path / "one") == digest
    assert [one.split()[0] for one in s3.requests()] == ["GET", "HEAD"]
    assert (tmp_path / "one").read_bytes() == b"some bytes"
    (tmp_path / "one").write_bytes(b"some bytes and more")
    with pytest.raises(FileNotFoundError):
        store.bucket.download("one", tmp_path / "one")
