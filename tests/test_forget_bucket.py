"""Forgetting in a bucket that two machines share: what is named goes from every object and from all copies."""

import io
import json
import os
import shutil
import signal
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.storage import cache
from data.storage.bucket import Bucket
from data.storage.location import open_bucket
from data.tokenizers.load import load_tokenizer
from flows.cli import app, run_app
from flows.corpus import corpus
from flows.recipe import Recipe
from flows.start import open_run
from tasks.runtime import Runtime
from tests.test_forget import SECRET, SETTINGS, text

pytestmark = pytest.mark.usefixtures("flow_server")

WRITES = {"put_object", "delete_objects", "create_multipart_upload", "abort_multipart_upload"}
LINE = f"A line of {SECRET} that no other text has."  # stands in what machines have begun only


class Shared:
    """A store in a bucket, and the folders of two machines that use it."""

    def __init__(self, s3, folder, monkeypatch):
        self.url, self.folder, self._patch = f"s3://{s3.bucket()}/mill", folder, monkeypatch
        self.texts = folder / "texts"
        monkeypatch.setenv("TEXTMILL_STORE", self.url)

    def on(self, name):
        """From here on everything happens on the machine of that name."""
        self._patch.setenv("TEXTMILL_CACHE", str(self.folder / name))
        return open_bucket(self.url, self.folder)

    def run(self, until=None):
        source = {"kind": "folder", "path": str(self.texts), "slot_bytes": 6_000}
        values = {"name": "mill", "sources": {"texts": source}} | SETTINGS
        return corpus(recipe=Recipe.model_validate(values), until=until, runtime=Runtime(store=self.url))

    def objects(self):
        store = self.on("one")
        return {one.key: store.bucket.get(one.key).body for one in store.bucket.objects("")}

    def in_bucket(self, wanted=SECRET):
        """Keys of the objects in which these characters stand."""
        store, objects = self.on("looking"), self.objects()
        tokenizers = {
            manifest.key: load_tokenizer(store.path(manifest.ref)) for manifest in store.manifests("tokenizer")
        }
        made_by = {manifest.key: tokenizers[manifest.inputs[-1].rpartition("-")[2]]
                   for manifest in store.manifests("tokens")}  # fmt: skip
        return [key for key, body in objects.items() if wanted.encode() in said(key, body, made_by)]

    def on_disk(self, name, wanted=SECRET):
        """Files of a machine in which these characters stand."""
        files = [path for path in sorted((self.folder / name).rglob("*")) if path.is_file()]
        return [str(path) for path in files if wanted.encode() in said(str(path), path.read_bytes(), {})]


def said(name, body, tokenizers):
    """The bytes of a file; of Parquet and token arrays, what they say."""
    if name.endswith(".parquet"):
        return "\n".join(
            str(value) for row in pq.read_table(io.BytesIO(body)).to_pylist() for value in row.values()
        ).encode()
    if name.startswith("payload/tokens/") and name.endswith(("/train.npy", "/validation.npy")):
        ids = np.load(io.BytesIO(body)).tolist()
        return tokenizers[name.split("/")[2]].decode(ids).encode() if ids else b""
    return body


@pytest.fixture(scope="module")
def begun(s3_server, tmp_path_factory):
    """What a run on the first machine made, a copy of it on the second, and what both have begun of the same text."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        shared = Shared(s3_server, tmp_path_factory.mktemp("bucket") / "now", patch)
        shared.texts.mkdir(parents=True)
        for number in range(5):
            (shared.texts / f"{number:03d}.txt").write_text(text(number))
        (shared.texts / "001.txt").write_text(text(1).replace("words.", f"words of {SECRET}. "))
        rows = [{"id": str(n), "text": text(100 + n)} for n in range(3)]
        rows[1]["text"] = rows[1]["text"].replace("words.", f"words of {SECRET}. ")
        (shared.texts / "900.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        shared.on("one")
        shared.run()
        two = shared.on("two")
        refs = [manifest.ref for manifest in two.manifests()]
        for ref in refs:
            with two.using([ref]):
                pass
        for name in ("one", "two"):
            root = shared.on(name).root
            raws = [ref for ref in refs if ref.stage == "raw"]
            for ref in raws:  # a cut download, and what was being deleted when a process was killed
                for folder in (".fetching", ".trash"):
                    place = root / "cache" / folder / f"raw+{ref.name}-{ref.key}"
                    place.mkdir(parents=True)
                    (place / "items.bin").write_text(LINE)
            for stage in ("raw", "documents", "tokens"):  # a slot of which the text was a part
                place = root / "work" / f"{stage}-{'ab' * 8}" / "keep"
                place.mkdir(parents=True)
                (place / "half").write_text(LINE)
        objects = shared.objects()
        shutil.copytree(shared.folder, shared.folder.with_name("copy"))
        yield shared, objects


@pytest.fixture
def shared(begun, s3, monkeypatch):
    shared, objects = begun
    shared._patch = monkeypatch
    monkeypatch.setenv("TEXTMILL_STORE", shared.url)
    store = shared.on("one")
    store.bucket.delete(one.key for one in store.bucket.objects(""))
    for key, body in objects.items():
        store.bucket.put(key, body)
    shutil.rmtree(shared.folder)
    cache._caches.clear()  # which know what lay there
    shutil.copytree(shared.folder.with_name("copy"), shared.folder)
    shared.on("one")
    return shared


def forget():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["textmill", "forget", "--document=001.txt", "--document=900.jsonl#2", "--yes"])
        return run_app(app)


def forget_killed(write):
    """Give the command in a process that is killed just before this write to the bucket; whether it came to it."""
    child = os.fork()
    if not child:
        call, left = Bucket.call, [write]

        def dying(self, method, key, **arguments):
            left[0] -= method in WRITES
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(self, method, key, **arguments)

        Bucket.call = dying
        os._exit(forget())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def check_forgotten(shared):
    assert shared.in_bucket() == shared.on_disk("one") == []
    shared.on("two")
    open_run("another", Runtime(store=shared.url))  # of whatever recipe
    assert shared.on_disk("two") == []
    assert list(shared.on("two").verify()) == []
    assert shared.in_bucket("text 3 says") and shared.in_bucket("text 102 says"), "the others stay"


def test_what_is_forgotten_goes_from_the_bucket_and_from_all_copies(shared):
    stages = {key.split("/")[1] for key in shared.in_bucket()}
    assert stages == {"raw", "documents", "corpus", "tokens"}, "or this test looks in the wrong way"
    for name in ("one", "two"):
        assert {path.partition("/cache/")[2].partition("/")[0] for path in shared.on_disk(name)} >= {"raw", ".fetching"}
    shared.on("one")
    assert forget() == 0
    check_forgotten(shared)
    shared.on("two")
    assert shared.run()
    assert shared.in_bucket() == shared.on_disk("two") == []


@pytest.mark.parametrize(
    "write", [20, *(pytest.param(write, marks=pytest.mark.long) for write in (0, 3, 5, 9, 14, 26, 32))]
)
def test_killed_and_given_again_it_goes_all_the_same(shared, write):
    assert forget_killed(write)
    shared.on("one")
    assert forget() == 0
    check_forgotten(shared)
