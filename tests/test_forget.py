"""Forgetting: what is named goes from every file of a store, with its copies, and does not come back."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from data.facts import Facts
from data.forgetting import Wanted, plan
from data.holdings import Holdings
from data.manifest import Identity
from data.purging import carry_out
from data.taint import tainted
from data.tombstones import author_hash
from flows.corpus import corpus
from flows.recipe import Recipe
from tasks.runtime import Runtime, open_store
from tests.prefect_servers import send_what_waits

SETTINGS = {
    "split": {"min_passages": 6, "passage_bytes": 300, "max_whole_bytes": 500},
    "tokenizer": {"kind": "bpe", "vocab_size": 300},
}
STAGES = ("raw", "documents", "duplicates", "corpus", "tokens")


@pytest.fixture(scope="module", autouse=True)
def prefect_server(starting_server):
    starting_server.wait()
    with temporary_settings({PREFECT_API_URL: starting_server.api, PREFECT_HOME: starting_server.home}):
        yield
        send_what_waits()


def text(number):
    """Some 1,300 bytes that share no line with another text."""
    return "\n\n".join(f"Paragraph {n} of text {number} says {number * 1000 + n} in words." * 2 for n in range(12))


SECRET = "Marvellous Zyx"  # stands in the text that is to be forgotten, on every line


class Mill:
    """A folder of texts and the store that is filled from it."""

    def __init__(self, path):
        self.path, self.texts = path, path / "texts"
        self.store = open_store(str(path / "store"))

    def run(self, **changes):
        source = {"kind": "folder", "path": str(self.texts), "slot_bytes": 6_000}
        values = {"name": "mill", "sources": {"texts": source}} | SETTINGS | changes
        summary = corpus(recipe=Recipe.model_validate(values), runtime=Runtime(store=str(self.store.root)))
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
        return "\n".join(str(row) for row in pq.read_table(path).to_pylist()).encode()
    return path.read_bytes()


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


def test_probe(mill):
    for held in Holdings(mill.store).documents:
        print(held.manifest.ref, list(held.rows("native_id", "authors", "url")))
    print(mill.holds(SECRET))
    planned, done = mill.forget("001.txt")
    print(planned.by_source, done)
    print(mill.holds(SECRET), list(tainted(mill.store)))
    after = mill.run()
    print(mill.summary["cached"], mill.summary["notes"])
    for stage in STAGES:
        print(stage, [n for n in slots(mill.refs, stage) if slots(mill.refs, stage)[n] != slots(after, stage).get(n)])
    print(mill.holds(SECRET), list(tainted(mill.store)))
    assert 0
