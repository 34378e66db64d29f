"""The rules of quality against plain versions of themselves, one document and one word at a time, and by hand."""

import itertools
import json
import re
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.cleaning import CleanConfig
from data.documents import clean_slot
from data.quality import rules as rules_module
from data.quality.columns import LETTER, MARK, SPACE, STOP, UPPER, WORD, character_flags, codes_in, columns_of
from data.quality.fineweb import FineWebRules
from data.quality.gopher import GopherRules
from data.quality.repeats import repeats
from data.quality.repetition import RepetitionRules
from data.quality.rules import QualityConfig, judged
from data.quality.words import find_words, key_of, words_of
from data.sources.base import RawDocument

PUNCTUATION = "\"#$%&'()*+,-/:;<=>@[\\]^_`{|}~«´»–—’“”„…∶━►、〈〉《》「」【】％（），１：；～"
STOPS = {chr(code) for code in np.flatnonzero(character_flags() & STOP)}
SYMBOLS = {*PUNCTUATION, *STOPS, *map(chr, [*range(9), *range(11, 32), *range(127, 160)])}


MARKS = {chr(code) for code in np.flatnonzero(character_flags() & MARK)}
ABBREVIATIONS = "Mr|Dr|St|Co|Jr|vs|Mrs|Inc|Ltd|Gen|Gov|Rev|Prof|Corp"


def is_word(character):
    return character.isalnum() or unicodedata.category(character).startswith("M")


def plain_words(text):
    """Our words, one row without white space after the other and one character after the other."""
    return [word for row in text.split() for word in plain_words_of_a_row(row)]


def plain_words_of_a_row(row):
    others = [at for at, character in enumerate(row) if not is_word(character)]
    letters = [at for at, character in enumerate(row) if is_word(character)] or [len(row)]
    within = [at for at in others if letters[0] < at < letters[-1]]
    dots = [at for at in within if row[at] == "." and row[at + 1].isalpha() and not row[at + 1].isupper()]
    host = re.split(r"(?<![:/])/", row[: dots[0]])[-1] if dots else "/"
    address = bool(dots) and host == row[: dots[0]] and len(re.findall(r"(?:[^\W_]|\u0301|[-_])*$", host)[0]) <= 64
    address = address and all(row[at] in "-./:_" for at in within)
    cuts = set()
    for at in others:
        here, before, behind = row[at], row[at - 1 : at], row[at + 1 : at + 2]
        begin, end = at, at + 1
        while begin > 0 and not is_word(row[begin - 1]):
            begin -= 1
        while end < len(row) and not is_word(row[end]):
            end += 1
        if here in "'’":
            short = re.match(r"(?:[sSmMdD]|[rRvV][eE]|[lL]{2})(?![^\W_]|\u0301)", row[at + 1 :])
            if before.isalpha() and short:
                cuts.add(at)
            if before in ("n", "N") and re.match(r"[tT](?![^\W_]|\u0301)", row[at + 1 :]):
                cuts.add(at - 1)
        if at not in within:
            initial = re.search(r"(?<![^\W\d_])([^\W\d_])$", row[:at])
            kept = here == "." and (
                (initial and (initial[1].isupper() or row[: at - 1].endswith(".")))
                or re.search(rf"(?<![^\W_])(?<!\u0301)({ABBREVIATIONS})$", row[:at])
            )
            alone = here in MARKS and not kept and not (here == "." and not before)
        else:
            letters = before.isalpha() and behind.isalpha()
            alone = letters and here in "-–—~,"
            alone |= is_word(before) and behind.isalpha() and here in "-:<>=/"
            alone |= here == "-" and all(is_word(one) and not one.isalpha() for one in (before, behind))
            alone |= letters and here == "." and not before.isupper() and behind.isupper()
            alone = alone and not address
            alone |= here == "-" and end - begin > 1 and row[begin - 1].isalpha() and row[end].isalpha()
        alone |= here == "." and "." in (before, behind)
        alone |= here not in SYMBOLS and ord(here) > 0xFF
        if alone:
            cuts |= {at, at + 1}
    for at in others:
        if row[at] in ".-" and row[at - 1 : at] == row[at]:
            cuts.discard(at)
    borders = sorted({0, len(row), *cuts})
    return [row[a:b] for a, b in itertools.pairwise(borders)]


def spaced_words(text):
    return text.split()


def again(parts):
    seen, found = set(), []
    for part in parts:
        (found.append if part in seen else seen.add)(part)
    return len(found), sum(map(len, found))


def plain_repetition(text, words, rules):
    if not text:
        return None
    for name, parts in (("paragraph", re.split(r"\n{2,}", text.strip())), ("line", re.split(r"\n+", text))):
        count, characters = again(parts)
        if count / len(parts) > getattr(rules, f"max_duplicate_{name}s"):
            return f"max_duplicate_{name}s"
        if characters / len(text) > getattr(rules, f"max_duplicate_{name}_characters"):
            return f"max_duplicate_{name}_characters"
    for n in (2, 3, 4):
        grams = Counter(" ".join(words[at : at + n]) for at in range(len(words) - n + 1))
        if grams:
            [(gram, count)] = grams.most_common(1)
            if len(gram) * count / len(text) > getattr(rules, f"max_top_{n}_grams"):
                return f"max_top_{n}_grams"
    for n in range(5, 11):
        seen, characters, at = set(), 0, 0
        while at <= len(words) - n:
            gram = "".join(words[at : at + n])
            if gram in seen:
                characters += len(gram)
                at += n
            else:
                seen.add(gram)
                at += 1
        if characters / len(text) > getattr(rules, f"max_duplicate_{n}_grams"):
            return f"max_duplicate_{n}_grams"
    return None


def plain_gopher(text, words, rules):
    def part(some, of):
        return some / of if of else 0

    sound = [word for word in words if set(word) - SYMBOLS]
    if len(sound) < rules.min_words:
        return "min_words"
    if len(sound) > rules.max_words:
        return "max_words"
    mean = part(sum(map(len, sound)), len(sound))
    if mean < rules.min_mean_word_length:
        return "min_mean_word_length"
    if mean > rules.max_mean_word_length:
        return "max_mean_word_length"
    if part(text.count("#"), len(words)) > rules.max_hashes_per_word:
        return "max_hashes_per_word"
    if part(text.count("...") + text.count("…"), len(words)) > rules.max_ellipses_per_word:
        return "max_ellipses_per_word"
    lines = text.splitlines()
    if part(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)) > rules.max_bullet_lines:
        return "max_bullet_lines"
    if part(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)) > rules.max_ellipsis_lines:
        return "max_ellipsis_lines"
    if part(sum(any(map(str.isalpha, word)) for word in words), len(words)) < rules.min_words_with_letter:
        return "min_words_with_letter"
    if len(set(words) & set(rules.stop_words)) < rules.min_stop_words:
        return "min_stop_words"
    return None


def plain_fineweb(text, words, rules):
    lines = [line for line in text.split("\n") if line.strip()]
    count = len(lines) or 1
    if sum(line.endswith(tuple(STOPS)) for line in lines) / count < rules.min_punctuated_lines:
        return "min_punctuated_lines"
    if sum(len(line) <= rules.short_line for line in lines) / count > rules.max_short_lines:
        return "max_short_lines"
    if again(lines)[1] / (len(text.replace("\n", "")) or 1) > rules.max_duplicate_line_characters:
        return "max_duplicate_line_characters"
    if words and text.count("\n") / len(words) > rules.max_line_feeds_per_word:
        return "max_line_feeds_per_word"
    return None


PLAIN = {
    "repetition": (RepetitionRules, plain_repetition),
    "gopher": (GopherRules, plain_gopher),
    "fineweb": (FineWebRules, plain_fineweb),
}


def first_broken_rules(texts, config, segment=find_words):
    return [one.reason for one in judged(texts, config, segment)]


def first(text, **groups):
    [reason] = first_broken_rules([text], QualityConfig(**groups))
    return reason


def only(group, rule, **thresholds):
    """The group with one rule on."""
    off = {name: None for name in group.model_fields if name.startswith(("max_", "min_")) and name != rule}
    return group(**off, **thresholds)


def assert_broken_by(group, rule, kept, broken):
    """With only this rule on, at its default, one text is kept and the other is not; with none on, both are."""
    rules = only(PLAIN[group][0], rule)
    assert getattr(rules, rule) is not None
    assert first(kept, **{group: rules}) is None
    assert first(broken, **{group: rules}) == f"{group}_{rule}"
    assert first(broken, **{group: only(PLAIN[group][0], "")}) is None


pieces = st.sampled_from(
    ["the", "of", "to", "be", "a", "b", "aa", "ab", "é", "e\u0301", "字", "🙂", "don't", "it’s",
     "well-known", "a-b.org", "Mr.", "U", "'s", "n't", "’ll", "=", "/", ":", "-", "--",
     ".", "...", "....", "…", "#", "12", "•", "。", "_", "\x07", "\x00", "'", "the same five words here",
     "\n", "\n\n", "\n\n\n", " ", "  ", "\t", "\r", "\r\n", "\x0b", "\x85", "\u2028", "\u3000"]
)  # fmt: skip
messy = st.lists(pieces | st.just(" "), max_size=30).map("".join) | st.text(max_size=12)
repetitive = st.tuples(st.lists(st.sampled_from(["a", "b", "ab", "ba", "aa", "aab", "\n"]), max_size=60)).map(
    lambda parts: " ".join(parts[0])
)
texts = st.lists(messy | repetitive, max_size=6)
shares = st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0])


@st.composite
def groups(draw, group):
    values = {}
    for name, field in group.model_fields.items():
        if name == "stop_words":
            continue
        whole = isinstance(field.default, int) and name not in ("min_mean_word_length", "max_mean_word_length")
        values[name] = draw(st.integers(0, 8) if whole else st.floats(0, 4) if "mean" in name else shares)
    return group(**values)


@pytest.mark.parametrize("segment", [plain_words, spaced_words])
@pytest.mark.parametrize("group", PLAIN)
@settings(deadline=None, max_examples=150)
@given(data=st.data(), batch=texts)
@example(data=None, batch=["", " ", "\n", "\n\n", "a", "-", "a\r", "\r\n", "🙂", "字字字。\n字字字。"])
def test_groups_agree_with_their_plain_versions(group, segment, data, batch):
    config, plain = PLAIN[group]
    rules = data.draw(groups(config)) if data else config()

    def spans(columns):
        starts, ends = [], []
        for begin, text in zip(columns.starts.tolist(), batch, strict=True):
            at = 0
            for word in segment(text):
                at = text.index(word, at)
                starts.append(begin + at)
                at += len(word)
                ends.append(begin + at)
        return columns.spans(np.array(starts, np.int64), np.array(ends, np.int64))

    wanted = [plain(text, segment(text), rules) for text in batch]
    found = first_broken_rules(batch, QualityConfig(**{group: rules}), spans)
    assert found == [name and f"{group}_{name}" for name in wanted]


@settings(deadline=None, max_examples=300)
@given(texts)
@example(["-a", "a-", "a--b", "a-b-c", "'a' 'b", "don't", "a'\n", "- -", "字-字", "x..y", '."'])
@example(
    ["/a-b.org a/b-c.d https://a-b.org/c-d " + "a-" * 31 + "bc.org-d " + "a-" * 32 + "b.org-d", "a" * 65 + "-b.org"]
)
@example(['.gov "2015-03-02-the-' + "content-" * 7 + 'x.md" (e.g., U.S.) visit.</td> well.&#8221; a.,b ..a a.."'])
@example(
    ["a-b.org/c a-B.Org", "U.S. i.e. Mr. xMr. end.", "can't won’t n't I'll o'clock 's", "a--b --a 1-2 1-a a-1 x:y"]
)
def test_words_agree_with_a_plain_version(batch):
    columns = columns_of(batch)
    spans = find_words(columns)
    words = words_of(columns, spans)
    found = ["".join(map(chr, columns.codes[a:b])) for a, b in zip(spans.starts, spans.ends, strict=True)]
    assert found == [word for text in batch for word in plain_words(text)]
    assert spans.counts.tolist() == [len(plain_words(text)) for text in batch]
    assert words.keys.tolist() == [key_of(word) for word in found]


def test_tables_of_characters_say_what_python_says_of_each():
    characters = list(map(chr, range(0x110000)))
    categories = list(map(unicodedata.category, characters))
    marks = [code for code, category in enumerate(categories) if category[0] == "M"]
    word = np.array([character.isalnum() for character in characters])
    word[marks] = True
    flags = character_flags()
    for flag, wanted in (
        (SPACE, [character.isspace() for character in characters]),
        (LETTER, [character.isalpha() for character in characters]),
        (UPPER, [character.isupper() for character in characters]),
        (WORD, word),
    ):
        assert np.array_equal((flags & flag) != 0, wanted)
    assert codes_in("P") == [code for code, category in enumerate(categories) if category[0] == "P"]


@given(st.lists(st.integers(0, 3) | st.integers(0, 3).map(lambda n: n << 60) | st.integers(0, 2**64 - 1), max_size=30))
@example([1, 2, 1, 2, 3])
@example([1 << 60, 1 << 60, 2, 3])
def test_repeats_are_found_also_among_keys_that_are_nearly_equal(keys):
    order, starts = repeats(np.array(keys, np.uint64))
    found = [group.tolist() for group in np.split(order, starts[1:])] if len(order) else []
    by_key = {}
    for at, key in enumerate(keys):
        by_key.setdefault(key, []).append(at)
    assert sorted(group for group in found if len(group) > 1) == sorted(
        group for group in by_key.values() if len(group) > 1
    )
    assert all(keys[group[0]] == keys[other] for group in found for other in group)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It’s well-known: they don't.", "It|’s|well|-|known|:|they|do|n't|."),
        ('"Wait..." (he said), "3.5% of $20!"', '"|Wait|...|"|(|he|said|)|,|"|3.5|%|of|$|20|!|"'),
        ("Mr. U.S. end.Next a,b 1,000", "Mr.|U.S.|end|.|Next|a|,|b|1,000"),
        ("see https://a-b.org/c-d. Freely--a", "see|https://a-b.org/c-d|.|Freely|--|a"),
        ("2011-2012 x-86 86-x and/or", "2011|-|2012|x-86|86|-|x|and|/|or"),
        ("naïve e\u0301t\u0301 字字。 🙂🙂b", "naïve|e\u0301t\u0301|字字|。|🙂|🙂|b"),
        ("", ""),
    ],
)
def test_words_by_hand(text, words):
    columns = columns_of([text])
    spans = find_words(columns)
    assert [text[a:b] for a, b in zip(spans.starts, spans.ends, strict=True)] == [w for w in words.split("|") if w]


FILL = "word with letters and the rest of what "  # eight words, three of them stop words


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        ("min_words", "word " * 50, "word " * 49 + "... 。 --"),
        ("max_words", "word " * 100_000, "word " * 100_001),
        ("min_mean_word_length", "one two ... --------", "one tw ........"),
        ("max_mean_word_length", "a" * 10 + " " + "é" * 10 + " ——————————————", "a" * 10 + " " + "é" * 11),
        ("max_hashes_per_word", "word " * 9 + "#", "word " * 8 + "#"),
        ("max_ellipses_per_word", "word " * 9 + "... w w w w w w w w w …", "word " * 8 + "..."),
        ("max_ellipses_per_word", "word " * 9 + ".....", "word " * 18 + "......"),
        ("max_bullet_lines", " - a\n" * 5 + "\t• b\n" * 4 + "c", " - a\n" * 10 + "• b\n" * 9 + "c\nd"[:1]),
        ("max_ellipsis_lines", "a... \n" * 2 + "b…\n" + "c\n" * 7, "a...\n" * 4 + "c\n" * 9),
        ("max_ellipsis_lines", "a..\n" * 10, "...\n" * 4 + "..\n" * 6),
        ("min_words_with_letter", "é 字 a1 x 1", "é 字 a1 1"),
        ("min_stop_words", "the end of it", "the end the The OF it"),
    ],
)
def test_gopher_at_its_thresholds(rule, kept, broken):
    assert_broken_by("gopher", rule, kept, broken)


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        ("max_duplicate_paragraphs", "a\n\n" * 4 + "b\n\nc\n\nd\n\ne\n\nf\n\ng",
         "a\n\n\n" * 4 + "b\n\nc\n\nd\n\ne\n\nf"),
        # 20 of 100 characters, and of 99
        ("max_duplicate_paragraph_characters", "x" * 20 + "\n\n" + "x" * 20 + "\n\n" + "y" * 56,
         "x" * 20 + "\n\n" + "x" * 20 + "\n\n" + "y" * 55),
        ("max_duplicate_lines", "a\n" * 4 + "b\nc\nd\ne\nf\ng", "a\n\n" * 4 + "b\nc\nd\ne\nf"),
        ("max_duplicate_line_characters", "字" * 20 + "\n" + "字" * 20 + "\n" + "y" * 58,
         "字" * 20 + "\n" + "字" * 20 + "\n" + "y" * 57),
        # `a b` twice is 6 of 30 characters, and of 29
        ("max_top_2_grams", "a b " * 2 + "c" * 22, "a b " * 2 + "c" * 21),
        # `a b c` twice is 10 characters; 0.18 of 56 is 10.08, of 55 it is 9.9
        ("max_top_3_grams", "a b c d a b c " + "e" * 42, "a b c d a b c " + "e" * 41),
        # `a b c d` twice is 14 characters; 0.16 of 88 is 14.08, of 87 it is 13.92
        ("max_top_4_grams", "a b c d e a b c d " + "f" * 70, "a b c d e a b c d " + "f" * 69),
        # with nothing repeated the first two words count: 8 of 40, and of 39
        ("max_top_2_grams", "one four " + "y" * 31, "one four " + "y" * 30),
    ],
)  # fmt: skip
def test_repetition_at_its_thresholds(rule, kept, broken):
    assert_broken_by("repetition", rule, kept, broken)


@pytest.mark.parametrize(
    ("n", "length"), [(5, 34), (6, 43), (7, 54), (8, 67), (9, 82), (10, 100)]
)  # n / length is at most, and n / (length - 1) above the threshold
def test_duplicate_runs_at_their_thresholds(n, length):
    run = [chr(ord("a") + at) for at in range(n)]
    rules = only(RepetitionRules, f"max_duplicate_{n}_grams")
    text = " ".join([*run, "0", *run]) + " "
    assert first(text.ljust(length, "1"), repetition=rules) is None
    if len(text) < length:
        assert first(text.ljust(length - 1, "1"), repetition=rules) == f"repetition_max_duplicate_{n}_grams"


def test_a_run_that_came_before_is_stepped_over_and_not_remembered():
    # twelve times one word: the run at 0 is remembered, those at 1 and 6 count, and none is left after 11
    text = "ab " * 12
    for limit, reason in ((20 / 36, None), (19.9 / 36, "repetition_max_duplicate_5_grams")):
        rules = only(RepetitionRules, "max_duplicate_5_grams", max_duplicate_5_grams=limit)
        assert first(text, repetition=rules) == reason


def test_runs_are_compared_by_spelling_wherever_words_end():
    rules = only(RepetitionRules, "max_duplicate_5_grams")
    assert first("ab c d e fg 0 a bc d ef g", repetition=rules) == "repetition_max_duplicate_5_grams"
    rules = only(RepetitionRules, "max_top_2_grams", max_top_2_grams=0.5)
    assert first("ab c a bc", repetition=rules) is None


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        ("min_punctuated_lines", "a.\nb!\n字。\n" + "c\n \n" * 22, "a.\nb?\n" + "c. \n" * 15),
        ("max_short_lines", ("é" * 30 + "\n") * 67 + ("x" * 31 + "\n") * 33,
         ("é" * 30 + "\n") * 68 + ("x" * 31 + "\n") * 32),
        ("max_duplicate_line_characters", "x\nx\n" + "y" * 98, "x\nx\n" + "y" * 97),
        ("max_line_feeds_per_word", "a b c d\ne f g\nh i j\n", "a b c\nd e f\ng h i\n"),
    ],
)  # fmt: skip
def test_fineweb_at_its_thresholds(rule, kept, broken):
    assert_broken_by("fineweb", rule, kept, broken)


def test_groups_are_off_unless_asked_for_and_go_in_order():
    assert first("x") is None
    everything = QualityConfig(repetition=RepetitionRules(), gopher=GopherRules(), fineweb=FineWebRules())
    batch = ["x\nx", "word " * 49 + "…", FILL * 10, "", "One sentence of this, and that.\n" + "z"]
    assert first_broken_rules(batch, everything)[0] == "repetition_max_duplicate_lines"
    assert first_broken_rules(["字 字字", "🙂 a"], QualityConfig(gopher=GopherRules())) == ["gopher_min_words"] * 2
    assert first_broken_rules([], everything) == []
    assert first_broken_rules([""], everything) == ["gopher_min_words"]


def test_neighbours_in_a_batch_do_not_matter(monkeypatch):
    batch = ["a b c d e " * 3, "a b c d e", "\n\n", FILL * 7, "a\n", "\nb", "", FILL * 9, "…", "-", "\r", "x" * 40]
    everything = QualityConfig(repetition=RepetitionRules(), gopher=GopherRules(), fineweb=FineWebRules())
    alone = [first(text, **dict(everything)) for text in batch]
    for size in (1, 10, 100, 10_000):
        monkeypatch.setattr(rules_module, "_CHARACTERS_AT_ONCE", size)
        assert first_broken_rules(batch, everything) == alone


@pytest.mark.parametrize("wrong", [{"gopher": {"min_word": 5}}, {"fineweb": {"max_short_lines": 1.5}}, {"c5": {}}])
def test_a_wrong_config_is_refused(wrong):
    with pytest.raises(ValidationError):
        QualityConfig(**wrong)


PROSE = [
    "The rules of a good text are few, and all of them have to do with how people write to each other about things "
    f"that matter. Number {n} is such a text: it names {n * 7} reasons, weighs what speaks for each, and ends with a "
    "plain answer.\nAnother line follows, so that not everything stands in one row; it is long enough and has a stop."
    for n in range(12)
]


def test_a_slot_counts_its_drops_by_rule(tmp_path, monkeypatch):
    monkeypatch.setattr("data.batches._BATCH_ROWS", 5)
    names = [chr(ord("a") + n) * 4 for n in range(26)]
    listing = "the list of\n" + "\n".join(f"{name} {name}ly of {name}s" for name in names)
    texts = [*PROSE[:6], "Too few words, and that is all.", *PROSE[6:], "again and again\n" * 9, " ", listing]
    top = {f"max_top_{n}_grams": None for n in (2, 3, 4)}  # short texts break them by any two words
    quality = {"repetition": top, "gopher": {}, "fineweb": {}}
    config = CleanConfig(min_characters=1, quality=quality)
    documents = [RawDocument(f"{n}", text, position=n, meta={"look": 1}) for n, text in enumerate(texts)]
    facts = clean_slot(documents, tmp_path, config, "mine", "CC0-1.0")
    drops = json.loads((tmp_path / "drops.json").read_text())
    assert drops["counts"] == {
        "empty": 1,
        "fineweb_min_punctuated_lines": 1,
        "gopher_min_words": 1,
        "repetition_max_duplicate_lines": 1,
    }
    [example] = drops["examples"]["gopher_min_words"]
    assert example == {"native_id": "6", "position": 6, "characters": 31, "excerpt": texts[6]}
    assert facts.counts["dropped_gopher_min_words"] == 1
    assert (facts.counts["documents_in"], facts.counts["documents_out"]) == (16, 12)
    kept = sum(map(len, PROSE))
    assert facts.counts["characters_out"] == kept
    assert facts.counts["characters_dropped"] == facts.counts["characters_in"] - kept
    assert np.load(tmp_path / "signatures.npy").shape == (12, 2)


def test_rules_enter_the_key_only_where_some_are_on():
    assert "quality" not in CleanConfig(quality={"gopher": None}).identity(False)
    some, others = (CleanConfig(quality={"gopher": {"min_words": least}}).identity(False) for least in (5, 6))
    assert some["quality"] != others["quality"]
