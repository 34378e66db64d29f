"""Scores of documents: how they are counted, added up and shown, against counting one by one."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.cleaning import CleanConfig
from data.documents import clean_slot
from data.languages.identify import identifier
from data.near.config import NearConfig
from data.scores import LANGUAGE_SCORE, SIMILARITY_SCORE, Histogram, ScoreCounts, added_up, drawn
from data.sources.base import RawDocument
from tasks.corpus_card import _scores
from tests.corpus_toys import SENTENCES, toy_corpus
from tests.test_corpus_card import facts_of, run

__all__ = ["run"]

PROSE = "The miller told us about the long winter, and nobody in the house said a word. "


def test_values_fall_into_bins_of_equal_width_and_those_beyond_into_the_last_ones():
    counts = ScoreCounts()
    counts.add("share", np.arange(21) / 20)  # 0.15 and 0.35 are less than so many twentieths in floating point
    counts.add("share", [-1, 7, 0.999])
    assert counts.details() == {"share": {"low": 0.0, "high": 1.0, "counts": [2, *[1] * 18, 4]}}
    random = np.random.default_rng(1).random(1000) * 12
    counts.add("gopher_mean_word_length", random)
    expected = np.histogram(random, 24, (0, 12))[0].tolist()
    assert counts.details()["gopher_mean_word_length"]["counts"] == expected
    other = ScoreCounts()
    other.add("nothing", [])
    assert other.details() == {}


def test_slots_add_up_and_quantiles_are_those_of_all():
    values = np.random.default_rng(2).random(300) ** 3
    slots = []
    for part in np.split(values, [10, 200]):
        counts = ScoreCounts()
        counts.add("share", part)
        slots.append(counts.details())
    found = added_up([*slots, {}, {"share": {"low": 0.0, "high": 2.0, "counts": [9]}}])  # another scale: left out
    assert found == {"share": Histogram(0, 1, tuple(np.histogram(values, 20, (0, 1))[0].tolist()))}
    for share in (0.05, 0.5, 0.95):
        exact = np.quantile(values, share, method="inverted_cdf")
        assert found["share"].quantile(share) <= exact < found["share"].quantile(share) + 0.05
    assert drawn([0, 1, 500, 1000]) == " ▁▄█" and drawn([0]) == " "


def test_documents_that_are_kept_are_counted_by_what_they_were_judged_by(tmp_path, monkeypatch):
    monkeypatch.setattr("data.batches._BATCH_ROWS", 3)
    monkeypatch.setattr("data.quality.rules._CHARACTERS_AT_ONCE", 200)
    kept = ["\n".join([(PROSE * 3).strip(), *[f"{word} it" for word in "abcdefgh"[:n]]]) for n in range(6)]
    short = "\n".join(f"{word} of it" for word in "abcdefghijk")  # falls by its short lines
    german = "Die alte Mühle am Fluss stand seit Jahren still, und das Rad war grün von Moos, als wir kamen. " * 3
    texts = [kept[0], german, *kept[1:3], short, *kept[3:]]
    config = CleanConfig(
        languages={"wanted": ["en"], "min_confidence": 0},
        quality={"fineweb": {"min_punctuated_lines": None, "max_short_lines": 0.9, "max_line_feeds_per_word": None}},
    )
    facts = clean_slot(
        [RawDocument(str(n), text, meta={"look": 0}) for n, text in enumerate(texts)],
        tmp_path,
        config,
        "mine",
        "CC0-1.0",
    )
    left = pq.read_table(tmp_path / "documents.parquet")["text"].to_pylist()
    assert left == [text.strip() for text in kept] and facts.counts["dropped_language"] == 1
    lines = [text.split("\n") for text in left]
    shares = [sum(len(line) <= 30 for line in one) / len(one) for one in lines]
    scores = facts.details["scores"]
    assert scores["fineweb_short_lines"]["counts"] == np.histogram(shares, 20, (0, 1))[0].tolist()
    english = identifier().labels.index("en")
    sure = [identifier().probabilities([text])[0][english] for text in left]
    assert sum(scores[LANGUAGE_SCORE]["counts"]) == len(left) and scores[LANGUAGE_SCORE]["counts"][-1] == sum(
        one >= 0.98 for one in sure
    )
    assert set(scores) == {LANGUAGE_SCORE, "fineweb_short_lines", "fineweb_duplicate_line_characters"}


def test_nothing_is_said_of_scores_where_nothing_was_judged_by_any(tmp_path):
    facts = clean_slot([RawDocument("a", PROSE, meta={"look": 0})], tmp_path, CleanConfig(), "mine", "CC0-1.0")
    assert facts.details == {}


@pytest.mark.usefixtures("run")
def test_the_card_shows_how_similar_near_copies_are(run):
    text = " ".join(SENTENCES)
    near = {f"{n}.txt": text.replace("sacks", "bags", n) for n in range(4)}
    slots = [("books", near), ("more", {"d.txt": text.replace("grain", "rye", 2), "e.txt": text})]
    index = toy_corpus(run.store, "Toy", slots, NearConfig())
    flow = facts_of(run, index).all
    matches = [pq.read_table(path) for path in run.store.root.glob("duplicates/*/matches.parquet")]
    similar = [one for table in matches for one in table["similarity"].to_pylist() if one is not None]
    assert len(similar) == flow.similar == 4 and set(flow.scores) == {SIMILARITY_SCORE}
    histogram = flow.scores[SIMILARITY_SCORE]
    assert histogram.counts == tuple(np.histogram(similar, 50, (0.5, 1))[0].tolist())
    shown = _scores(flow.scores)
    assert "## Scores" in shown and "similarity  " in shown and f"0.5 |{drawn(histogram.counts)}| 1" in shown
    assert _scores({}) == ""
