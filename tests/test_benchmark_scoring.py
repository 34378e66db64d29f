"""Items in a tokenizer's ids, scored by a process of the gpt floor: fetched, encoded, scored and found again."""

import json
from hashlib import sha256

import numpy as np
import pytest
import torch

from data.benchmarks.config import BenchmarkItemsConfig
from data.benchmarks.items import Item, Items
from data.errors import TextmillError
from data.facts import Facts
from data.manifest import differences
from data.overlap.config import DecontaminationConfig
from data.tokenizers.load import load_tokenizer
from flows.glance import settings_of
from flows.recipe import Recipe, RecipeError, with_overrides
from gpt.weights import save_model
from tasks.benchmarks import encode_items, read_all, read_answers, read_results, score_benchmarks
from tasks.evaluation_config import EvaluationRecipe
from tasks.registry import identity
from tasks.run import Run
from tasks.run_card import _benchmarks
from tasks.runtime import Runtime, open_store
from tests.gpt_toys import random_model, tiny_model
from tests.stand_in_web import Page, stand_in_web
from tests.tokenizer_examples import small_bpe, small_characters

ITEMS = [
    {"ctx": "The cat sees", "endings": ["a house.", "the dog and runs away", "naïve"], "label": "2"},
    {"ctx": "A class is", "endings": ["defined by", ", so to say, an object"], "label": 0},
]
FILE = "".join(json.dumps(item) + "\n" for item in ITEMS).encode()


@pytest.mark.parametrize("make", [small_bpe, small_characters])
def test_context_and_endings_are_encoded_apart_with_a_space_between(tmp_path, make):
    folder = make(tmp_path / "tokenizer")
    tokenizer = load_tokenizer(folder)
    items = Items("toy", (Item("The class", ("is", "a naïve one"), 1), Item("", ("x", "y", "z"), 0)), ())
    arrays = {name: np.load(path) for name, path in encode_items(items, folder, tmp_path / "arrays").items()}
    parts = [arrays["tokens"][begin:end] for begin, end in zip(arrays["parts"], arrays["parts"][1:], strict=False)]
    assert [tokenizer.decode(part) for part in parts] == [
        "<|endoftext|>The class", " is", " a naïve one", "<|endoftext|>", " x", " y", " z"]  # fmt: skip
    assert arrays["items"].tolist() == [[2, 1], [3, 0]]
    assert arrays["sizes"].tolist() == [2, 12, 1, 1, 1], "UTF-8 bytes, without the space"


@pytest.fixture
def toy(tmp_path):
    """A run, a model of random weights and its tokenizer."""
    run = Run("toy", Runtime(store=str(tmp_path / "store"), device="cpu"))
    store = open_store(str(tmp_path / "store"))

    def tokenizer_into(build):
        small_bpe(build.out)
        return Facts()

    tokenizer = store.build(identity("tokenizer", {}, {}), "toy", tokenizer_into)
    shape = {"vocab_size": load_tokenizer(store.path(tokenizer)).vocab_size, "context": 32}

    def publish(**config):
        model = random_model(tiny_model(**shape, **config))

        def make(build):
            save_model(build.out, model.config, model.state_dict())
            return Facts()

        return model, store.build(identity("model", {"model": config}, {}), "toy", make, inputs=[tokenizer])

    return run, publish, tokenizer


@pytest.mark.usefixtures("flow_server")
def test_items_from_an_address_are_fetched_and_scored_once(toy, tmp_path):
    run, publish, tokenizer = toy
    model, ref = publish()
    config = {"url": "", "sha256": sha256(FILE).hexdigest()}
    with stand_in_web() as server:
        server.pages["/items.jsonl"] = Page(FILE)
        config["url"] = server.url + "/items.jsonl"
        benchmarks = {"quiz": BenchmarkItemsConfig.model_validate(config)}
        scored = score_benchmarks(run, ref, tokenizer, read_all(run, benchmarks), "toy")
        wrong = BenchmarkItemsConfig.model_validate(config | {"sha256": "0" * 64})
        with pytest.raises(TextmillError, match=r"items.jsonl.*0000"):
            read_all(run, {"quiz": wrong})
    loaded = load_tokenizer(run.store.path(tokenizer))
    right, plainly = [], []
    for item in ITEMS:  # one ending after the other, by a whole softmax
        context, sums = [loaded.eot_id, *loaded.encode_ordinary(item["ctx"])], []
        for ending in item["endings"]:
            ids = context + loaded.encode_ordinary(" " + ending)
            assert len(ids) <= 33, "what is longer than the context is tested beside gpt.choices"
            with torch.no_grad():
                logits = model(torch.tensor([ids[:-1]]))[0, :, : loaded.vocab_size]
            likelihoods = logits.double().softmax(-1).log()
            sums.append(sum(float(likelihoods[at - 1, ids[at]]) for at in range(len(context), len(ids))))
        means = [one / len(ending.encode()) for one, ending in zip(sums, item["endings"], strict=True)]
        plainly.append(sums.index(max(sums)) == int(item["label"]))
        right.append(means.index(max(means)) == int(item["label"]))
    answers = read_answers(run.store, scored)["quiz"]
    assert answers.tolist() == [list(one) for one in zip(plainly, right, strict=True)]
    result = read_results(run.store, scored)["quiz"]
    assert (result["items"], result["chance"]) == (2, pytest.approx((1 / 3 + 1 / 2) / 2))

    again = Run("toy", run.runtime.model_copy(update={"offline": True}))
    path = tmp_path / "elsewhere.jsonl"
    path.write_bytes(FILE)
    for place in (config, {"path": str(path)}):  # the server is gone; where the items lie is no part of them
        asked = read_all(again, {"renamed": BenchmarkItemsConfig.model_validate(place)})
        assert score_benchmarks(again, ref, tokenizer, asked, "toy") == {"renamed": scored["quiz"]}
    never = BenchmarkItemsConfig.model_validate(config | {"sha256": "1" * 64})
    with pytest.raises(TextmillError, match=r"never fetched into this store, and runtime\.offline is true"):
        read_all(again, {"quiz": never})

    _, masked = publish(objective="masked")
    assert score_benchmarks(again, masked, tokenizer, asked, "toy") == {}
    assert sum("fills gaps" in note for note in again.notes) == 1


def test_a_benchmark_is_named_once_with_those_kept_out_of_documents():
    kept_out = {"decontamination": {"benchmarks": {"quiz": {"path": "quiz.jsonl", "fields": ["ctx", "endings"]}}}}
    recipe = with_overrides(Recipe(), kept_out | {"evaluation.benchmarks": {"quiz": {"max_items": 5}}})
    placed = recipe.evaluation.placed(recipe.decontamination)
    assert (placed["quiz"].path, placed["quiz"].max_items) == ("quiz.jsonl", 5)
    own = EvaluationRecipe.model_validate({"benchmarks": {"quiz": {"path": "other.jsonl"}}})
    kept = DecontaminationConfig.model_validate(kept_out["decontamination"])
    assert own.placed(kept)["quiz"].path == "other.jsonl"
    with pytest.raises(RecipeError, match=r"evaluation\.benchmarks\.quiz has neither path nor url"):
        with_overrides(Recipe(), {"evaluation.benchmarks": {"quiz": {}}})


def test_a_run_card_has_a_table_of_them():
    assert _benchmarks({}) == ""
    result = {"items": 600, "chance": 0.25, "accuracy": 0.26, "accuracy_norm": 0.2733}
    result |= {"accuracy_interval": [0.2, 0.3], "accuracy_norm_interval": [0.2391, 0.3104]}
    card = _benchmarks({"hella_swag": result})
    assert card.splitlines()[-1] == "| hella\\_swag | 600 | 26.0% | 27.3% | 23.9% to 31.0% | 25.0% |"


def test_settings_that_came_later_are_no_news_to_older_registries():
    before = settings_of(Recipe())
    assert not {"benchmark_margin", "min_items"} & before["retrain"].keys() and "margin" in before["retrain"]
    assert not {"names", "name_labels", "names_in"} & before["cleaning"].keys() and "profile" in before["cleaning"]
    chats = with_overrides(Recipe(), {"cleaning.names_in": "chats"})
    assert differences(before, settings_of(chats)) == [("cleaning.names_in", None, "chats")]
    named = with_overrides(Recipe(), {"evaluation.benchmarks": {"quiz": {"path": "quiz.jsonl"}}})
    assert settings_of(named) == before, "what is scored is no reason to train"
    changed = with_overrides(Recipe(), {"retrain.benchmark_margin": 0.05})
    assert differences(before, settings_of(changed)) == [("retrain.benchmark_margin", None, 0.05)]
