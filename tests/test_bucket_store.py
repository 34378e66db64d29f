"""The store in a bucket: what holds of a local store holds here, for several machines that share it."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from data.errors import TextmillError
from data.facts import Facts
from data.files import StorageError
from data.storage import uploads
from data.storage.location import open_bucket
from tests.s3_server import KEY_ID, SECRET
from tests.store_toys import files, fill, in_work, toy

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def machine(s3, tmp_path, monkeypatch):
    """Opens the one store as a machine of that name does: with a folder of its own."""
    url = f"s3://{s3.bucket()}/deep/mill"

    def open_as(name):
        monkeypatch.setenv("TEXTMILL_CACHE", str(tmp_path / name))
        return open_bucket(url, tmp_path)

    return open_as


@pytest.fixture
def store(machine):
    return machine("one")


def key(number=0):
    return toy(number).key


def objects(store, below=""):
    return [one.key for one in store.bucket.objects(below)]


def must_not_run(build):
    raise AssertionError("this was there already")


# -- building and finding


def test_what_one_machine_built_another_finds_and_reads(store, machine):
    ref = store.build(toy(), "Käse/1", fill)
    other = machine("two")
    assert other.find("toy", [key(), key(1), key()]) == {key(): ref}
    assert other.build(toy(), "another name", must_not_run) == ref
    assert files(other.path(ref)) == files(store.path(ref))
    assert other.path(ref) != store.path(ref)
    assert other.manifest(ref) == store.manifest(ref)
    assert [other.resolve(text) for text in (str(ref), ref.key, ref.key[:5], f"toy/{ref.key[:4]}")] == [ref] * 4
    assert other.stages() == ["toy"]
    assert in_work(store) == in_work(other) == []


def test_what_lies_where(store):
    store.build(toy(), "x", fill)
    manifest, *payload = sorted(objects(store))
    assert manifest == f"manifests/toy/{key()}.json"
    attempt = json.loads(store.bucket.get(manifest).body)["attempt"]
    below = f"payload/toy/{key()}/{attempt}/"
    assert payload == [below + path for path in (
        "deep/er/data.bin", "observed/build.json", "observed/metrics.jsonl", "table.parquet",
    )]  # fmt: skip


def test_finding_and_listing_ask_for_no_payload(store, machine, s3):
    keys = [store.build(toy(i), f"x{i}", fill).key for i in range(3)]
    other = machine("two")
    s3.requests()
    assert len(other.find("toy", keys)) == len(list(other.manifests())) == 3
    asked = s3.requests()
    assert not [one for one in asked if "/payload/" in one]  # of listings, the folder stands behind the `?`
    s3.requests()
    assert len(list(other.manifests("toy"))) == 3
    assert len(s3.requests()) == 1  # what the manifests say is remembered
    assert len(list(machine("two").manifests("toy"))) == 3  # by the next process, too
    assert len(s3.requests()) == 1


def test_files_come_when_they_are_used_and_one_may_come_alone(store, machine, s3):
    ref, other = store.build(toy(), "x", fill), machine("two")
    assert other.read(ref, "deep/er/data.bin") == b"some text"
    place = other.place(ref)
    assert not place.exists()
    with other.using([ref]):
        assert files(place).keys() == files(store.path(ref)).keys()
    s3.requests()
    assert other.read(ref, "deep/er/data.bin") == b"some text"
    assert other.path(ref) == place
    assert s3.requests() == []
    with pytest.raises(FileNotFoundError):
        other.read(ref, "none")


def test_a_long_listing_is_asked_for_in_parts_at_once(store, machine, s3, monkeypatch):
    monkeypatch.setattr("data.storage.bucket.PAGE", 2)
    names = sorted(f"{digit}{number:015x}" for number, digit in enumerate("0017aaaaaf"))
    for name in [*names, "0-no-key", "b-no-key", "no-key", "~"]:
        store.bucket.put(f"manifests/toy/{name}.json", name.encode())
    other = machine("two")._manifests
    s3.set(late=0.2)
    s3.requests()
    begin = time.monotonic()
    assert list(other.etags("toy")) == names
    took = time.monotonic() - begin
    asked = [dict(parse_qsl(one.partition("?")[2])) for one in s3.requests()]
    assert len({one["prefix"] for one in asked}) == 1 + len("0123456789abcdef") and len(asked) == 19
    for one in asked:  # else MinIO before September 2023 and SeaweedFS before September 2026 list nothing
        assert one.get("start-after", one["prefix"]).startswith(one["prefix"])
    assert took < 19 * 0.2, "which they take one after the other"
    s3.set()
    assert list(other.etags("toy", "a")) == [name for name in names if name[0] == "a"]
    assert list(other.etags("toy", names[4])) == [names[4]]
    assert list(other.etags("toy", "b")) == []


def test_many_keys_are_looked_up_by_listing(store, s3):
    store.build(toy(), "x", fill)
    s3.requests()
    assert list(store.find("toy", [key(i) for i in range(500)])) == [key()]
    assert len(s3.requests()) == 1


def test_a_failed_build_leaves_no_trace(store):
    def fail(build):
        fill(build)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.build(toy(), "x", fail)
    assert objects(store) == in_work(store) == []


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_an_artifact_that_lacks_files_is_no_hit_and_is_built_again(store, machine, caplog, damage):
    ref = store.build(toy(), "x", fill)
    (name,) = [one for one in objects(store) if one.endswith("data.bin")]
    if damage == "missing":
        store.bucket.delete([name])
    else:
        store.bucket.put(name, b"so")
    other = machine("two")
    with caplog.at_level(logging.WARNING):
        assert other.find("toy", [key()]) == {}
    assert f"{ref} is damaged and will be built again" in caplog.text
    assert name in caplog.text
    assert other.build(toy(), "x", fill) == ref
    assert list(other.verify()) == []
    assert len([one for one in objects(store) if one.endswith("data.bin")]) == 1  # what was left is gone


def test_changed_bytes_are_found_when_they_are_read_and_mended(store, machine):
    ref = store.build(toy(), "x", fill)
    (name,) = [one for one in objects(store) if one.endswith("data.bin")]
    store.bucket.put(name, b"SOME text")
    other = machine("two")
    assert other.find("toy", [key()]) == {key(): ref}
    with pytest.raises(TextmillError, match=f"{ref} in {other.where} is damaged .*data.bin.*run its recipe again"):
        other.path(ref)
    assert other.find("toy", [key()]) == {}
    other.build(toy(), "x", fill)
    assert (other.path(ref) / "deep" / "er" / "data.bin").read_bytes() == b"some text"


def test_verify_names_what_is_wrong(store):
    ref = store.build(toy(), "x", fill)
    names = {Path(name).name: name for name in objects(store, "payload/")}
    store.bucket.put(names["data.bin"], b"SOME text")
    store.bucket.delete([names["metrics.jsonl"]])
    store.bucket.put(names["data.bin"] + ".extra", b"")
    found = {damage.where.as_posix(): (damage.problem, damage.is_observation) for damage in store.verify(ref)}
    wrong = ("deep/er/data.bin", "deep/er/data.bin.extra", "observed/metrics.jsonl")
    assert found.keys() == {f"{ref}/{path}" for path in wrong}
    assert found[f"{ref}/observed/metrics.jsonl"] == ("is missing", True)
    assert "sha256 is" in found[f"{ref}/deep/er/data.bin"][0]
    store.bucket.put(f"manifests/toy/{key()}.json", b"{")
    assert [damage.problem for damage in store.verify()] == ["cannot be read, or is gone"]


def test_refresh_keeps_what_came_out_the_same_and_replaces_what_did_not(store, machine):
    ref, other = store.build(toy(), "x", fill), machine("two")
    old = other.path(ref)
    before = objects(store)
    assert store.build(toy(), "renamed", fill, refresh=True) == ref
    assert objects(store) == before
    new = store.build(toy(), "x", lambda build: fill(build, "other text"), refresh=True)
    assert new.digest != ref.digest
    assert len(objects(store)) == len(before)
    assert other.find("toy", [key()]) == {key(): new}
    assert other.path(new) == old
    assert (old / "deep" / "er" / "data.bin").read_text() == "other text"


def test_what_is_removed_is_gone_everywhere(store, machine):
    ref, other = store.build(toy(), "x", fill), machine("two")
    other.path(ref)
    assert store.remove(ref)
    assert not store.remove(ref)
    assert objects(store) == []
    assert not list(store.root.glob("cache/toy/*"))
    assert other.find("toy", [key()]) == {}
    machine("two").sweep()  # as the next run does
    assert not list(other.root.glob("cache/toy/*"))
    assert key().encode() not in b"".join(files(other.root / "manifests").values())
    with pytest.raises(TextmillError, match=f"{ref} is not in the store {store.where}"):
        machine("two").path(ref)


def test_unfinished_work_stays_on_its_machine(store, machine):
    def stop(build):
        (build.keep / "checkpoint").write_text("step 3")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.build(toy(), "x", stop)
    assert objects(store) == []
    assert store.sweep() == []
    machine("two").build(toy(), "x", fill)
    assert store.sweep() == [f"toy-{key()}"]  # another machine has published it since


# -- several builders


def test_of_two_machines_that_build_one_key_the_first_wins(store, machine):
    other = machine("two")

    def overtaken(build):
        other.build(toy(), "first", lambda build: fill(build, "first"))
        return fill(build, "second")

    ref = store.build(toy(), "second", overtaken)
    assert (ref.name, store.path(ref).joinpath("deep/er/data.bin").read_text()) == ("first", "first")
    assert len(objects(store)) == 5
    assert list(store.verify()) == []


@pytest.mark.parametrize("unconditional", [False, True])
def test_machines_that_publish_at_once_share_one_result(machine, s3, unconditional):
    s3.set(unconditional=unconditional)
    stores = [machine(f"m{i}") for i in range(4)]
    assert stores[0]._manifests.conditional.is_known() is not unconditional
    built, refs = threading.Barrier(4), []

    def build(number):
        def make(build):
            built.wait()
            return fill(build, f"by {number}")

        refs.append(stores[number].build(toy(), f"by-{number}", make))

    threads = [threading.Thread(target=build, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refs) == 4
    assert len(set(refs)) == 1
    assert list(stores[0].verify()) == []
    assert sum("/toy/" in one for one in objects(stores[0])) == 5  # one manifest, one payload; nothing of the others
    assert not objects(stores[0], "claims/")


def test_a_remover_between_upload_and_manifest_takes_nothing_half(store, machine, monkeypatch):
    other, put = machine("two"), store._manifests.conditional.put
    ref = store.build(toy(), "x", fill)

    def late(*arguments):
        monkeypatch.setattr(store._manifests.conditional, "put", put)
        other.remove(ref)
        return put(*arguments)

    monkeypatch.setattr(store._manifests.conditional, "put", late)
    store.build(toy(), "x", lambda build: fill(build, "other"), refresh=True)
    assert list(machine("three").verify()) == []
    assert list(machine("three").find("toy", [key()])) == [key()]


# -- cut uploads

KILLED = """
import sys
from pathlib import Path
from data.facts import Facts
from data.storage import uploads
from data.storage.location import open_bucket
from tests.store_toys import toy
uploads.PART = 5 << 20
uploads.FILES_AT_ONCE = 1
def make(build):
    for number in range(4):
        (build.out / f"{number}.bin").write_bytes(bytes([number]) * 1000)
    (build.out / "large.bin").write_bytes(bytes(range(256)) * (4 * 17 << 10))
    return Facts()
print(open_bucket(sys.argv[1], Path("/")).build(toy(), "x", make))
"""


@pytest.mark.parametrize(  # in the middle of the small files; in the middle of the parts of the large one
    "held", [pytest.param(2, marks=pytest.mark.long), 6]
)
def test_a_killed_upload_is_gone_on_with(store, machine, s3, held):
    command = [sys.executable, "-c", KILLED, store.where]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    s3.set(hold_puts=held)
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 60
    while not s3.held():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    s3.set()
    assert machine("two").find("toy", [key()]) == {}
    assert list(machine("two").manifests()) == []
    s3.requests()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"toy/x-{key()}"
    puts = [one for one in s3.requests() if one.startswith("PUT") and "/payload/" in one]
    assert sum("observed" in one for one in puts) == 1  # its time differs
    assert sum("observed" not in one for one in puts) == 4 + 4 - held  # 17 MiB go up in 4 parts
    assert list(machine("two").verify()) == []
    assert not list((store.root / "uploads").iterdir())
    assert len(objects(store, "payload/")) == 6


def test_large_files_go_up_and_come_down_in_parts(store, machine, monkeypatch):
    monkeypatch.setattr(uploads, "PART", 5 << 20)
    body = os.urandom(11 << 20)

    def make(build):
        (build.out / "large.bin").write_bytes(body)
        (build.out / "empty.bin").touch()
        return Facts()

    ref, other = store.build(toy(), "x", make), machine("two")
    folder = other.root / "cache" / ".fetching" / f"toy+x-{ref.key}"
    folder.mkdir(parents=True)
    (folder / "large.bin").write_bytes(body[: 3 << 20])  # a cut download
    (folder / "of-an-older-version.bin").touch()
    assert files(other.path(ref)).keys() == {"large.bin", "empty.bin", "observed/build.json", "manifest.json"}
    assert (other.path(ref) / "large.bin").read_bytes() == body


# -- what goes wrong


def test_no_network_is_one_line_and_nothing_half_is_seen(store, machine, monkeypatch):
    ref = store.build(toy(), "x", fill)
    with monkeypatch.context() as gone:
        gone.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(
            StorageError, match=rf"^Cannot use {store.where}/.*cannot be reached.*AWS_ENDPOINT_URL"
        ) as no:
            machine("two").path(ref)
    assert "\n" not in str(no.value)
    assert list(machine("two").verify()) == []


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AccessDenied", "access denied .AccessDenied.*to list the bucket"),
        (403, "InvalidAccessKeyId", "does not take these credentials .InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch", "does not take these credentials"),
        (404, "NoSuchBucket", "there is no bucket '.*create it, or correct TEXTMILL_STORE"),
        (400, "Odd", r"refused \(Odd: .*key \*\*\* is not right"),
    ],
)
def test_what_the_server_refuses_is_one_line_without_secrets(store, s3, caplog, status, code, words):
    s3.set(status=status, code=code)
    with caplog.at_level(logging.INFO), pytest.raises(StorageError, match=words) as refused:
        store.build(toy(), "x", fill)
    text = f"{refused.value}{refused.value.__cause__}{caplog.text}"
    assert refused.value.__suppress_context__
    assert not [secret for secret in (SECRET, KEY_ID, "\n") if secret in str(refused.value)]
    assert not [secret for secret in (SECRET, KEY_ID) if secret in text]
    s3.set()
    assert objects(store) == in_work(store) == []


def test_missing_credentials_are_named(store, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StorageError, match="no usable credentials were found: set AWS_PROFILE"):
        store.stages()


def test_a_publication_that_is_refused_is_not_seen(store, machine, s3):
    def make(build):
        s3.set(status=403, code="AccessDenied")
        return fill(build)

    with pytest.raises(StorageError, match="access denied"):
        store.build(toy(), "x", make)
    s3.set()
    assert machine("two").find("toy", [key()]) == {}
    assert in_work(store) == []
    assert store.build(toy(), "x", fill)


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///x", "s3://b/../x", "s3://b/x//y", f"s3://{KEY_ID}:{SECRET}@b/x", f"s3://b/x?key={SECRET}"]
)
def test_addresses_that_name_no_place_are_refused_without_being_shown(url, tmp_path):
    with pytest.raises(TextmillError, match="s3://bucket/prefix") as refused:
        open_bucket(url, tmp_path)
    assert SECRET not in str(refused.value)


def test_the_size_of_the_cache_is_a_number(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTMILL_CACHE_GB", "much")
    with pytest.raises(TextmillError, match="TEXTMILL_CACHE_GB is 'much'"):
        open_bucket("s3://b/x", tmp_path)
