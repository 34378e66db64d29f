"""Benchmarks and overlap in the stages: what a recipe's settings do to keys, drops and a growing corpus."""

import json
import random

import pytest

from flows.corpus import corpus
from flows.recipe import Recipe
from tasks.runtime import Runtime, open_store
from tests.near_toys import words

pytestmark = pytest.mark.usefixtures("flow_server")


class Toy:
    """A folder of texts in several slots, and a benchmark of which texts 3 and 7 hold an item."""

    def __init__(self, path):
        self.path, self.rng = path, random.Random(5)
        self.items = [" ".join(words(20, self.rng)) for _ in range(4)]
        self.store = open_store(str(path / "store"))
        (path / "texts").mkdir()
        self.add(range(10))
        self.write_items(path / "quiz.jsonl")

    def add(self, numbers):
        for number in numbers:
            text = [*words(300, self.rng), *({3: self.items[0], 7: self.items[2]}.get(number, "").split())]
            (self.path / "texts" / f"{number:03d}.txt").write_text(" ".join(text))

    def write_items(self, path):
        path.write_text("".join(json.dumps({"ctx": item}) + "\n" for item in self.items))

    def run(self, until, benchmark=None, **settings):
        """{stage: manifests} of a run."""
        recipe = {
            "sources": {"texts": {"kind": "folder", "path": str(self.path / "texts"), "slot_bytes": 5_000}},
            "split": {"min_passages": 2},
        }
        if benchmark:
            benchmarks = {"quiz": {"path": str(self.path / benchmark), "fields": ["ctx"]}}
            recipe["decontamination"] = {"benchmarks": benchmarks, **settings}
        made = corpus(recipe=Recipe.model_validate(recipe), until=until, runtime=Runtime(store=str(self.store.root)))
        return {
            stage: [self.store.manifest(self.store.resolve(ref)) for ref in refs]
            for stage, refs in made["artifacts"].items()
        }


def test_benchmarks_are_kept_out_and_enter_keys_by_what_they_say(tmp_path):
    toy = Toy(tmp_path)
    plain = toy.run("documents")["documents"]
    compared = toy.run("documents", "quiz.jsonl")["documents"]
    assert len(plain) >= 3 and not {one.key for one in plain} & {one.key for one in compared}
    assert all("decontamination" not in one.recipe.config for one in plain)
    assert sum(one.counts.get("dropped_contaminated_quiz", 0) for one in compared) == 2
    assert sum(one.counts["documents_out"] for one in compared) == 8
    found = [json.loads((toy.store.path(one.ref) / "contamination.json").read_text()) for one in compared]
    assert sorted(line for one in found for line in one["quiz"]["found"]) == [1, 3]
    toy.write_items(tmp_path / "moved.jsonl")
    assert [one.key for one in toy.run("documents", "moved.jsonl")["documents"]] == [one.key for one in compared]
    toy.items.append(" ".join(words(20, toy.rng)))
    toy.write_items(tmp_path / "moved.jsonl")
    assert not {one.key for one in toy.run("documents", "moved.jsonl")["documents"]} & {one.key for one in compared}
    assert not {one.key for one in toy.run("documents", "quiz.jsonl", ngram=12)["documents"]} & {
        one.key for one in compared
    }


def test_a_growing_corpus_samples_what_is_new_and_compares_everything(tmp_path):
    toy = Toy(tmp_path)
    *first, whole = toy.run("overlap")["overlap"]
    validation = sum(one.counts["validation_passages"] for one in toy.run("corpus")["corpus"][:-1])
    assert len(first) >= 3 and whole.counts["validation_passages"] == validation > 0
    assert whole.counts["validation_runs_shared"] == 0
    kept = next((tmp_path / "texts").glob("*.txt")).read_text()
    toy.add(range(20, 26))
    (tmp_path / "texts" / "030.txt").write_text(f"All of it once more, and then something else: {kept}")
    *grown, whole = toy.run("overlap")["overlap"]
    assert len({one.key for one in grown} & {one.key for one in first}) >= len(first) - 1
    assert len(grown) > len(first) and whole.counts["validation_passages"] >= validation
