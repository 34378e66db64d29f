"""Growth of sources that are fetched from elsewhere: what is there is not asked for again, what failed comes later."""

import json
import shutil

import pytest

from data.errors import TextmillError
from data.sources.wiki import mediawiki
from data.sources.wikipedia import WikipediaConfig
from flows.corpus import corpus
from flows.recipe import Recipe
from tasks.run import Run
from tasks.runtime import Runtime, open_store
from tasks.sources import fetch, look
from tests.stand_in_mediawiki import Article, Wiki
from tests.stand_in_web import Page, stand_in_web

SETTINGS = {
    "split": {"min_passages": 6, "passage_bytes": 300, "max_whole_bytes": 500},
    "tokenizer": {"kind": "characters"},
}
WORDS = "\n\n".join(f"Paragraph {n} says {n * 1000} in {n % 7} words." * 2 for n in range(36))

pytestmark = pytest.mark.usefixtures("flow_server")


def test_offline_uses_what_was_fetched_and_names_what_was_not(tmp_path):
    with stand_in_web() as mirror:
        for number in (5, 84):
            mirror.pages[f"/cache/epub/{number}/pg{number}.txt"] = Page(f"{WORDS}\n\nBook {number}.".encode())
        book = {"kind": "gutenberg", "mirror_url": mirror.url, "requests_per_second": 20, "slot_bytes": 1}
        values = {"name": "books", "sources": {"books": book | {"ids": [5, 84]}}} | SETTINGS
        recipe = Recipe.model_validate(values)
        store = str(tmp_path / "store")
        with pytest.raises(TextmillError, match=r"'books' .* never looked at .* runtime.offline is true"):
            corpus(recipe=recipe, runtime=Runtime(store=store, offline=True))
        assert mirror.asked == []
        online = corpus(recipe=recipe, runtime=Runtime(store=store))
        asked = len(mirror.asked)
        offline = corpus(recipe=recipe, runtime=Runtime(store=store, offline=True))
        assert all(offline["cached"].values()) and offline["artifacts"] == online["artifacts"]
        assert any("offline" in note for note in offline["notes"])
        gone = open_store(store).resolve(online["artifacts"]["raw"][1])
        shutil.rmtree(open_store(store).path(gone))
        with pytest.raises(TextmillError, match=r"offline is true, but 1 of 2 slots .* never fetched .*books 2/2"):
            corpus(recipe=recipe, runtime=Runtime(store=store, offline=True))
        assert len(mirror.asked) == asked


def test_a_lost_ledger_fetches_nothing_that_is_there(tmp_path):
    with stand_in_web() as mirror:
        for number in (5, 84):
            mirror.pages[f"/cache/epub/{number}/pg{number}.txt"] = Page(f"{WORDS}\n\nBook {number}.".encode())
        book = {"kind": "gutenberg", "mirror_url": mirror.url, "requests_per_second": 20, "slot_bytes": 1}
        store = open_store(str(tmp_path / "store"))

        def recipe(ids):
            sources = {"books": book | {"ids": ids}}
            values = {"name": "books", "sources": sources} | SETTINGS
            return Recipe.model_validate(values)

        def build(ids):
            return corpus(recipe=recipe(ids), until="raw", runtime=Runtime(store=str(store.root)))

        build([84])
        build([5, 84])  # 5 comes second, and would be first
        for path in (store.root / "refs" / "ledgers").rglob("*"):
            if path.is_file():
                path.unlink()
        asked = len(mirror.asked)
        look.fn("books", recipe([5, 84]).sources["books"], store, "2026-01-01")  # as far as a run came that was killed
        after = build([5, 84])
        first = [
            json.loads(line)
            for line in (store.path(store.resolve(after["artifacts"]["raw"][0])) / "items.jsonl").open()
        ]
        assert [line["native_id"] for line in first] == ["5"]
        assert "GET" not in [request.method for request in mirror.asked[asked:]]


@pytest.mark.filterwarnings("ignore:Logger 'prefect.task_runs'")
def test_a_page_that_a_wiki_failed_to_give_comes_with_a_later_run(tmp_path, monkeypatch):
    monkeypatch.setattr(mediawiki, "TRIES", 1)
    with Wiki(Article(1, "Ink"), Article(2, "Paper")) as wiki:
        agent = "Tests/1.0 (tests@textmill.invalid)"
        source = WikipediaConfig(endpoint=wiki.api, user_agent=agent, titles=("Ink", "Paper"), requests_per_second=50)

        def build(offline=False):
            with Run("wiki", Runtime(store=str(tmp_path), offline=offline)) as run:
                return [slot.ref for slot in fetch(run, {"wiki": source})]

        def fail():
            if wiki.fetched()[-1] == "1":
                raise ConnectionError

        wiki.before_fetch = fail
        without = build()
        assert wiki.fetched() == ["1", "2"]
        assert (build(offline=True), len(wiki.fetched())) == (without, 2)
        wiki.before_fetch = lambda: None
        whole = build()
        assert wiki.fetched() == ["1", "2", "1"], "the other page is there"
        assert (build(), len(wiki.fetched())) == (whole, 3)
        assert whole[0].key == without[0].key and whole[0].digest != without[0].digest
        lines = (open_store(str(tmp_path)).path(whole[0]) / "items.jsonl").open()
        assert [json.loads(line)["fingerprint"] for line in lines] == ["1001", "2001"]
