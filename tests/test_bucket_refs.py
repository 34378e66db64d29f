"""State in a bucket behaves as state on a disk does."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from data.errors import TextmillError
from data.refs import RefMovedError
from data.storage.bucket import Bucket
from data.storage.conditional import Conditional
from data.storage.refs import BucketRefs

PROJECT = Path(__file__).resolve().parents[1]


def refs_in(bucket):
    place = Bucket(bucket, "mill")
    return BucketRefs(place, Conditional(place))


@pytest.fixture
def refs(s3):
    return refs_in(s3.bucket())


def test_a_value_is_read_as_it_was_written(refs):
    assert (refs.read("ledgers/x").value, refs.read("ledgers/x").token) == (None, None)
    value = {"ä": [1, None, 1.5, {"deep": True}], "": []}
    token = refs.swap("ledgers/x", None, value)
    assert (refs.read("ledgers/x").value, refs.read("ledgers/x").token) == (value, token)
    assert refs.swap("ledgers/x", token, value) == token
    assert refs.names("ledgers") == ["ledgers/x"]
    assert refs.names("x") == []
    assert refs.place("ledgers/x") == f"s3://{refs.bucket.name}/mill/refs/ledgers/x.json"


def test_only_who_saw_the_newest_value_may_replace_it(refs):
    first = refs.swap("x", None, 1)
    second = refs.swap("x", first, 2)
    for seen in (None, first, "f" * 32):
        with pytest.raises(RefMovedError, match=f"expected {seen}, found {second}.*run it again"):
            refs.swap("x", seen, 3)
    refs.drop_earlier("x")
    assert refs.read("x").value == 2


@pytest.mark.parametrize("seen", [None, 1])
def test_a_writer_that_comes_between_reading_and_writing_wins(refs, monkeypatch, seen):
    token = refs.swap("x", None, 1) if seen else None
    put = refs.conditional.put

    def late(*arguments):
        monkeypatch.setattr(refs.conditional, "put", put)
        refs.swap("x", token, 2)
        return put(*arguments)

    monkeypatch.setattr(refs.conditional, "put", late)
    with pytest.raises(RefMovedError):
        refs.swap("x", token, 2)  # even with the same value: only one of the two has made the step
    assert refs.read("x").value == 2


COUNT = """
import sys
from tests.test_bucket_refs import refs_in
for _ in range(5):
    refs_in(sys.argv[1]).update("x", lambda value: (value or 0) + 1)
"""


@pytest.mark.long
def test_updates_of_several_processes_all_count(refs, s3):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, refs.bucket.name], env=environment) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert refs.read("x").value == 15


@pytest.mark.parametrize("unconditional", [False, True])
def test_updates_all_count(refs, s3, unconditional):
    s3.set(unconditional=unconditional)
    threads = [threading.Thread(target=refs.update, args=("x", lambda old: (old or 0) + 1)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refs.conditional.is_known() is not unconditional
    assert refs.read("x").value == 4
    assert list(refs.bucket.objects("claims/")) == []


def test_a_claim_of_a_killed_writer_is_overcome(refs, s3, monkeypatch):
    s3.set(unconditional=True)
    monkeypatch.setattr("data.storage.conditional.CLAIM_SECONDS", 1)
    claims = []
    put = refs.bucket.put
    monkeypatch.setattr(refs.bucket, "put", lambda key, *rest, **more: claims.append(key) or put(key, *rest, **more))
    refs.swap("x", None, 1)
    folder = next(one for one in claims if one.startswith("claims/") and "probe" not in one).rpartition("/")[0]
    put(f"{folder}/of-a-killed-writer", b"")
    refs.swap("x", refs.read("x").token, 2)
    assert refs.read("x").value == 2


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"valu', b"\xff"])
def test_damage_is_said_with_place_and_remedy(refs, body):
    refs.swap("ledgers/x", None, 1)
    refs.bucket.put("refs/ledgers/x.json", body)
    with pytest.raises(TextmillError, match=f"s3://{refs.bucket.name}/mill/refs/ledgers/x.json is damaged.*Delete"):
        refs.read("ledgers/x")


def test_every_name_has_a_place_of_its_own(refs):
    names = ["a b", "a-b", "..", "/etc", "a/../b"]
    for name in names:
        refs.swap(name, None, name)
    assert [refs.read(name).value for name in names] == names
    assert all(one.key.startswith("refs/") and ".." not in one.key for one in refs.bucket.objects(""))
