"""What a comparison reads lies in a bucket, and is brought to the machine that compares."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from data.errors import TextmillError
from data.facts import Facts
from data.store import Store
from data.tokenizers.bpe import train_bpe
from tasks import comparing
from tasks.comparing import _encode_validation, _in_tokens_of, memorisation
from tasks.gate import Verbatim
from tasks.registry import identity
from tasks.retrain_config import RetrainConfig
from tasks.run import Run
from tasks.runtime import Runtime, open_store
from tasks.slots import Slot
from tasks.training import Arrays
from tests.tokenizer_examples import TOPICS, write_corpus, write_tokenizer

TEXTS = ["a held-out text", "and another one"]


def bpe_folder(folder, size):
    return write_tokenizer(folder, train_bpe(TOPICS[:2], size))


def publish(store, stage, folder, config, **counts):
    def make(build):
        shutil.copytree(folder, build.out, dirs_exist_ok=True)
        return Facts(counts=counts)

    return store.build(identity(stage, config, {}), "toy-0000", make)


@pytest.fixture
def other_machine(s3, tmp_path, monkeypatch):
    """A run on a machine that has copies of nothing, and what another one has published: slots, tokenizers, a model."""
    url = f"s3://{s3.bucket()}/mill"
    monkeypatch.setenv("TEXTMILL_CACHE", str(tmp_path / "one"))
    store = open_store(url)
    shard = publish(store, "corpus", write_corpus(tmp_path / "shard", ["text"], TEXTS), {}, validation_passages=2)
    tokenizers = [
        publish(store, "tokenizer", bpe_folder(tmp_path / f"{size}", size), {"vocab_size": size}) for size in (300, 310)
    ]
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    for name in ("train.npy", "train.documents.npy"):
        (arrays / name).write_bytes(b"an array")
    tokens = publish(store, "tokens", arrays, {})
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"weights")

    def make(build):
        shutil.copytree(weights, build.out, dirs_exist_ok=True)
        return Facts()

    model = store.build(identity("model", {"model": {}}, {}), "toy", make, inputs=[tokenizers[1]])
    monkeypatch.setenv("TEXTMILL_CACHE", str(tmp_path / "two"))
    run = Run("toy", Runtime(store=url))
    made = Arrays([Slot("toy", 0, "", "toy 1/1", tokens)], {"toy": 1.0}, tokenizers[0])
    return run, model, made, Slot("toy", 0, "", "toy 1/1", shard)


@pytest.mark.usefixtures("flow_server")
def test_validation_text_is_brought_to_be_encoded_in_the_tokens_of_the_champion(other_machine):
    run, champion, arrays, shard = other_machine
    theirs = _in_tokens_of(run, champion, arrays, [shard])
    assert theirs.tokenizer != arrays.tokenizer
    assert run.store.manifest(theirs.slots[0].ref).counts["validation_documents"] == len(TEXTS)


@pytest.mark.usefixtures("flow_server")
def test_training_text_and_weights_are_brought_to_be_tested_for_memorisation(other_machine, monkeypatch):
    run, model, arrays, _ = other_machine

    def stand_in(module, job, build):
        pairs = [pair for source in job["sources"].values() for pair in source["train"]]
        assert pairs and all(Path(path).exists() for pair in pairs for path in pair.values())
        assert (Path(job["model_dir"]) / "model.safetensors").exists() and Path(job["token_bytes"]).exists()
        result = {"places": 4, "verbatim": 1, "share": 0.25}
        (build.out / comparing.MEMORISATION_FILE).write_text(json.dumps(result))

    monkeypatch.setattr(comparing, "run_job", stand_in)
    assert memorisation(run, model, arrays, RetrainConfig(), "toy") == Verbatim(1, 4)


def test_a_shard_that_gives_fewer_passages_than_its_manifest_is_refused(tmp_path):
    tokenizer = bpe_folder(tmp_path / "tokenizer", 300)
    whole = write_corpus(tmp_path / "shard", [], TEXTS)
    store = Store(tmp_path / "store")

    def build(number, corpus, passages):
        make = partial(_encode_validation, corpus, tokenizer, passages, progress=lambda *_: None)
        return store.build(identity("tokens", {"n": number}, {}), "toy", lambda build: make(build))

    assert store.manifest(build(1, whole, 2)).counts["validation_documents"] == 2
    with pytest.raises(TextmillError, match=r"absent.validation.parquet gave 0 passages, its manifest counts 2"):
        build(2, tmp_path / "absent", 2)
    assert len(list(store.manifests("tokens"))) == 1
