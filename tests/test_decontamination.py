"""Text of benchmarks kept out of documents, against sets of tuples of words."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.cleaning import CleanConfig
from data.documents import clean_slot
from data.near import shingles
from data.overlap import runs
from data.overlap.benchmarks import UnusableBenchmarkError, read_benchmarks
from data.overlap.config import DecontaminationConfig
from data.overlap.decontaminating import Decontamination, Decontaminator
from data.overlap.runs import KnownHashes, runs_in, words_in
from data.sources.base import RawDocument

SHARED = Path(__file__).parents[2] / "shared" / "data"
HELLASWAG = SHARED / "hellaswag" / "hellaswag_val_sample.jsonl"
needs_items = pytest.mark.skipif(not HELLASWAG.is_file(), reason="the sample folder is not there")


def benchmark_file(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def given_benchmarks(folder, benchmarks, fields=("text",), **config):
    """A decontamination by benchmarks whose items are {name: [object or text]}."""
    configs = {}
    for name, items in benchmarks.items():
        items = [item if isinstance(item, dict) else {"text": item} for item in items]
        benchmark_file(folder / f"{name}.jsonl", items)
        configs[name] = {"path": f"{name}.jsonl", "fields": list(fields)}
    config = DecontaminationConfig.model_validate({"benchmarks": configs, **config})
    return Decontamination(config, read_benchmarks(config, folder))


def found(decontamination, texts):
    """{number of the text: benchmark} of those that are found."""
    judged = Decontaminator(decontamination).judge(texts)
    return {number: finding.benchmark for number, finding in judged.items()}


def obvious_runs(text, n):
    words = re.findall(r"[^\W_]+", text.lower())
    return {tuple(words[at : at + n]) for at in range(len(words) - n + 1)}


ITEM = "The quick brown fox jumps over the lazy dog and then it sleeps until noon."  # 15 words


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not(tmp_path):
    given_ = given_benchmarks(tmp_path, {"foxes": [ITEM]})
    words = ITEM.rstrip(".").split()
    texts = [
        f"Somebody wrote: {' '.join(words[:13])}!",
        f"Somebody wrote: {' '.join(words[:12])}!",
        f"{' '.join(words[2:15])}",
        " ".join([*words[:6], "big", *words[6:]]),
        "A QUICK look: the “quick” brown\nfox--jumps over (the) lazy dog, and then; it sleeps...",
        "",
    ]
    assert found(given_, texts) == {0: "foxes", 2: "foxes", 4: "foxes"}


def test_words_of_two_documents_make_no_run(tmp_path):
    words = ITEM.split()
    assert found(given_benchmarks(tmp_path, {"foxes": [ITEM]}), [" ".join(words[:8]), " ".join(words[8:])]) == {}


def test_a_short_item_is_found_as_a_whole_or_not_at_all(tmp_path):
    nine = "one two three four five six seven eight nine"
    given_ = given_benchmarks(tmp_path, {"numbers": [nine, "red green blue", ITEM]})
    assert given_.benchmarks.abouts[0].items == 3 and given_.benchmarks.abouts[0].comparable == 2
    texts = [f"zero {nine} ten", nine.removesuffix(" nine"), "red green blue", nine.removeprefix("one ")]
    assert found(given_, texts) == {0: "numbers"}
    with pytest.raises(UnusableBenchmarkError, match=r"'colours'.*no item with 8 words"):
        given_benchmarks(tmp_path, {"colours": ["red green blue"]})


def test_fields_are_joined_and_a_list_gives_each_of_its_members(tmp_path):
    item = {"question": {"stem": "a b c d e f"}, "choices": {"text": ["g h i j k l m", "n o p q r s t"]}, "hint": None}
    given_ = given_benchmarks(tmp_path, {"abc": [item]}, ["question.stem", "hint", "choices.text"])
    texts = ["a b c d e f g h i j k l m", "x a b c d e f n o p q r s t", "g h i j k l m n o p q r s t", "a b c d e f"]
    assert found(given_, texts) == dict.fromkeys([0, 1], "abc")


def test_what_is_commonplace_in_a_benchmark_is_not_looked_for(tmp_path):
    phrase = "choose the best of the answers below and say why you think so"  # 13 words
    items = [
        f"{phrase} number {number} " + " ".join(f"{word}{number}" for word in "abcdefghijklm") for number in range(11)
    ]
    text = f"Please {phrase}."
    assert found(given_benchmarks(tmp_path, {"quiz": items}), [text]) == {}
    given_ = given_benchmarks(tmp_path, {"quiz": items})
    assert (
        found(given_, [items[3]]) == {0: "quiz"} and given_.benchmarks.abouts[0].commonplace_runs == 2
    )  # one ends in "number"
    assert found(given_benchmarks(tmp_path, {"quiz": items[:10]}), [text]) == {0: "quiz"}
    assert found(given_benchmarks(tmp_path, {"quiz": items}, max_occurrences=None), [text]) == {0: "quiz"}


def test_one_passage_with_many_questions_is_not_commonplace(tmp_path):
    items = [{"passage": ITEM, "question": f"What does animal number {number} do?"} for number in range(30)]
    assert found(given_benchmarks(tmp_path, {"squad": items}, ["passage", "question"]), [ITEM]) == {0: "squad"}


WORDS = st.lists(st.sampled_from("abcd"), max_size=25).map(" ".join)


@settings(deadline=None, max_examples=150)
@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(WORDS, max_size=6), st.integers(2, 5), st.integers(2, 5))
@example(["a b c d"], ["a b c", "d", "b c d"], 3, 2)
def test_the_same_texts_are_found_as_with_sets_of_tuples(tmp_path_factory, items, texts, n, least):
    folder = tmp_path_factory.mktemp("benchmark")
    usable = [item for item in items if len(item.split()) >= min(n, least)]
    if not usable:
        with pytest.raises(UnusableBenchmarkError):
            given_benchmarks(folder, {"letters": items}, ngram=n, min_words=least)
        return
    given_ = given_benchmarks(folder, {"letters": items}, ngram=n, min_words=least, max_occurrences=None)
    hits = set()
    expected = {}
    for number, text in enumerate(texts):
        for line, item in enumerate(items, 1):
            size = min(n, len(item.split()))
            if (size == n or size >= least) and obvious_runs(item, size) & obvious_runs(text, size):
                expected[number] = "letters"
                hits.add(line)
    judge = Decontaminator(given_)
    assert {number: one.benchmark for number, one in judge.judge(texts).items()} == expected
    assert judge.report()["letters"] == {
        "items": len(items), "comparable": len(usable), "commonplace_runs": 0, "found": sorted(hits)
    }  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(WORDS, max_size=8), st.sets(st.integers(1, 6)), st.integers(1, 9))
def test_all_runs_of_all_sizes_come_however_they_are_grouped(texts, sizes, at_once):
    words = words_in(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_WORDS_AT_ONCE", at_once)
        groups = list(runs_in(words, sorted(sizes)))
    found = sorted((int(words.texts_of(at)), size, int(at)) for size, _, its in groups for at in its)
    expected, first = [], 0
    for number, text in enumerate(texts):
        count = len(text.split())
        expected += [(number, size, first + at) for size in sizes for at in range(count - size + 1)]
        first += count
    assert found == sorted(expected)
    flat = " ".join(texts).split()
    named = {}
    for size, hashes, its in groups:
        for hash_, at in zip(hashes.tolist(), its.tolist(), strict=True):
            assert named.setdefault(tuple(flat[at : at + size]), hash_) == hash_
    assert len(set(named.values())) == len(named)


def test_known_hashes_are_found_and_others_are_not():
    rng = np.random.default_rng(0)
    hashes = np.unique(rng.integers(0, 1 << 63, 5000, np.uint64))
    asked = np.concatenate([rng.choice(hashes, 300), hashes[:1] + np.uint64(1), np.array([0, 2**64 - 1], np.uint64)])
    which, known = KnownHashes(hashes).find(asked)
    assert which.tolist() == list(range(300)) and (hashes[known] == asked[:300]).all()
    assert len(KnownHashes(hashes[:0]).find(asked)[0]) == 0


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        ('{"text": "a"}\n[1]\n', ["text"], r"line 2 of .*a list where one JSON object belongs"),
        ('{"text": "a"}\n{"text"\n', ["text"], r"line 2 of .*One JSON object belongs on every line"),
        ('{"text": "a"}\n', ["ctx"], r"no field 'ctx'; known there: text"),
        ('{"text": 7}\n', ["text"], r"the field 'text' holds 7, which is no text"),
        (None, ["text"], r"'mine' cannot be read.*benchmarks\.mine\.path"),
    ],
)
def test_an_unusable_benchmark_is_refused_by_name_and_line(tmp_path, content, fields, message):
    if content is not None:
        (tmp_path / "mine.jsonl").write_text(content)
    config = DecontaminationConfig(benchmarks={"mine": {"path": "mine.jsonl", "fields": fields}})
    with pytest.raises(UnusableBenchmarkError, match=message):
        read_benchmarks(config, tmp_path)


def test_the_digest_follows_the_texts_and_no_path(tmp_path):
    first = given_benchmarks(tmp_path, {"foxes": [ITEM, "red green blue"]})
    (tmp_path / "elsewhere").mkdir()
    assert given_benchmarks(tmp_path / "elsewhere", {"foxes": [ITEM, "red green blue"]}).identity() == first.identity()
    others = [
        given_benchmarks(tmp_path, {"foxes": ["red green blue", ITEM]}),
        given_benchmarks(tmp_path, {"foxes": [ITEM + " Or so.", "red green blue"]}),
        given_benchmarks(tmp_path, {"dogs": [ITEM, "red green blue"]}),
        given_benchmarks(tmp_path, {"foxes": [ITEM, "red green blue"]}, ngram=12),
    ]
    digests = [json.dumps(one.identity()) for one in [first, *others]]
    assert len(set(digests)) == len(digests)


def clean(folder, texts, decontamination=None, config=None):
    """What the documents stage leaves of texts: {native_id: text}, facts, and what the files say."""
    folder.mkdir(exist_ok=True)
    raw = [RawDocument(str(number), text, meta={"look": 0}) for number, text in enumerate(texts)]
    facts = clean_slot(raw, folder, config or CleanConfig(), "mine", "CC0-1.0", decontamination=decontamination)
    path = folder / "documents.parquet"
    rows = pq.read_table(path).to_pylist() if path.exists() else []
    return {row["native_id"]: row["text"] for row in rows}, facts


def test_drops_are_counted_by_benchmark_and_name_the_item(tmp_path):
    cats = "My cat has never seen a fish as large as the one we caught that summer."
    given_ = given_benchmarks(tmp_path, {"foxes": ["no words here", ITEM], "cats": [cats, "x " * 20]})
    texts = ["Nothing of interest stands here.", f"He said: {ITEM}", f"{ITEM} {cats}", cats.upper()]
    kept, facts = clean(tmp_path / "out", texts, given_)
    assert kept == {"0": texts[0]}
    assert {name: n for name, n in facts.counts.items() if name.startswith("dropped")} == {
        "dropped_contaminated_cats": 2,  # of two benchmarks the first by name counts
        "dropped_contaminated_foxes": 1,
    }
    drops = json.loads((tmp_path / "out" / "drops.json").read_text())["examples"]
    assert drops["contaminated_foxes"] == [
        {"native_id": "1", "position": None, "characters": len(texts[1]),
         "excerpt": "line 2 of foxes: The quick brown fox jumps over the lazy dog and then it sleeps"}
    ]  # fmt: skip
    report = json.loads((tmp_path / "out" / "contamination.json").read_text())
    assert report["foxes"] == {"items": 2, "comparable": 1, "commonplace_runs": 0, "found": [2], "cut": []}
    assert report["cats"]["found"] == [1]


@needs_items
def test_planted_items_are_found_in_articles_and_nothing_else_is(tmp_path):
    items = [json.loads(line) for line in HELLASWAG.read_text().splitlines()]
    articles = [json.loads(line)["text"] for line in (SHARED / "prose" / "web_articles.jsonl").open()][:400]
    config = DecontaminationConfig(benchmarks={"hellaswag": {"path": str(HELLASWAG), "fields": ["ctx", "endings"]}})
    given_ = Decontamination(config, read_benchmarks(config, tmp_path))
    assert given_.benchmarks.abouts[0].items == len(items) == given_.benchmarks.abouts[0].comparable
    rng = random.Random(0)
    planted = list(articles)
    chosen = rng.sample(range(len(items)), 40)
    places = rng.sample(range(len(articles)), 40)
    for number, at in zip(chosen, places, strict=True):
        ending = items[number]["endings"][int(items[number]["label"])]
        text = f"{items[number]['ctx']} {ending}"
        text = rng.choice([str.upper, str.lower, lambda one: one.replace(" ", "\n").replace(".", " …")])(text)
        half = len(planted[at]) // 2
        planted[at] = f"{planted[at][:half]}\n\n{text}\n\n{planted[at][half:]}"
    clean_articles, without = clean(tmp_path / "without", articles)
    same, facts = clean(tmp_path / "same", articles, given_)
    assert same == clean_articles and facts.counts == without.counts  # real articles hold no item
    kept, facts = clean(tmp_path / "planted", planted, given_)
    assert set(clean_articles) - set(kept) == {str(at) for at in places}
    assert facts.counts["dropped_contaminated_hellaswag"] == 40
    hit = json.loads((tmp_path / "planted" / "contamination.json").read_text())["hellaswag"]["found"]
    assert {number + 1 for number in chosen} <= set(hit)


def filler(count, letter):
    """So many words of 9 characters, each with a space behind it."""
    return "".join(f"{letter}{number:08d} " for number in range(count))


def test_what_is_cut_is_the_run_and_its_margins(tmp_path):
    given_ = given_benchmarks(tmp_path, {"foxes": [ITEM]}, action="cut", margin=23, min_piece=100)
    before, behind, short = filler(30, "a"), filler(30, "b"), filler(12, "c")
    text = f"{before}{ITEM} {behind}{ITEM} {short}"
    # 23 characters end within the third word from the item; the cut goes on to the space beside it
    kept = f"{filler(27, 'a').strip()}\n\n{behind[30:270].strip()}"
    left, facts = clean(tmp_path / "out", [text, f"{ITEM} {short}"], given_)
    assert left == {"0": kept}
    assert (facts.counts["decontaminated_foxes"], facts.counts["decontamination_cuts_foxes"]) == (1, 2)
    assert facts.counts["dropped_contaminated_foxes"] == 1
    (example,) = json.loads((tmp_path / "out" / "contamination.json").read_text())["foxes"]["cut"]
    assert example["native_id"] == "0" and example["excerpt"].startswith("line 1 of foxes: The quick brown")


def test_words_of_a_long_text_are_where_they_are_found(tmp_path, monkeypatch):
    given_ = given_benchmarks(tmp_path, {"foxes": [ITEM]}, action="cut", margin=0, min_piece=50)
    text = f"{filler(30, 'a')}{ITEM} {filler(30, 'b')}"
    monkeypatch.setattr(shingles, "_CHARACTERS_AT_ONCE", 70)
    (finding,) = Decontaminator(given_).judge([text]).values()
    assert finding.text == f"{filler(30, 'a').strip()}\n\n{filler(30, 'b').strip()}"
    assert finding.about == "line 1 of foxes: The quick brown fox jumps over the lazy dog and then it sleeps"


def test_runs_whose_margins_meet_are_one_cut_and_too_many_cuts_drop(tmp_path):
    given_ = given_benchmarks(tmp_path, {"foxes": [ITEM]}, action="cut", margin=100, min_piece=50, max_cuts=3)
    near, far = filler(15, "n"), filler(60, "f")
    texts = [far + f"{ITEM} {near}" * 9 + far, far + f"{ITEM} {far}" * 3, far + f"{ITEM} {far}" * 4]
    findings = Decontaminator(given_).judge(texts)
    assert [(one.cuts, one.text is None) for one in findings.values()] == [(1, False), (3, False), (0, True)]


def test_pieces_that_make_a_run_together_are_not_kept(tmp_path):
    halves = ITEM.split()
    text = f"{' '.join(halves[:7])} {ITEM} {' '.join(halves[7:])}"
    given_ = given_benchmarks(tmp_path, {"foxes": [ITEM]}, action="cut", margin=0, min_piece=1)
    (finding,) = Decontaminator(given_).judge([text]).values()
    assert finding.text is None and finding.cuts == 0


@settings(deadline=None, max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=3), st.lists(WORDS, max_size=5), st.integers(0, 5), st.integers(1, 4))
def test_no_text_that_is_kept_shares_anything(tmp_path_factory, items, texts, margin, cuts):
    items.append("a b c")
    folder = tmp_path_factory.mktemp("benchmark")
    settings_ = {"ngram": 3, "min_words": 3, "max_occurrences": None, "action": "cut", "min_piece": 2}
    given_ = given_benchmarks(folder, {"letters": items}, **settings_, margin=margin, max_cuts=cuts)
    known = set().union(*(obvious_runs(item, 3) for item in items))
    judged = Decontaminator(given_).judge(texts)
    assert set(judged) == {number for number, text in enumerate(texts) if obvious_runs(text, 3) & known}
    for number, one in judged.items():
        assert one.text is None or not obvious_runs(one.text, 3) & known
        assert one.text is None or (0 < one.cuts <= cuts and len(one.text) < len(texts[number]))


@needs_items
def test_cutting_planted_items_leaves_the_articles_around_them(tmp_path):
    items = [json.loads(line) for line in HELLASWAG.read_text().splitlines()]
    article = max((json.loads(line)["text"] for line in (SHARED / "prose" / "web_articles.jsonl").open()), key=len)
    config = DecontaminationConfig(
        benchmarks={"hellaswag": {"path": str(HELLASWAG), "fields": ["ctx", "endings"]}}, action="cut"
    )
    given_ = Decontamination(config, read_benchmarks(config, tmp_path))
    paragraphs = article.split("\n\n")
    middle = len(paragraphs) // 2
    planted = "\n\n".join([*paragraphs[:middle], items[5]["ctx"], *paragraphs[middle:]])
    left, facts = clean(tmp_path / "out", [planted], given_)
    assert facts.counts["decontamination_cuts_hellaswag"] == 1 and not obvious_runs(left["0"], 13) & obvious_runs(
        items[5]["ctx"], 13
    )
    assert len(article) - len(left["0"]) < 2 * (200 + 40) + 10
    assert set(left["0"].split()) <= set(article.split())
