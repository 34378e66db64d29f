import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.cleaning import CleanConfig
from data.documents import clean_slot
from data.languages.config import LANGUAGES, LanguageConfig
from data.languages.identify import identifier
from data.languages.judging import judge_languages, sample
from data.sources.base import RawDocument

ENGLISH = "The rain had stopped by the time we reached the village, and people were already out on the square again. "
TEXTS = {
    "en": ENGLISH,
    "de": "Der Regen hatte aufgehört, als wir das Dorf erreichten, und die Leute standen schon wieder auf dem Platz. ",
    "fr": "La pluie avait cessé quand nous sommes arrivés au village, et les gens étaient déjà dehors sur la place. ",
    "es": "La lluvia había cesado cuando llegamos al pueblo, y la gente ya estaba otra vez fuera, en la plaza mayor. ",
    "fi": "Sade oli jo lakannut, kun tulimme kylään, ja ihmiset seisoivat taas torilla ja puhuivat ilmoista. ",
    "ru": "Дождь уже кончился, когда мы добрались до деревни, и люди снова стояли на площади. ",
    "el": "Η βροχή είχε σταματήσει όταν φτάσαμε στο χωριό και ο κόσμος ήταν πάλι στην πλατεία. ",
    "ja": "私たちが村に着いたときには雨はもう止んでいて、人々は再び広場に出ていました。",
    "hi": "जब हम गाँव पहुँचे तब तक बारिश रुक चुकी थी और लोग फिर से चौक में आ गए थे। ",
}


@pytest.fixture(scope="module")
def library():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def agree_with_the_library(library, texts):
    """Both answers for every text: the same likeliest language, and probabilities within what rounding leaves."""
    model = identifier()
    found = model.probabilities(texts)
    for row, text in zip(found, texts, strict=True):
        theirs = dict(library.rank(text))
        assert set(theirs) == set(model.labels)
        np.testing.assert_allclose(row, [theirs[label] for label in model.labels], atol=2e-4)
        if max(theirs.values()) > 0.01:  # where there is nothing to go by, all are as likely
            assert model.labels[row.argmax()] == library.classify(text)[0]


def test_all_at_once_gives_the_library_s_answers(library):
    texts = [text * times for text in TEXTS.values() for times in (1, 2, 7)]
    texts += [text[start : start + 17] for text in TEXTS.values() for start in (0, 5, 40)]
    agree_with_the_library(
        library, [*texts, "", " ", "12", "\x00", ENGLISH.upper(), "cafe\u0301 noir", "\ud800 and so"]
    )
    agree_with_the_library(library, [])


pieces = st.sampled_from(
    [*TEXTS.values(), "Београд је главни", "Beograd je glavni", "ÄÖÜ", "e\u0301", "\U0001f600", "\n"]
)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(max_size=30) | st.lists(pieces, max_size=3).map("".join), max_size=6))
@example(["x", "", "xy" * 300, "", "z"])
def test_any_texts_in_any_order_give_the_library_s_answers(library, texts):
    agree_with_the_library(library, texts)


def test_the_languages_known_are_the_library_s(library):
    assert set(library.labels) - {"zxx"} == LANGUAGES  # zxx: no language


def test_a_sample_is_spread_over_the_text():
    text = "".join(chr(ord("a") + at // 100) for at in range(1000))  # a hundred a, a hundred b...
    assert sample(text, 5, 4) == "aabb\nccdd\neeff\ngghh\niijj"
    assert sample(text, 2, 20) == "c" * 20 + "\n" + "h" * 20
    assert sample("seven letters", 3, 4) == "seve\nn le\ntter"
    assert sample("short", 2, 3) == "short"


def test_each_language_is_told_and_only_the_wanted_ones_are_kept():
    judged = judge_languages([text * 3 for text in TEXTS.values()], LanguageConfig(wanted=["en", "ja"]))
    assert [one.language for one in judged] == list(TEXTS)
    assert [one.reason for one in judged] == [None if code in ("en", "ja") else "language" for code in TEXTS]


def test_a_beginning_in_another_language_decides_nothing():
    judged = judge_languages([ENGLISH * 2 + TEXTS["fi"] * 20], LanguageConfig(wanted=["en"]))
    assert judged == [("fi", "language")]


def test_what_is_not_sure_is_dropped_under_a_name_of_its_own():
    text = "Hotel Taxi"
    [told] = judge_languages([text], LanguageConfig(wanted=sorted(LANGUAGES)))
    assert told.reason is None  # of any language it surely is
    assert judge_languages([text], LanguageConfig(wanted=[told.language])) == [(told.language, "language_unsure")]
    sure = LanguageConfig(wanted=[told.language], min_confidence=0)
    assert judge_languages([text], sure) == [(told.language, None)]


def test_neighbours_that_are_both_wanted_add_up():
    """Croatian and Bosnian are hard to tell apart; who wants both need not."""
    text = "Kiša je prestala kad smo stigli u selo i ljudi su opet bili na trgu."
    row = dict(zip(identifier().labels, identifier().probabilities([text])[0].tolist(), strict=True))
    first, second = sorted(row, key=row.__getitem__)[:-3:-1]
    between = row[first] + row[second] / 2
    assert (
        judge_languages([text], LanguageConfig(wanted=[first], min_confidence=between))[0].reason == "language_unsure"
    )
    both = LanguageConfig(wanted=[first, second], min_confidence=between)
    assert judge_languages([text], both)[0].reason is None


def test_few_and_many_texts_are_judged_alike():
    config = LanguageConfig(wanted=["en"])
    texts = [text * times for times in (1, 30) for text in TEXTS.values()]
    assert judge_languages(texts * 80, config) == [judge_languages([text], config)[0] for text in texts] * 80


@pytest.mark.parametrize(
    ("wanted", "words"), [(["eng"], "'eng'; did you mean 'en'"), (["DE"], "'de'"), ([], "at least 1"), (["zxx"], "zxx")]
)
def test_a_language_that_nobody_knows_is_refused(wanted, words):
    with pytest.raises(ValidationError, match=words):
        LanguageConfig(wanted=wanted)


def test_order_and_repeats_make_no_other_choice():
    assert LanguageConfig(wanted=["fr", "en", "fr"]) == LanguageConfig(wanted=["en", "fr"])
    identity = CleanConfig(languages={"wanted": ["en"]}).identity(False)
    assert identity["languages"] == {"wanted": ["en"], "min_confidence": 0.65, "rules": "py3langid 0.4.0, 1"}
    assert "languages" not in CleanConfig().identity(False)


def test_a_slot_counts_its_languages_and_its_drops(tmp_path):
    texts = [TEXTS["en"] * 3, TEXTS["de"] * 3, TEXTS["en"] * 4, "Hotel Taxi Hotel Taxi"]
    documents = [RawDocument(str(at), text, meta={"look": 1}) for at, text in enumerate(texts)]
    config = CleanConfig(languages={"wanted": ["en"], "min_confidence": 0.99})
    facts = clean_slot(documents, tmp_path, config, "mine", "CC0-1.0")
    assert pq.read_table(tmp_path / "documents.parquet")["native_id"].to_pylist() == ["0", "2"]
    assert facts.counts["language_en"] >= 2 and facts.counts["language_de"] == 1
    assert sum(count for name, count in facts.counts.items() if name.startswith("language_")) == 4
    assert facts.counts["dropped_language"] + facts.counts.get("dropped_language_unsure", 0) == 2


def test_the_library_is_loaded_only_where_languages_are_judged():
    code = (
        "import sys, data.documents, flows.recipe; assert not any(name.startswith('py3langid') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
