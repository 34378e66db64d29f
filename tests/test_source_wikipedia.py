"""The wikipedia source over real HTTP: which pages a look finds, what a second run fetches, what is read of them."""

import json
import threading
from pathlib import Path

import pytest
import wikipediaapi
from pydantic import ValidationError

from data.facts import TO_ASK_AGAIN
from data.ledger import assign
from data.sources.base import SourceError
from data.sources.pack import ChangedSinceLookError
from data.sources.wiki import mediawiki
from data.sources.wikipedia import WikipediaConfig
from data.web.pacing import Pacer
from tests.remote_runs import FastClock, Runs
from tests.source_runs import problems, texts
from tests.stand_in_mediawiki import Article, Wiki

AGENT = "TextmillTests/1.0 (tests@textmill.invalid)"


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = FastClock()
    monkeypatch.setattr(mediawiki, "PACER", Pacer(clock.clock))
    return clock


@pytest.fixture
def wiki():
    with Wiki(
        Article(1, "Paper", ["Paper is thin."], categories=("Category:Materials",)),
        Article(2, "Ink", ["Ink is wet."], categories=("Category:Materials",)),
        Article(3, "Printing press", ["It prints."]),
        Article(4, "Press", redirect="Printing press"),
    ) as wiki:
        yield wiki


def config(wiki, **settings):
    return WikipediaConfig(**{"endpoint": wiki.api, "user_agent": AGENT, **settings})


def test_titles_become_articles_once_each(wiki, tmp_path):
    (tmp_path / "titles.txt").write_text("\ufeff# a comment\n\npress\nInk#History\n", encoding="utf-8")
    source = config(wiki, titles=("paper", "Printing_press", "Ink"), titles_file="titles.txt")
    runs = Runs(tmp_path)
    look, changes = runs.run(source)
    assert [item.native_id for item in look.items] == ["1", "2", "3"]
    assert (look.complete, look.problems, changes.new) == (True, (), ("1", "2", "3"))
    found = runs.read(source)
    assert texts(found) == {"1": "Paper is thin.", "2": "Ink is wet.", "3": "It prints."}
    press = found[2]
    assert (press.url, press.created) == ("https://wiki.test/wiki/Printing_press", "2026-01-01T00:00:00Z")
    assert press.meta == {"look": 1, "title": "Printing press", "page_id": 3, "language": "en", "revision": 3001}
    [facts] = runs.facts
    assert (facts.counts["items"], facts.counts["fetched"], facts.licences) == (3, 3, ["CC-BY-SA-4.0"])
    assert len(wiki.requests) == 1 + 3
    assert all(agent.startswith(AGENT) for agent in wiki.agents)
    assert all(params["maxlag"] == "5" for params in wiki.requests)


def test_answers_lie_in_the_slot_as_they_came(wiki, tmp_path):
    wiki.put(Article(5, "Müller", ["Größe – 紙"]))
    runs = Runs(tmp_path)
    runs.run(config(wiki, titles=("Müller",)))
    [(_, slot)] = runs.slots.values()
    body = (slot / "content.bin").read_bytes()
    assert "Größe – 紙".encode() in body
    assert json.loads(body)["query"]["pages"]["5"]["lastrevid"] == 5001


def test_a_second_run_fetches_what_is_new_and_nothing_else(wiki, tmp_path):
    source = config(wiki, titles=("Paper", "Ink"), categories=("Materials",))
    runs = Runs(tmp_path)
    runs.run(source)
    asked = len(wiki.requests)

    _, changes = runs.run(source)  # nothing new
    assert str(changes) == "nothing new, 2 unchanged"
    assert (len(wiki.requests) - asked, wiki.fetched()) == (2, ["1", "2"])

    wiki.articles[2].edits.append("Ink is black.")  # one change
    _, changes = runs.run(source)
    assert (changes.changed, wiki.fetched()[2:]) == (("2",), ["2"])
    assert texts(runs.read(source)) == {"1": "Paper is thin.", "2": "Ink is black."}

    wiki.put(Article(9, "Glue", ["Glue sticks."], categories=("Category:Materials",)))  # one addition
    _, changes = runs.run(source)
    assert (changes.new, wiki.fetched()[3:]) == (("9",), ["9"])
    assert [one.meta["look"] for one in runs.read(source)] == [1, 1, 2]

    del wiki.articles[1]  # one deletion
    look, changes = runs.run(source)
    assert (changes.deleted, wiki.fetched()[4:]) == (("1",), [])
    assert problems(look.problems) == {("missing", "Paper")}
    assert texts(runs.read(source)) == {"2": "Ink is black.", "9": "Glue sticks."}

    wiki.articles = dict(reversed(wiki.articles.items()))  # another order of listing
    _, changes = runs.run(source)
    assert str(changes) == "nothing new, 2 unchanged"


def test_a_lost_ledger_gives_the_same_items(wiki, tmp_path):
    source = config(wiki, titles=("Paper", "Ink"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, second = Runs(tmp_path / "one"), Runs(tmp_path / "two")
    first.run(source)
    second.run(source)
    assert first.slots[0][0] == second.slots[0][0]
    assert first.ledger == second.ledger


def test_a_title_taken_out_is_gone_and_a_title_added_keeps_the_ledger(wiki, tmp_path):
    runs = Runs(tmp_path)
    before = config(wiki, titles=("Paper", "Ink"), name="craft")
    after = config(wiki, titles=("Ink", "Printing press"), name="craft")
    runs.run(before)
    _, changes = runs.run(after)
    assert (changes.new, changes.deleted, changes.unchanged) == (("3",), ("1",), 1)
    assert before.location() == after.location()
    assert wiki.fetched() == ["1", "2", "3"]


def test_what_is_no_page_is_named(wiki, tmp_path):
    titles = ("Ink", "No such page", "A|B", "<b>", "Special:Random", "De:Berlin", "Ink\x07")
    look = config(wiki, titles=titles).look(tmp_path)
    assert problems(look.problems) == {
        ("missing", "No such page"),
        ("invalid_title", "A|B"),
        ("invalid_title", "Ink\x07"),
        ("invalid_title", "<b>"),
        ("special", "Special:Random"),
        ("other_wiki", "De:Berlin"),
    }
    assert look.complete
    with pytest.raises(SourceError, match=r"none of the pages asked for \(No such page: missing"):
        config(wiki, titles=("No such page",)).look(tmp_path)
    with pytest.raises(SourceError, match="needs `titles`"):
        config(wiki).look(tmp_path)
    for lost in ("nowhere.txt", "~nobody-at-all/titles.txt"):
        with pytest.raises(SourceError, match=rf"{lost} \(titles_file\) cannot be read"):
            config(wiki, titles_file=lost).look(tmp_path)


def test_titles_are_asked_for_in_batches_that_servers_take(wiki, tmp_path):
    wiki.put(*(Article(100 + number, f"Ж{'ш' * 100} {number}") for number in range(120)))
    wiki.put(*(Article(300 + number, f"T{number}") for number in range(120)))
    long = [one.title for one in wiki.articles.values() if one.title.startswith("Ж")]
    short = [one.title for one in wiki.articles.values() if one.title.startswith("T")]
    assert len(config(wiki, titles=tuple(short)).look(tmp_path).items) == 120
    assert [len(params["titles"].split("|")) for params in wiki.requests] == [50, 50, 20]
    assert len(config(wiki, titles=tuple(long)).look(tmp_path).items) == 120, "no address was too long for the server"


@pytest.fixture
def tree():
    """Category:A (articles 10, 11, a redirect to 12, a portal) > Category:B (article 13) > Category:A and C (14)."""
    with Wiki(
        Article(10, "Ten", categories=("Category:A",)),
        Article(11, "Eleven", categories=("Category:A",)),
        Article(12, "Twelve"),
        Article(20, "Dozen", categories=("Category:A",), redirect="Twelve"),
        Article(21, "Portal:A", ns=100, categories=("Category:A",)),
        Article(30, "Category:A", ns=14, categories=("Category:B",)),
        Article(31, "Category:B", ns=14, categories=("Category:A",)),
        Article(32, "Category:C", ns=14, categories=("Category:B",)),
        Article(13, "Thirteen", categories=("Category:B", "Category:A")),
        Article(14, "Fourteen", categories=("Category:C",)),
        members_at_once=2,
    ) as wiki:
        yield wiki


@pytest.mark.parametrize(
    ("depth", "ids"),
    [(0, ["10", "11", "12", "13"]), (1, ["10", "11", "12", "13"]), (2, ["10", "11", "12", "13", "14"])],
)
def test_categories_are_crawled_to_a_depth(tree, tmp_path, depth, ids):
    look = config(tree, categories=("A",), depth=depth).look(tmp_path)
    assert [item.native_id for item in look.items] == ids
    assert look.complete
    assert problems(look.problems) == {("ignored", "categories")}
    asked = [params["gcmtitle"] for params in tree.requests if "gcmcontinue" not in params]
    assert asked == ["Category:A", "Category:B", "Category:C"][: depth + 1], (
        "each category once, in spite of the circle"
    )


def test_a_continuation_that_names_pages_again_loses_nothing(tree, tmp_path):
    told = {"pageid": 10, "ns": 0, "title": "Ten", "lastrevid": 10001, "length": 30}
    bare = {"pageid": 10, "ns": 0, "title": "Ten"}
    other = {"pageid": 11, "ns": 0, "title": "Eleven"}
    more = {"incontinue": "11", "continue": "||"}
    tree.fail(body={"continue": more, "query": {"pages": {"10": told, "11": other}}})
    tree.fail(body={"query": {"pages": {"10": bare, "11": {**other, "lastrevid": 11001}}}})
    look = config(tree, categories=("A",)).look(tmp_path)
    assert [(item.native_id, item.fingerprint) for item in look.items] == [("10", "10001"), ("11", "11001")]


def test_a_category_has_the_members_that_the_library_itself_finds(tree, tmp_path):
    library = wikipediaapi.Wikipedia(AGENT, "en", transport=mediawiki._Transport(tree.api))
    members = library.page("Category:A").categorymembers.values()
    articles = {str(one.pageid) for one in members if one.ns == 0}
    assert articles == {"10", "11", "20", "13"}
    found = {item.native_id for item in config(tree, categories=("Category:A",)).look(tmp_path).items}
    assert found == articles - {"20"} | {"12"}, "a redirect stands for its target"


def test_a_category_that_cannot_be_listed_leaves_the_listing_incomplete(tree, tmp_path):
    runs = Runs(tmp_path)
    runs.run(config(tree, categories=("A", "C")))
    look, changes = runs.run(config(tree, categories=("A", "Typo")))
    assert (look.complete, changes.deleted, changes.absent) == (False, (), ("14",))
    assert ("empty_category", "Category:Typo") in problems(look.problems)
    tree.fail(body={"error": {"code": "invalidcategory", "info": "The category name you entered is not valid."}})
    look = config(tree, categories=("<A>", "C")).look(tmp_path)
    assert not look.complete
    assert ("category_refused", "Category:<A>") in problems(look.problems)
    assert [item.native_id for item in look.items] == ["14"]


def test_a_category_that_lost_most_of_its_members_is_doubted_once(tree, tmp_path):
    source = config(tree, categories=("A",), depth=2)
    runs = Runs(tmp_path)
    runs.run(source)
    members = {page: tree.articles[page] for page in (13, 30, 32)}  # of category B; 13 is in A, too
    before = {page: one.categories for page, one in members.items()}

    def empty():
        for page, one in members.items():
            one.categories = tuple(name for name in before[page] if name != "Category:B")

    empty()
    look, changes = runs.run(source)
    assert (look.complete, changes.deleted, changes.absent) == (False, (), ("14",))
    [doubt] = [one for one in look.problems if one.what == "shrunk_category"]
    said = "3 members at the look before, 0 now: nothing goes for that until a look finds the same"
    assert (doubt.where, doubt.why) == ("Category:B", said)
    for page, one in members.items():
        one.categories = before[page]
    look, changes = runs.run(source)
    assert (look.complete, str(changes)) == (True, "nothing new, 5 unchanged"), "it was a faulty answer"

    empty()
    assert runs.run(source)[1].absent == ("14",)
    look, changes = runs.run(source)
    assert (look.complete, changes.deleted) == (True, ("14",)), "it is so"
    assert source.look(tmp_path, {"members": {"Category:A": [9, "x"], "Category:B": 1}}).complete, "a foreign memo"


def test_categories_are_understood_with_and_without_prefix(tree, tmp_path):
    for name in ("A", "Category:A", "category: A", "Kategorie:A", "Catégorie : A", "Категория:A"):
        assert len(config(tree, categories=(name,)).look(tmp_path).items) == 4


def test_an_edit_between_look_and_fetch_is_taken_and_not_fetched_again(wiki, tmp_path):
    source = config(wiki, titles=("Paper", "Ink"))
    runs = Runs(tmp_path)
    wiki.before_fetch = lambda: (
        wiki.articles[2].edits.append("Ink is blue."),
        setattr(wiki, "before_fetch", lambda: None),
    )
    runs.run(source)
    assert texts(runs.read(source))["2"] == "Ink is blue."
    assert runs.facts[0].notes == ["edited since the look, and taken as they are now: 1: Ink"]
    _, changes = runs.run(source)
    assert (changes.changed, wiki.fetched()) == (("2",), ["1", "2"]), "the revision that came is known already"
    assert texts(runs.read(source))["2"] == "Ink is blue."
    assert [one.meta["revision"] for one in runs.read(source)] == [1001, 2002]


def test_a_deletion_between_look_and_fetch_costs_only_that_page(wiki, tmp_path, clock):
    source = config(wiki, titles=("Paper", "Ink"))
    runs = Runs(tmp_path)
    wiki.before_fetch = lambda: wiki.articles.pop(2, None)
    runs.run(source)
    found = runs.read(source)
    assert (texts(found), problems(found)) == ({"1": "Paper is thin."}, {("missing", "2")})
    assert runs.facts[0].notes == ["deleted since the look, or refused, by page id: 1: 2"]
    assert wiki.fetched() == ["1", "2", "2", "2"], "a copy that lags gets time to catch up"
    assert sum(clock.waits) > 2 * mediawiki.MAX_LAG
    _, changes = runs.run(source)
    assert changes.deleted == ("2",)


def test_a_copy_that_is_behind_is_waited_for_and_then_refused(wiki, tmp_path):
    source = config(wiki, titles=("Ink",))
    ink = wiki.articles[2]
    ink.edits.append("Ink is blue.")
    [item] = assign(None, source.look(tmp_path), 1, "1")[1][0].items
    newest = ink.edits.pop()
    with pytest.raises(ChangedSinceLookError, match="revision 2001 of page 2, but had 2002"):
        source.fetch([item], tmp_path, tmp_path, tmp_path)
    wiki.before_fetch = lambda: len(wiki.fetched()) > 4 and ink.edits == ["Ink is wet."] and ink.edits.append(newest)
    source.fetch([item], tmp_path, tmp_path, tmp_path)
    assert texts(source.read(tmp_path)) == {"2": "Ink is blue."}


def test_a_killed_fetch_goes_on(wiki, tmp_path):
    source = config(wiki, titles=("Paper", "Ink", "Printing press"))
    items = assign(None, source.look(tmp_path), 10**9, "1")[1][0].items

    def stop():
        if len(wiki.fetched()) == 3:
            raise KeyboardInterrupt

    def progress(done, total, unit):
        assert (total, unit) == (3, "pages")
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.fetch(items, tmp_path, tmp_path, tmp_path, progress)
    (tmp_path / "1-1001.json").write_bytes(b'{"query": {')  # as a power cut may leave it
    told = []
    source.fetch(items, tmp_path, tmp_path, tmp_path, lambda *what: told.append(what))
    assert wiki.fetched() == ["1", "2", "1", "3"]
    assert (told[0], told[-1]) == ((0, 3, "pages"), (3, 3, "pages"))
    assert len(texts(source.read(tmp_path))) == 3


def test_one_page_that_always_fails_does_not_stop_the_others(wiki, tmp_path, monkeypatch):
    monkeypatch.setattr(mediawiki, "TRIES", 2)
    source = config(wiki, titles=("Paper", "Ink"))
    items = assign(None, source.look(tmp_path), 10**9, "1")[1][0].items
    for _ in range(2):
        wiki.fail(504, b"<html>timeout</html>")
    facts = source.fetch(items, tmp_path, tmp_path, tmp_path)
    found = list(source.read(tmp_path))
    assert (texts(found), problems(found)) == ({"2": "Ink is wet."}, {("unanswered", "1")})
    assert facts.notes == ["not answered for, asked again by the next run, by page id: 1: 1"]
    assert facts.counts[TO_ASK_AGAIN] == 1

    later = tmp_path / "later"
    later.mkdir()
    facts = source.fetch(items, tmp_path, later, later, earlier=[tmp_path])
    assert wiki.fetched() == ["1", "1", "2", "1"], "the other page is taken from the earlier slot"
    assert texts(source.read(later)) == {"1": "Paper is thin.", "2": "Ink is wet."}
    assert facts.counts[TO_ASK_AGAIN] == 0

    for _ in range(4):
        wiki.fail(503)
    (tmp_path / "1-1001.json").unlink()
    with pytest.raises(SourceError, match="the server answers 503, 2 times in a row"):
        source.fetch(items, tmp_path, tmp_path, tmp_path)


def test_a_page_that_the_wiki_refuses_is_not_asked_for_again(wiki, tmp_path):
    source = config(wiki, titles=("Paper", "Ink"))
    items = assign(None, source.look(tmp_path), 10**9, "1")[1][0].items
    wiki.fail(body={"error": {"code": "permissiondenied", "info": "Not this one."}})
    facts = source.fetch(items, tmp_path, tmp_path, tmp_path)
    assert problems(source.read(tmp_path)) == {("refused", "1")}
    assert facts.counts[TO_ASK_AGAIN] == 0
    assert facts.notes == ["deleted since the look, or refused, by page id: 1: 1"]


def test_several_fetches_at_once_ask_one_after_the_other(wiki, tmp_path):
    wiki.put(*(Article(100 + number, f"T{number}") for number in range(40)))
    source = config(wiki, titles=tuple(f"T{number}" for number in range(40)), slot_bytes=5000)
    slots = assign(None, source.look(tmp_path), source.slot_bytes, "1")[1]
    assert len(slots) == 4
    folders = [tmp_path / str(slot.number) for slot in slots]
    for folder in folders:
        folder.mkdir()
    threads = [
        threading.Thread(target=source.fetch, args=(slot.items, folder, folder, folder))
        for slot, folder in zip(slots, folders, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wiki.most_at_once == 1
    assert sum(len(texts(source.read(folder))) for folder in folders) == 40


def test_the_rate_is_kept(wiki, tmp_path, clock):
    wiki.put(*(Article(100 + number, f"T{number}") for number in range(120)))
    config(wiki, titles=tuple(f"T{number}" for number in range(120)), requests_per_second=0.5).look(tmp_path)
    assert (len(wiki.requests), clock.time) == (3, 4.0), "three requests, two seconds between them"


def test_disambiguation_pages_and_pages_without_prose_are_named(wiki, tmp_path):
    wiki.put(
        Article(5, "Mercury", ["Mercury may be:"], is_disambiguation=True),
        Article(6, "Merkur", ["Merkur:"], categories=("Category:Begriffsklärung",)),
        Article(7, "Links", ["== See also ==\nInk\n== References =="]),
        Article(8, "Table", [""]),
    )
    source = config(wiki, titles=("Mercury", "Merkur", "Links", "Table", "Ink"), language="de")
    runs = Runs(tmp_path)
    runs.run(source)
    found = runs.read(source)
    assert problems(found) == {
        ("disambiguation", "5 Mercury"),
        ("disambiguation", "6 Merkur"),
        ("empty", "8 Table"),
    }
    assert texts(found)["7"] == "See also\nInk", "German titles are dropped from a German wiki"
    assert problems(runs.read(config(wiki, drop_sections=("See also", "References")))) >= {("empty", "7 Links")}
    assert texts(runs.read(config(wiki, drop_sections=())))["7"] == "See also\nInk"


def test_settings_are_refused_that_are_no_good():
    for agent in ("Bot/1.0", "Bot/1.0 (me)", "Bot/1.0 (me@example.org)", "Bot (http://example.com/)", "B (ä@b.de)"):
        with pytest.raises(ValidationError, match="user"):
            WikipediaConfig(user_agent=agent)
    for wrong in ({"language": "EN"}, {"language": "en.evil.org/"}, {"endpoint": "ftp://x"}, {"depth": -1}):
        with pytest.raises(ValidationError):
            WikipediaConfig(**wrong)
    with pytest.raises(SourceError, match="who asks and how to reach them"):
        WikipediaConfig(titles=("Ink",)).look(Path())


def test_only_what_changes_bytes_or_documents_is_in_the_keys():
    plain = WikipediaConfig()
    for same in (
        {"user_agent": AGENT}, {"titles": ("a",)}, {"depth": 2}, {"requests_per_second": 9.0}, {"slot_bytes": 5},
    ):  # fmt: skip
        other = WikipediaConfig(**same)
        assert (other.identity(), other.reading_identity()) == (plain.identity(), plain.reading_identity())
    assert WikipediaConfig(language="de").identity() != plain.identity()
    assert WikipediaConfig(drop_sections=("a",)).reading_identity() != plain.reading_identity()
    assert plain.reaches_network()
