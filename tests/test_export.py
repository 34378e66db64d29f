"""The command `export` on a small trained model: what stock transformers reads, writes and scores with the folder."""

import re
import sys
from pathlib import Path

import pytest
import torch

from data.facts import Facts
from data.manifest import ArtifactRef
from data.store import Build, Store
from data.tokenizers.load import load_tokenizer
from data.tokenizers.pretrained import write_pretrained
from flows.cli import app, run_app
from gpt.batches import Batches
from gpt.config import ModelConfig
from gpt.generate import stream
from gpt.learner import Learner
from gpt.plan import resolve
from gpt.weights import load_model, save_model
from tasks.registry import identity
from tests.gpt_toys import shard, tiny_training
from tests.tokenizer_examples import ODD, SPECIAL, TOPICS, small_bpe, small_characters


def publish(store: Store, stage: str, inputs: tuple[ArtifactRef, ...], make) -> ArtifactRef:
    def build(build: Build) -> Facts:
        make(build.out)
        return Facts()

    return store.build(identity(stage, {}, {"inputs": [ref.digest for ref in inputs]}), "toy", build, inputs)


def trained(out: Path, tokenizer: Path) -> None:
    """Some steps on a page of documentation, enough that the logits say something."""
    encoder = load_tokenizer(tokenizer)
    texts = [[encoder.eot_id, *encoder.encode_ordinary(text[:600])] for text in TOPICS[:8]]
    open_model = ModelConfig(layers=1, width=32, context=32, dropout=0.0)
    training = tiny_training(steps=30, learning_rate=1e-2)
    model, _ = resolve(open_model, training, encoder.vocab_size, 10_000)
    batches = Batches({"a": [shard(texts)]}, {"a": 1.0}, 32, training.batch_size, encoder.vocab_size, 1)
    learner = Learner(model, training, batches, torch.device("cpu"))
    for _ in range(30):
        learner.update()
    save_model(out, model, learner.model.state_dict())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("export") / "store")
    tokenizer = publish(store, "tokenizer", (), small_bpe)
    publish(store, "model", (tokenizer,), lambda out: trained(out, store.path(tokenizer)))
    return store


@pytest.fixture
def textmill(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["textmill", *arguments])
        code = run_app(app)
        return code, *capfd.readouterr()

    monkeypatch.setenv("TEXTMILL_STORE", str(store.root))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return run


def test_the_exported_model_is_the_trained_one(store, textmill, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    [model] = store.manifests("model")
    code, said, err = textmill("export", str(model.ref), "below/folder")
    assert (code, err) == (0, "")
    folder = tmp_path / "below" / "folder"
    assert str(folder) in said and list(folder.parent.iterdir()) == [folder]
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1, "whoever may read one file may read all"
    ours, theirs = load_model(store.path(model.ref)), AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = load_tokenizer(store.path(store.resolve(model.inputs[0])))
    encoder = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([[tokenizer.eot_id, *tokenizer.encode_ordinary(TOPICS[50])[:31]]])
    with torch.no_grad():
        difference = theirs(ids).logits - ours(ids)[..., : tokenizer.vocab_size]
    assert difference.abs().max() < 1e-4
    written = list(stream(ours, tokenizer.encode_ordinary("The"), 12, temperature=0, eot_id=tokenizer.eot_id))
    asked = encoder(f"{SPECIAL}The", return_tensors="pt")
    drawn = theirs.generate(**asked, max_new_tokens=12, do_sample=False, temperature=None, top_k=None)[0]
    expected = f"{SPECIAL}The{tokenizer.decode(written)}"
    assert encoder.decode(drawn) in (expected, expected + SPECIAL)
    assert len(set(written)) > 2


def test_what_the_command_shows_runs(textmill, tmp_path, capfd):
    code, said, err = textmill("export", "folder", "--dtype", "bfloat16")  # the newest model
    assert (code, err) == (0, "") and "bfloat16" in said
    shown = said.partition("It loads with\n")[2]
    assert len(shown.strip().splitlines()) == 4
    exec(shown, {})
    assert capfd.readouterr().out.startswith(f"{SPECIAL}It was a")


def test_what_cannot_be_exported_is_one_clear_line(store, textmill, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("keep me")
    (tmp_path / "file").write_text("keep me")
    [tokenizer] = store.manifests("tokenizer")
    for arguments, code, words in (
        (["full"], 2, "full is not empty: name a new folder"),
        (["file"], 2, "file is a file"),
        (["model/none", "folder"], 1, "model/none"),
        ([str(tokenizer.ref), "folder"], 2, "is no model"),
        (["a", "b", "c"], 2, "at most two"),
        (["folder", "--dtype", "int4"], 2, "float16"),
        (["file/below"], 1, "Cannot write"),
    ):
        found, out, err = textmill("export", *arguments)
        assert (found, out) == (code, ""), err
        assert words in err and "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["note.txt"]


def test_an_empty_folder_is_filled(textmill, tmp_path):
    (tmp_path / "empty").mkdir()
    assert textmill("export", "empty")[0] == 0
    assert (tmp_path / "empty" / "config.json").exists()


@pytest.mark.parametrize("make", [small_bpe, small_characters])
def test_the_exported_tokenizer_gives_the_same_ids(make, tmp_path):
    from transformers import AutoTokenizer

    folder = make(tmp_path / "tokenizer")
    (tmp_path / "out").mkdir()
    write_pretrained(folder, tmp_path / "out", context=64)
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in [*ODD, *TOPICS[40:50]]:
        ids = theirs(text, split_special_tokens=True).input_ids
        assert ids == ours.encode_ordinary(text)
        assert theirs.decode(ids) == text
    special = (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id)
    assert special == (ours.eot_id,) * 3 and len(theirs) == ours.vocab_size
    assert theirs(f"{SPECIAL}a").input_ids == [ours.eot_id, *ours.encode_ordinary("a")]
    assert theirs.model_max_length == 64
    (folder / "tokenizer.json").unlink()
    with pytest.raises(Exception, match=re.escape(f"{folder} holds no tokenizer.json")):
        write_pretrained(folder, tmp_path / "out", context=64)
