import json
import logging
import os
import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import TextmillError
from data.facts import Facts
from data.manifest import ArtifactRef
from data.store import Store
from tests.store_toys import files, fill, in_work, published, start, toy, wait_until_ready


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def must_not_run(build):
    raise AssertionError("this was there already")


def must_not_wait(holder):
    raise AssertionError(f"waited for {holder}")


def key(number=0):
    return toy(number).key


# -- building and finding


def test_what_is_built_is_found_by_its_key_alone(store):
    ref = store.build(toy(), "Käse/1", fill)
    assert (ref.stage, ref.name, ref.key) == ("toy", "Kase-1", key())
    assert store.path(ref) == store.root / "toy" / f"Kase-1-{key()}"
    assert set(files(store.path(ref))) == {
        "manifest.json", "deep/er/data.bin", "table.parquet", "observed/metrics.jsonl", "observed/build.json",
    }  # fmt: skip
    assert Store(store.root).find("toy", [key(), key(1), key()]) == {key(): ref}
    assert store.build(toy(), "another name", must_not_run) == ref
    assert store.path(replace(ref, name="another-name")) == store.path(ref)
    assert in_work(store) == []


def test_the_manifest_says_what_was_made_of_what(store):
    source = store.build(toy(1), "source", fill)
    manifest = store.manifest(store.build(toy(), "made", fill, [source]))
    assert manifest.recipe == toy()
    assert manifest.inputs == [f"toy/source-{key(1)}"]
    assert manifest.counts == {"documents": 3, "share": 0.5}
    assert (manifest.licences, manifest.notes, manifest.details) == (["CC0"], ["a note"], {"more": [1, None]})
    on_disk = files(store.path(manifest.ref))
    assert {path: entry.bytes for path, entry in manifest.files.items()} == {
        path: len(content) for path, content in on_disk.items() if path != "manifest.json"
    }
    assert json.loads(on_disk["observed/build.json"])["seconds"] >= 0


def test_the_digest_is_of_the_payload_and_of_nothing_observed(tmp_path):
    def slow_day(build):
        facts = fill(build)
        (build.observed / "weather.txt").write_text("rain")
        facts.notes.append("slow")
        return facts

    makes = [fill, slow_day, lambda build: fill(build, "other text")]
    refs = [Store(tmp_path / str(i)).build(toy(), "x", make) for i, make in enumerate(makes)]
    assert refs[0].digest == refs[1].digest != refs[2].digest


def test_how_a_table_was_written_is_no_part_of_the_digest(tmp_path):
    def make(compression, build):
        pq.write_table(pa.table({"text": ["some", "text"]}), build.out / "table.parquet", compression=compression)
        return Facts()

    stores = [Store(tmp_path / compression) for compression in ("zstd", "none")]
    refs = [store.build(toy(), "x", partial(make, store.root.name)) for store in stores]
    assert refs[0].digest == refs[1].digest
    tables = [store.manifest(ref).files["table.parquet"] for store, ref in zip(stores, refs, strict=True)]
    assert tables[0].sha256 != tables[1].sha256


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, TextmillError])
def test_a_failed_build_leaves_no_trace(store, error):
    def fail(build):
        fill(build)
        raise error("stop")

    with pytest.raises(error, match="stop"):
        store.build(toy(), "x", fail)
    assert in_work(store) == published(store) == []
    assert store.build(toy(), "x", fill).digest


def test_what_a_failed_build_kept_is_found_by_the_next_one(store):
    def fail(build):
        (build.keep / "deep").mkdir()
        (build.keep / "deep" / "checkpoint").write_text("step 3")
        (build.out / "half").touch()
        raise KeyboardInterrupt

    def go_on(build):
        assert list(build.out.iterdir()) == []
        assert (build.keep / "deep" / "checkpoint").read_text() == "step 3"
        return fill(build)

    with pytest.raises(KeyboardInterrupt):
        store.build(toy(), "x", fail)
    assert published(store) == []
    assert set(files(store.root / "work")) == {f"toy-{key()}/keep/deep/checkpoint"}
    store.build(toy(), "x", go_on)
    assert in_work(store) == []


def test_facts_that_make_no_manifest_publish_nothing(store):
    with pytest.raises(ValueError):
        store.build(toy(), "x", lambda build: Facts({"loss": float("nan")}))
    assert in_work(store) == published(store) == []


def test_only_the_deleted_artifact_is_built_again(store):
    refs = [store.build(toy(i), f"x{i}", fill) for i in range(3)]
    shutil.rmtree(store.path(refs[1]))
    assert sorted(store.find("toy", [key(i) for i in range(3)])) == sorted([key(0), key(2)])
    with pytest.raises(TextmillError, match=rf"toy/x1-{key(1)} is not in the store {store.root}: run its recipe again"):
        store.path(refs[1])
    assert store.build(toy(1), "x1", fill) == refs[1]
    assert store.build(toy(0), "x0", must_not_run) == refs[0]


@pytest.mark.parametrize("path", ["manifest.json", "deep/er/data.bin", "observed/metrics.jsonl"])
@pytest.mark.parametrize("damage", ["missing", "cut", "longer"])
def test_a_damaged_artifact_is_no_hit_and_is_built_again(store, caplog, path, damage):
    ref = store.build(toy(), "x", fill)
    before = files(store.path(ref))
    file = store.path(ref) / path
    match damage:
        case "missing":
            file.unlink()
        case "cut":
            os.truncate(file, 5)
        case "longer":
            file.write_bytes(before[path] + b"x")
    with caplog.at_level(logging.WARNING):
        assert store.find("toy", [key()]) == {}
    assert f"toy/x-{key()} is damaged and will be built again" in caplog.text
    assert path in caplog.text
    assert store.build(toy(), "x", fill) == ref
    assert list(store.verify()) == []
    assert (
        files(store.path(ref))[path] != b"" if path == "manifest.json" else files(store.path(ref))[path] == before[path]
    )
    assert in_work(store) == []


def test_a_file_where_an_artifact_should_be_is_no_hit(store):
    (store.root / "toy").mkdir(parents=True)
    (store.root / "toy" / f"x-{key()}").touch()
    assert store.find("toy", [key()]) == {}
    (damage,) = store.verify()
    assert damage.where == store.root / "toy" / f"x-{key()}" / "manifest.json"


# -- refresh


def test_refresh_keeps_what_came_out_the_same(store):
    ref = store.build(toy(), "x", fill)
    before, inode = files(store.path(ref)), store.path(ref).stat().st_ino
    ran = []
    assert store.build(toy(), "renamed", lambda build: ran.append(1) or fill(build), refresh=True) == ref
    assert ran == [1]
    assert (files(store.path(ref)), store.path(ref).stat().st_ino) == (before, inode)
    assert published(store) == [f"toy/x-{key()}"]
    assert in_work(store) == []


def test_refresh_replaces_what_came_out_differently(store):
    ref = store.build(toy(), "x", fill)
    new = store.build(toy(), "renamed", lambda build: fill(build, "other text"), refresh=True)
    assert new.digest != ref.digest
    assert published(store) == [f"toy/renamed-{key()}"]
    assert files(store.path(new))["deep/er/data.bin"] == b"other text"
    assert list(store.verify()) == in_work(store) == []


def test_refresh_mends_what_was_damaged_in_secret(store):
    ref = store.build(toy(), "x", fill)
    file = store.path(ref) / "deep" / "er" / "data.bin"
    file.write_bytes(b"same size"[: file.stat().st_size])
    assert store.build(toy(), "x", fill, refresh=True) == ref
    assert file.read_bytes() == b"some text"
    assert list(store.verify()) == []


def test_a_refresh_that_cannot_take_its_place_leaves_the_old(store, monkeypatch):
    ref = store.build(toy(), "x", fill)
    before, rename = files(store.path(ref)), os.rename

    def refuse(source, target):
        if Path(source).name == "out":
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(KeyboardInterrupt):
        store.build(toy(), "x", lambda build: fill(build, "other text"), refresh=True)
    assert files(store.path(ref)) == before
    assert in_work(store) == []


# -- several builders, killed builders, sweeping


def test_processes_that_build_one_key_share_one_result(store, tmp_path):
    log = tmp_path / "log"
    processes = [start("build_slowly", store.root, log) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    lines = log.read_text().splitlines()
    assert lines.count("made") == 1
    assert set(lines) - {"made"} == set(published(store))  # one artifact, whoever built it
    assert list(store.verify()) == in_work(store) == []


def test_threads_that_build_one_key_share_one_result(store):
    ran, refs, meeting = [], [], threading.Barrier(4)

    def build(number):
        meeting.wait()
        refs.append(store.build(toy(), f"by-{number}", lambda build: ran.append(number) or fill(build)))

    threads = [threading.Thread(target=build, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ran) == len(set(refs)) == len(published(store)) == 1
    assert len(refs) == 4
    assert in_work(store) == []


def test_other_keys_wait_for_nobody(store):
    def make(build):
        store.build(toy(1, "a.b"), "inner", fill, on_wait=must_not_wait)  # a stage's name may hold dots
        return fill(build)

    store.build(toy(0, "a.b"), "outer", make)
    assert len(published(store)) == 2


def test_the_next_one_goes_on_at_once_where_a_killed_builder_stopped(store, tmp_path):
    log = tmp_path / "log"
    process = start("hold_with_half_a_payload", store.root, log)
    wait_until_ready(process)
    try:
        assert store.sweep() == []  # it lives
        process.kill()
        process.wait()
        assert store.sweep() == []  # it is dead, but its work can go on
        assert published(store) == []

        def go_on(build):
            assert files(build.keep) == {"half.txt": b"half"}
            assert files(build.out) == {}
            return fill(build)

        store.build(toy(), "x", go_on, on_wait=must_not_wait)
        assert list(store.verify()) == in_work(store) == []
    finally:
        os.kill(int(log.read_text()), 9)  # the child that outlived its parent, and held no lock


def test_what_nobody_can_continue_is_swept(store, tmp_path):
    process = start("hold_without_keeping", store.root, tmp_path / "log")
    wait_until_ready(process)
    assert store.sweep() == []
    process.kill()
    process.wait()
    assert store.sweep() == [f"toy-{key(1)}"]
    assert in_work(store) == []

    store.build(toy(2), "x", fill)  # killed after publishing and before tidying up
    work = store.root / "work"
    (work / f"toy-{key(2)}" / "keep").mkdir(parents=True)
    (work / f"toy-{key(2)}" / "keep" / "checkpoint").touch()
    os.utime(work / f"toy-{key(2)}" / "keep" / "checkpoint", (0, 0))  # older than what was published
    store.build(toy(4), "x", fill)  # being built again when it was killed: newer than what is published
    (work / f"toy-{key(4)}" / "keep").mkdir(parents=True)
    (work / f"toy-{key(4)}" / "keep" / "checkpoint").touch()
    (work / f"toy-{key(3)}.lock").touch()  # killed before it came to anything
    shutil.copytree(store.root / "toy", work / "replaced-0123abcd")  # killed between two renames
    assert store.sweep() == ["replaced-0123abcd", f"toy-{key(2)}"]
    assert in_work(store) == [f"toy-{key(4)}"]
    assert list(store.verify()) == []


def test_an_empty_place_needs_no_sweeping(store):
    assert store.sweep() == []
    assert not store.root.exists()


# -- resolving


def test_an_artifact_is_named_in_many_ways(store):
    refs = [store.build(toy(i, stage), "books", fill) for i, stage in enumerate(["documents", "tokens"])]
    for ref in refs:
        for text in (str(ref), f"books-{ref.key}", ref.key, ref.key[:6], f"{ref.stage}/{ref.key[:4]}"):
            assert store.resolve(text) == ref
    assert [manifest.ref for manifest in store.manifests()] == refs
    assert [manifest.ref for manifest in store.manifests("tokens")] == refs[1:]
    assert store.stages() == ["documents", "tokens"]


def test_what_is_no_single_artifact_is_refused(store):
    first = store.build(toy(), "books", fill)
    same_start = next(i for i in range(1, 1000) if toy(i).key[0] == first.key[0])
    second = store.build(toy(same_start), "books", fill)
    with pytest.raises(TextmillError, match=r"2 artifacts begin so .*textmill ls") as ambiguous:
        store.resolve(first.key[0])
    assert str(first) in str(ambiguous.value)
    assert str(second) in str(ambiguous.value)
    with pytest.raises(TextmillError, match=rf"called 'poems' and has a key .*there is {first}"):
        store.resolve(f"poems-{first.key}")
    for unknown in (
        "",
        "/",
        "books",
        "nothing",
        "../..",
        f"other/{first.key}",
        f"toy/books-{toy(1).key}",
        "work/",
        f"work/{first.key}",
    ):
        with pytest.raises(TextmillError, match=rf"{unknown!r} in {store.root}: there is none"):
            store.resolve(unknown)


def test_unreadable_manifests_are_left_out_of_lists(store, caplog):
    refs = [store.build(toy(i), "x", fill) for i in range(2)]
    (store.path(refs[0]) / "manifest.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert [manifest.ref for manifest in store.manifests()] == [refs[1]]
    assert str(store.path(refs[0])) in caplog.text


# -- verifying


def test_every_flipped_bit_is_found_and_named(store):
    ref = store.build(toy(), "x", fill)
    other = store.build(toy(1), "y", fill)
    for path, content in files(store.path(ref)).items():
        file = store.path(ref) / path
        for at in {*range(0, len(content), 37), len(content) - 1}:
            file.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 7]) + content[at + 1 :])
            assert {damage.where for damage in store.verify()} == {file}
        file.write_bytes(content)
    assert list(store.verify(ref)) == list(store.verify(other)) == []


@pytest.mark.parametrize("folder", ["", "deep/er/", "observed/"])
def test_missing_and_extra_files_are_found_and_named(store, folder):
    ref = store.build(toy(), "x", fill)
    extra = store.path(ref) / folder / "extra.txt"
    extra.write_text("x")
    (damage,) = store.verify(ref)
    assert (damage.ref, damage.where, damage.problem) == (str(ref), extra, "is not in the manifest")
    assert damage.is_observation == (folder == "observed/")
    extra.unlink()
    for missing in [store.path(ref) / path for path in files(store.path(ref)) if path.startswith(folder)]:
        content = missing.read_bytes()
        missing.unlink()
        (damage,) = store.verify(ref)
        assert damage.where == missing
        missing.write_bytes(content)


def test_an_artifact_under_a_false_key_is_found(store):
    path = store.path(store.build(toy(), "x", fill))
    path.rename(path.with_name(f"x-{key(1)}"))
    (damage,) = store.verify()
    assert damage.where == path.with_name(f"x-{key(1)}") / "manifest.json"
    assert key() in damage.problem


# -- names


@settings(deadline=None, max_examples=40)
@given(name=st.text() | st.text(alphabet="./\\\0 -_aB", max_size=300), stage=st.text(alphabet="./\\\0-a", max_size=9))
def test_no_name_leads_out_of_the_store(tmp_path_factory, name, stage):
    jail = tmp_path_factory.mktemp("jail")
    store = Store(jail / "deep" / "store")
    ref = store.build(toy(0, stage), name, lambda build: Facts(details={"name": name}))
    assert store.path(ref).parent.parent == store.root
    assert all(path.startswith("deep/store/") for path in files(jail))
    assert len(published(store)) == 1
    false = ArtifactRef(stage, name, "../../../..", "")
    with pytest.raises(TextmillError, match="is not in the store"):
        store.path(false)


# -- power cuts


class Disk:
    """What of a folder would outlive a power cut: files as they were when last forced to the disk, and the same of
    folders' entries. Spies on the calls of `os` to know."""

    def __init__(self, monkeypatch, on_name):
        self.lasting, self.opened, self.on_name = {}, {}, on_name
        self.open, self.fsync = os.open, os.fsync
        monkeypatch.setattr(os, "open", self.spy_open)
        monkeypatch.setattr(os, "fsync", self.spy_fsync)
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, partial(self.spy_rename, getattr(os, name)))

    def spy_open(self, path, *rest, **more):
        descriptor = self.open(path, *rest, **more)
        self.opened[descriptor] = Path(path)
        return descriptor

    def spy_fsync(self, descriptor):
        self.fsync(descriptor)
        path = self.opened[descriptor]
        self.lasting[path] = look(path)

    def spy_rename(self, rename, source, target):
        self.on_name(self, Path(source), Path(target))
        rename(source, target)
        for path in [path for path in self.lasting if path == Path(source) or Path(source) in path.parents]:
            self.lasting[Path(target) / path.relative_to(source)] = self.lasting.pop(path)

    def lacks(self, folder):
        """What below a folder a power cut would take away or leave in an older state."""
        return {path for path in (folder, *folder.rglob("*")) if self.lasting.get(path) != look(path)}


def look(path):
    return sorted(os.listdir(path)) if path.is_dir() else path.read_bytes()


def test_everything_is_on_the_disk_before_it_gets_its_name(store, monkeypatch):
    named = []

    def on_name(disk, source, target):
        named.append(target.name)
        if target.name == "manifest.json":
            out = target.parent
            assert sorted(set(files(out)) - {source.name}) == [
                "deep/er/data.bin", "observed/build.json", "observed/metrics.jsonl", "table.parquet",
            ]  # fmt: skip
            assert disk.lacks(out) == {out}  # whose entries last once the manifest has its name
            assert source.read_bytes().endswith(b"}\n")
        else:
            assert disk.lacks(source) == set()
            assert (source / "manifest.json").exists()

    disk = Disk(monkeypatch, on_name)
    ref = store.build(toy(), "x", fill)
    monkeypatch.undo()
    assert named == ["manifest.json", f"x-{key()}"]
    assert disk.lacks(store.path(ref)) == set()
    assert disk.lasting[store.root / "toy"] == [f"x-{key()}"]
    assert "toy" in disk.lasting[store.root]
    assert "store" in disk.lasting[store.root.parent]


def test_state_is_on_the_disk_before_its_pointer_moves(store, monkeypatch):
    def on_name(disk, source, target):
        assert disk.lacks(source) == set()
        if target.name == "current":
            snapshot = target.with_name(source.read_text().strip() + ".json")
            assert disk.lacks(snapshot) == set()
            assert snapshot.name in disk.lasting[target.parent]

    disk = Disk(monkeypatch, on_name)
    store.refs.swap("a/b", store.refs.swap("a/b", None, 1), 2)
    monkeypatch.undo()
    folder = store.root / "refs" / "a" / "b"
    assert disk.lacks(folder / "current") == set()
    assert all(path.name in disk.lasting[path.parent] for path in (folder / "current", folder, folder.parent))
