"""Forgetting: what is named goes from every file of a store, with its copies, and does not come back."""

import base64
import gzip
import io
import json
import os
import shutil
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.errors import TextmillError
from data.facts import Facts
from data.forgetting import purging
from data.forgetting.holdings import Holdings
from data.forgetting.plan import plan
from data.forgetting.purging import carry_out
from data.forgetting.taint import tainted
from data.forgetting.tombstones import author_hash
from data.forgetting.wanted import NotHeldError, Wanted
from data.housekeeping.claims import collection
from data.manifest import Identity
from data.sources.chats.pseudonyms import KeyedNames, _derive
from data.sources.known import known_sources
from data.sources.registry import source_kinds
from data.tokenizers.load import load_tokenizer
from flows.cli import app, run_app
from flows.corpus import corpus
from flows.recipe import Recipe, RecipeError
from tasks.runtime import Runtime, open_store
from tests.reddit_dumps import dump, submission

SETTINGS = {
    "split": {"min_passages": 6, "passage_bytes": 300, "max_whole_bytes": 500},
    "tokenizer": {"kind": "bpe", "vocab_size": 300},
}
STAGES = ("raw", "documents", "duplicates", "corpus", "tokens")


pytestmark = pytest.mark.usefixtures("flow_server")


def text(number):
    """Some 1,300 bytes that share no line with another text."""
    return "\n\n".join(f"Paragraph {n} of text {number} says {number * 1000 + n} in words." * 2 for n in range(12))


SECRET = "Marvellous Zyx"  # stands in the text that is to be forgotten, on every line


class Mill:
    """A folder of texts and the store that is filled from it."""

    def __init__(self, path):
        self.path, self.texts = path, path / "texts"
        self.store = open_store(str(path / "store"))

    def run(self, until=None, **changes):
        source = {"kind": "folder", "path": str(self.texts), "slot_bytes": 6_000}
        values = {"name": "mill", "sources": {"texts": source}} | SETTINGS | changes
        summary = corpus(recipe=Recipe.model_validate(values), until=until, runtime=Runtime(store=str(self.store.root)))
        self.summary = summary
        return {stage: [self.store.resolve(ref) for ref in refs] for stage, refs in summary["artifacts"].items()}

    def forget(self, *documents, drop_items=False, **wanted):
        planned = plan(Holdings(self.store), Wanted(frozenset(documents), **wanted), drop_items)
        authors = [author_hash(name) for name in wanted.get("names", ())]
        return planned, carry_out(self.store, planned, authors)

    def ids(self):
        """Native ids of all documents in the store."""
        return {native_id for held in Holdings(self.store).documents for _, (native_id,) in held.rows("native_id")}

    def holds(self, wanted):
        """The files of the store in which these characters stand, Parquet and token arrays read as what they say."""
        found = []
        for path in sorted(self.store.root.rglob("*")):
            if path.is_file() and wanted.encode() in content(path):
                found.append(path.relative_to(self.store.root).as_posix())
        return found


def content(path):
    if path.suffix == ".parquet":
        return "\n".join(str(value) for row in pq.read_table(path).to_pylist() for value in row.values()).encode()
    if path.parent.parent.name == "tokens" and path.name in ("train.npy", "validation.npy"):
        (made_by,) = (one for one in manifest_of(path)["inputs"] if one.startswith("tokenizer/"))
        ids = np.load(path).tolist()
        return load_tokenizer(path.parents[2] / made_by).decode(ids).encode() if ids else b""
    return path.read_bytes()


def manifest_of(path):
    return json.loads((path.parent / "manifest.json").read_text())


def publish_model(store, refs):
    """A model as the model stage would leave it, from the tokens of a run."""
    made = [*refs["tokens"], *refs["tokenizer"]]
    inputs = {"tokens": [ref.digest for ref in refs["tokens"]]}

    def make(build):
        (build.out / "weights").write_text("learnt")
        return Facts()

    model = store.build(Identity("model", 1, {}, inputs), "mill", make, made)
    samples = store.build(Identity("samples", 1, {}, {"model": model.digest}), "mill", make, [model])
    report = store.build(Identity("report", 1, {}, {"model": model.digest}), "mill", make, [*refs["documents"], model])
    return model, samples, report


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder of texts, one of which is there twice, in two slots; what the first run made of it, and a model."""
    mill = Mill(tmp_path_factory.mktemp("forgetting") / "now")
    mill.texts.mkdir(parents=True)
    for number in range(12):
        (mill.texts / f"{number:03d}.txt").write_text(text(number))
    (mill.texts / "001.txt").write_text(text(1).replace("words.", f"words of {SECRET}. "))
    (mill.texts / "010.txt").write_text(text(1).replace("words.", f"words  of\n{SECRET}."))  # other white space
    rows = [
        {"id": str(n), "text": text(100 + n), "author": ["Ann", "Ben"][n % 2], "url": f"https://a/{n}"}
        for n in range(3)
    ]
    (mill.texts / "900.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refs = mill.run()
    made = publish_model(mill.store, refs)
    shutil.copytree(mill.path, mill.path.with_name("copy"))
    return mill, refs, made


@pytest.fixture
def mill(begun):
    mill, mill_refs, _ = begun
    shutil.rmtree(mill.path)
    shutil.copytree(mill.path.with_name("copy"), mill.path)
    mill.refs = mill_refs
    return mill


def slots(refs, stage):
    return {ref.name: ref for ref in refs[stage] if ref.name.startswith("texts-")}


def changed(before, after, stage):
    """Names of the slots whose artifact of a stage is another one, or gone."""
    old, new = slots(before, stage), slots(after, stage)
    return sorted(name for name in old if new.get(name) != old[name])


def listing(mill):
    return {path: path.stat().st_size for path in sorted(mill.store.root.rglob("*")) if path.is_file()}


def test_a_document_goes_with_its_copy_and_leaves_no_trace(mill, begun):
    model, samples, report = begun[2]
    stages_that_hold = {file.partition("/")[0] for file in mill.holds(SECRET)}
    assert stages_that_hold == {"raw", "documents", "corpus", "tokens"}, "or this test looks in the wrong way"
    planned, done = mill.forget("001.txt")
    assert (planned.rows, planned.duplicates) == (2, 1)
    assert mill.holds(SECRET) == []
    assert not list(mill.store.verify())
    assert done.removed == {
        "raw": 2,
        "documents": 2,
        "duplicates": 2,
        "corpus": 3,
        "overlap": 3,
        "tokens": 2,
        "report": 1,
    }
    learnt = {one.ref for one in tainted(mill.store)}
    assert {model, samples, *mill.refs["tokenizer"]} <= learnt
    assert learnt == {
        model,
        samples,
        *mill.refs["tokenizer"],
        *(slots(mill.refs, "tokens")[f"texts-000{n}"] for n in (1, 3)),
    }
    assert mill.store.find("report", [report.key]) == {}
    after = mill.run()
    assert mill.holds(SECRET) == []
    assert mill.summary["cached"]["raw"], "the slots were written as the next run wants them"
    assert any("2 items left out" in note for note in mill.summary["notes"])
    for stage in ("raw", "documents", "corpus"):
        assert changed(mill.refs, after, stage) == ["texts-0000", "texts-0002"], stage
    assert mill.ids() == {f"{n:03d}.txt" for n in range(12) if n not in (1, 10)} | {f"900.jsonl#{n}" for n in (1, 2, 3)}
    assert not {ref for refs in after.values() for ref in refs} & {one.ref for one in tainted(mill.store)}
    ledger = json.dumps(mill.store.refs.read(f"ledgers/{next(known_sources(mill.store.refs)).id}").value)
    assert "001.txt" not in ledger and "000.txt" in ledger


def test_what_was_written_anew_is_what_a_fetch_without_it_would_bring(mill):
    _, done = mill.forget("001.txt")
    (mill.texts / "001.txt").unlink()
    (mill.texts / "010.txt").unlink()
    shutil.rmtree(mill.store.path(done.rewritten[0]))
    after = mill.run(until="raw")
    assert set(done.rewritten) <= set(after["raw"])


def test_forgotten_files_stay_out_when_they_change_or_grow(mill):
    mill.forget("001.txt")
    (mill.texts / "001.txt").write_text(text(50))
    (mill.texts / "950.txt").write_text(text(51))
    mill.run(until="documents")
    assert "950.txt" in mill.ids() and "001.txt" not in mill.ids()


def test_earlier_versions_go_too(mill):
    (mill.texts / "001.txt").write_text(text(60))
    mill.run(until="documents")
    mill.forget("001.txt")
    assert mill.holds(SECRET) == [] and mill.holds("text 60 says") == []


def test_a_row_of_a_table_goes_from_its_file_which_keeps_the_others(mill):
    planned, done = mill.forget("900.jsonl#2")
    (gone,) = planned.by_source.values()
    assert dict(gone.kept_in) == {"900.jsonl": {"900.jsonl#2"}} and not gone.items
    assert done.blanked == {"900.jsonl"} and not done.left
    assert mill.holds("text 101 says") == [] and not list(mill.store.verify())
    assert {file.partition("/")[0] for file in mill.holds("text 102 says")} == {"raw"}
    after = mill.run(until="documents")
    assert mill.summary["cached"]["raw"]
    assert [one.key for one in after["raw"]] == [one.key for one in mill.refs["raw"]]
    assert changed(mill.refs, after, "documents") == ["texts-0003"]
    assert mill.store.manifest(slots(after, "documents")["texts-0003"]).counts["documents_out"] == 2
    assert {"900.jsonl#1", "900.jsonl#3"} <= mill.ids() and "900.jsonl#2" not in mill.ids()
    (mill.texts / "901.txt").write_text(text(300))  # the slot grows, and is fetched from the folder again
    mill.run(until="documents")
    assert mill.holds("text 101 says") == [] and "901.txt" in mill.ids()
    (mill.texts / "901.txt").write_text(text(301))
    (mill.texts / "900.jsonl").unlink()
    kept = {"texts": {"kind": "folder", "path": str(mill.texts), "slot_bytes": 6_000, "mirror": False}}
    mill.run(until="documents", sources=kept)  # what is gone from the folder is taken from the slot before, as it is
    assert {"900.jsonl#1", "900.jsonl#3"} <= mill.ids() and mill.holds("text 101 says") == []
    mill.run(until="documents", sources=kept)
    assert mill.summary["cached"]["raw"]


def test_files_that_cannot_be_written_here_stay_and_are_named(mill):
    rows = [json.dumps({"text": text(400 + number)}) for number in range(2)]
    (mill.texts / "970.jsonl.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    mill.run(until="documents")
    _, done = mill.forget("970.jsonl.gz#1")
    assert done.left == {"970.jsonl.gz"} and not done.blanked
    mill.run(until="documents")
    assert "970.jsonl.gz#2" in mill.ids() and "970.jsonl.gz#1" not in mill.ids()
    sifted = [held.manifest for held in Holdings(mill.store).documents if "dropped_forgotten" in held.manifest.counts]
    (drops,) = [json.loads((mill.store.path(one.ref) / "drops.json").read_text()) for one in sifted]
    assert drops == {"counts": {"forgotten": 1}, "examples": {}}
    mill.forget("970.jsonl.gz#1", drop_items=True)
    mill.run(until="documents")
    assert not any(native_id.startswith("970") for native_id in mill.ids())


def test_a_file_of_several_documents_goes_by_its_name(mill):
    planned, _ = mill.forget("900.jsonl")
    assert planned.rows == 3
    assert mill.holds("text 100 says") == mill.holds("text 102 says") == []


def test_an_author_goes_now_and_later(mill):
    planned, _ = mill.forget(names=frozenset({"Ann"}))
    assert [gone.documents for gone in planned.by_source.values()] == [{"900.jsonl#1", "900.jsonl#3"}]
    row = {"id": "9", "text": text(200), "author": "Ann"}
    (mill.texts / "960.jsonl").write_text(
        json.dumps(row) + "\n" + json.dumps(row | {"author": "Cid", "text": text(201)})
    )
    after = mill.run(until="documents")
    assert {"900.jsonl#2", "960.jsonl#2"} <= mill.ids() and not {"960.jsonl#1", "900.jsonl#1"} & mill.ids()
    assert changed(mill.refs, after, "documents") == ["texts-0003"]
    for path in (mill.store.root / "refs" / "tombstones").rglob("*.json"):
        assert "Ann" not in path.read_text()


def test_a_cleaning_of_another_kind_is_sifted_in_all_slots(mill):
    mill.forget(names=frozenset({"Ann"}))
    mill.run(until="documents", cleaning={"min_characters": 1})
    assert not {"900.jsonl#1", "900.jsonl#3"} & mill.ids()


def test_an_address_goes(mill):
    planned, _ = mill.forget(url="https://a/1")
    assert [gone.documents for gone in planned.by_source.values()] == [{"900.jsonl#2"}]
    assert mill.holds("text 101 says") == []


def test_a_whole_source_goes_and_the_others_stay(mill):
    other = mill.path / "other"
    other.mkdir()
    (other / "a.txt").write_text(text(70))
    (other / "000.txt").write_text(text(71))
    source = {"kind": "folder", "path": str(mill.texts), "slot_bytes": 6_000}
    both = {"sources": {"texts": source, "other": {"kind": "folder", "path": str(other)}}}
    mill.run(**both, until="documents")
    with pytest.raises(NotHeldError, match=r"in 2 sources: (?=.*other \(folder)(?=.*texts \(folder).*--source"):
        mill.forget("000.txt")
    mill.forget(source="texts")
    assert mill.holds(SECRET) == [] and mill.ids() == {"a.txt", "000.txt"}
    assert len(mill.holds("text 71 says")) == 2
    refs = mill.run(**both, until="documents")
    assert {ref.name for ref in refs["raw"]} == {"other-0000"}
    assert any("texts: left out, as all of it was forgotten" in note for note in mill.summary["notes"])
    with pytest.raises(RecipeError, match="All sources"):
        mill.run()


@pytest.mark.parametrize("wanted", [{"documents": ["001.txt"]}, {"documents": ["900.jsonl#2"]}, {"source": "texts"}])
def test_killed_anywhere_and_done_again_it_ends_the_same(mill, monkeypatch, wanted):
    documents = wanted.get("documents", [])
    others = {name: value for name, value in wanted.items() if name != "documents"}
    mill.forget(*documents, **others)
    end = {path for path in listing(mill) if "refs" not in path.parts and path.name != "build.json"}
    killed = 0
    for steps in (0, 1, 2, 3, 5, 7, 12, 100):
        shutil.rmtree(mill.path)
        shutil.copytree(mill.path.with_name("copy"), mill.path)
        left = [steps]
        with monkeypatch.context() as patch:
            for owner, name in ((type(mill.store), "remove"), (type(mill.store.refs), "update"), (purging, "_rewrite")):
                patch.setattr(owner, name, dying(getattr(owner, name), left))
            try:
                mill.forget(*documents, **others)
            except KeyboardInterrupt:
                killed += 1
        mill.forget(*documents, **others)
        again = {path for path in listing(mill) if "refs" not in path.parts and path.name != "build.json"}
        assert again == end, steps
        assert {one.ref.stage for one in tainted(mill.store)} >= {"model", "samples", "tokenizer"}, steps
    assert 6 <= killed < 8


def dying(work, left):
    """`work`, which is killed before it is done for the time that counts down to zero."""

    def done(*arguments, **others):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return work(*arguments, **others)

    return done


def without_claims(found):
    """A listing without the notes of who was at work."""
    return {path: size for path, size in found.items() if "collecting" not in path.parts}


def test_forgetting_twice_changes_nothing_more(mill):
    mill.forget("900.jsonl#2")
    tombstones = {path: path.read_bytes() for path in (mill.store.root / "refs" / "tombstones").rglob("*.json")}
    before = without_claims(listing(mill))
    _, done = mill.forget("900.jsonl#2")
    assert not done.removed and without_claims(listing(mill)) == before
    assert tombstones == {path: path.read_bytes() for path in tombstones}


def test_near_copies_go_that_drop_lists_name(mill):
    words = text(3).split()
    words[5] = "Altered"
    (mill.texts / "003b.txt").write_text(" ".join(words))
    near = {"duplicates": {"near": {}}}
    mill.run(**near)
    planned, _ = mill.forget("003.txt")
    assert [gone.items for gone in planned.by_source.values()] == [{"003.txt", "003b.txt"}]
    assert mill.holds("text 3 says") == []


def test_arrays_whose_text_cannot_be_looked_into_go(mill):
    shutil.rmtree(mill.store.root / "corpus")
    mill.forget("001.txt")
    assert mill.holds(SECRET) == []
    assert list(mill.store.manifests("tokens")) == []


KEY = "TEXTMILL_PSEUDONYM_KEY"


@pytest.fixture
def chat(tmp_path, monkeypatch):
    """A store with posts of somebody called Wilhelmina, whose name was made into another with a secret."""
    monkeypatch.setenv(KEY, "a secret of the tests, long enough")
    mill = Mill(tmp_path)
    (tmp_path / "dumps").mkdir()
    long = " It goes on for long enough to be kept, and says a little more than nothing at all." * 4
    posts = [submission(title=f"A {SECRET}", selftext=long, author="Wilhelmina")]
    posts += [submission("s2", title="Another", selftext=long + " Yes.", author="bob")]
    (tmp_path / "dumps" / "RS_2023-01.zst").write_bytes(dump(*posts))
    mill.sources = {"posts": {"kind": "reddit", "path": str(tmp_path / "dumps")}}
    return mill


def test_the_secret_of_made_names_is_in_no_file_and_enters_the_key_as_a_digest(chat, monkeypatch):
    refs = chat.run(sources=chat.sources, until="corpus")
    derived, digest = _derive(os.environ[KEY])
    for secret in (os.environ[KEY], derived.hex(), base64.b64encode(derived).decode()):
        assert chat.holds(secret) == []
    assert not [path for path in chat.store.root.rglob("*") if path.is_file() and derived in path.read_bytes()]
    manifest = f"{refs['documents'][0]}/manifest.json"
    assert manifest in chat.holds(digest), "or this test looks in the wrong way"
    monkeypatch.setenv(KEY, "another secret that is long enough")
    other = chat.run(sources=chat.sources, until="corpus")
    assert other["raw"] == refs["raw"] and other["documents"][0].key != refs["documents"][0].key


@pytest.mark.parametrize("kind", ["reddit", "discord", "discord-api"])
def test_another_secret_is_another_reading(kind, monkeypatch):
    config = source_kinds()[kind]
    source = config.model_validate({"kind": kind, **config.example})
    readings = []
    for secret in ("one secret that is long enough", "two secrets that are long enough"):
        monkeypatch.setenv(KEY, secret)
        readings.append(json.dumps(source.reading_identity()))
        assert secret not in readings[-1] and _derive(secret)[0].hex() not in readings[-1]
        assert _derive(secret)[1] in readings[-1]
        assert source.identity().keys().isdisjoint({"pseudonym_key", "pseudonyms"})
    assert readings[0] != readings[1]


def test_an_author_of_a_chat_goes_by_their_own_name_or_the_made_one(chat, capfd, monkeypatch):
    chat.run(sources=chat.sources, until="documents")
    made = KeyedNames(_derive(os.environ[KEY])[0], "reddit").name("wilhelmina")
    assert chat.holds(made)
    shutil.copytree(chat.store.root, chat.path / "kept")
    for name in ("u/Wilhelmina", made):
        code, out, _ = command(capfd, monkeypatch, chat, "forget", "--author", name)
        assert code == 0 and "1 documents, 0 raw items" in out and "lose the bytes of 1 of them" in out
        assert "1 items lost the bytes of forgotten documents" in out and chat.holds(made) == []
        chat.run(sources=chat.sources, until="documents")
        assert chat.ids() == {"2023-01/t3_s2"} and chat.holds(made) == []
        assert not any(
            "wilhelmina" in path.read_text().lower() or made in path.read_text()
            for path in (chat.store.root / "refs").rglob("*.json")
        )
        shutil.rmtree(chat.store.root)
        shutil.copytree(chat.path / "kept", chat.store.root)
    monkeypatch.delenv(KEY)
    code, _, err = command(capfd, monkeypatch, chat, "forget", "--author", "Wilhelmina")
    assert code == 1 and "Nothing was forgotten" in err and KEY in err


class Terminal(io.StringIO):
    """Somebody who types that at a terminal."""

    def isatty(self):
        return True


def command(capfd, monkeypatch, mill, *arguments):
    monkeypatch.setattr(sys, "argv", ["textmill", *arguments])
    monkeypatch.setenv("TEXTMILL_STORE", str(mill.store.root))
    code = run_app(app)
    return code, *capfd.readouterr()


def test_the_command_shows_does_and_lists(mill, capfd, monkeypatch):
    before = listing(mill)
    code, out, _ = command(capfd, monkeypatch, mill, "forget", "--document", "001.txt", "--dry-run")
    assert code == 0 and "Would be forgotten" in out and "documents   2 to be removed" in out
    assert listing(mill) == before
    code, _, err = command(capfd, monkeypatch, mill, "forget", "--document", "0001.txt")
    assert code == 1 and "Did you mean 001.txt" in err
    code, _, err = command(capfd, monkeypatch, mill, "forget", "--source", "text")
    assert code == 1 and "there are: texts" in err
    assert command(capfd, monkeypatch, mill, "forget")[0] == 2
    assert command(capfd, monkeypatch, mill, "forget", "--author", "Speaker 1")[0] == 2
    assert listing(mill) == before
    named = ["forget", "--document", "001.txt", "--document", "900.jsonl#1"]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", Terminal("n\n"))
        code, out, err = command(capfd, patch, mill, *named)
        assert code == 1 and "Forget it?" in out + err and "nothing was forgotten" in err and listing(mill) == before
        patch.setattr(sys, "stdin", Terminal(""))  # nobody would answer
        code, out, _ = command(capfd, patch, mill, *named, "--yes")
    assert code == 0 and "raw         2 slots written anew" in out and "model       1 tainted" in out
    assert "lose the bytes of 1 of them, beside others: 900.jsonl" in out and "--drop-items" in out
    assert "raw         1 items lost the bytes of forgotten documents" in out
    code, out, _ = command(capfd, monkeypatch, mill, "ls", "--tainted", "model")
    assert code == 0 and len(out.splitlines()) == 1 and "were forgotten" in out
    assert command(capfd, monkeypatch, mill, "verify")[0] == 0


def test_nobody_cleans_up_while_it_forgets(mill, monkeypatch):
    with collection(mill.store), pytest.raises(TextmillError, match="is cleaning up in"):
        mill.forget("001.txt")
    tried = []

    def rewrite(*arguments):
        with pytest.raises(TextmillError, match="is cleaning up in"), collection(mill.store):
            pass
        tried.append(True)
        return made(*arguments)

    made = purging._rewrite
    monkeypatch.setattr(purging, "_rewrite", rewrite)
    mill.forget("001.txt")
    assert tried
