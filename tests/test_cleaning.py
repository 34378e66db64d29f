import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.cleaning import _COMPOSED, CleanConfig, judge, normal_form, normalise

CONFIG = CleanConfig()
CHARACTERS = st.sampled_from(
    "ab \t\n\r\x00\x0b\x0c\x1c\x1f\x7f\x85\xa0\u2007\u2028\u2029\u3000\ufeff\ud800\udc00e\u0301ﬁ한"
)
MESSY = st.text(CHARACTERS, max_size=40) | st.text(max_size=40)


def obvious(text: str, config: CleanConfig) -> str:
    """The same rules, one character and one line at a time, from the Unicode categories."""
    ends = {"\r", "\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028"}
    letters = []
    for here, after in zip(text, text[1:] + " ", strict=False):
        if here == "\r" and after == "\n":
            continue
        if here in ends:
            letters.append("\n")
        elif here == "\u2029":
            letters.append("\n\n")
        elif unicodedata.category(here) == "Cs":
            letters.append("\ufffd")
        elif here == "\t" or not (unicodedata.category(here) == "Cc" or here in "\ufeff\ufffe\uffff"):
            letters.append(" " if config.non_breaking_spaces == "space" and here in "\xa0\u2007\u202f" else here)
    text = "".join(letters)
    if config.normalization != "none":
        text = unicodedata.normalize(config.normalization, text)
    lines: list[str] = []
    blank = 0
    for line in text.split("\n"):
        while line and line[-1].isspace():
            line = line[:-1]
        blank = blank + 1 if not line else 0
        if blank <= config.max_blank_lines or not lines:
            lines.append(line)
    while lines and not lines[0]:
        lines.pop(0)
    while lines and not lines[-1]:
        lines.pop()
    return "\n".join(lines)


configs = st.builds(
    CleanConfig,
    normalization=st.sampled_from(["NFC", "NFKC", "none"]),
    non_breaking_spaces=st.sampled_from(["space", "keep"]),
    max_blank_lines=st.integers(0, 3),
)


@settings(deadline=None, max_examples=300)
@given(MESSY, configs)
@example("\n\n\n\na\n \n\t\n\n\nb \r\n\r\n", CleanConfig(max_blank_lines=1))
def test_normalising_agrees_with_the_obvious_version_and_is_idempotent(text, config):
    normal = normalise(text, config)
    assert normal == obvious(text, config)
    assert normalise(normal, config) == normal
    normal.encode()  # no surrogate is left


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("one\r\ntwo\rthree\x0cfour\x85five\u2028six\u2029seven", "one\ntwo\nthree\nfour\nfive\nsix\n\nseven"),
        ("cafe\u0301 \u212b", "caf\u00e9 \u00c5"),
        ("a\x00b\x07c\x1fd\x7fe\u0080f\ufeffg", "abcdefg"),
        ("vingt\u202f%\u00a0!  \nnext", "vingt % !\nnext"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        (
            "\ufeff\n \n  indented first line\n\tcode\n        deep  gap\n\n",
            "  indented first line\n\tcode\n        deep  gap",
        ),
        ("broken \ud83d pair", "broken \ufffd pair"),
        ("\u3000全角の字下げ\u3000\n次", "\u3000全角の字下げ\n次"),
        ("soft\u00adhyphen zero\u200bwidth", "soft\u00adhyphen zero\u200bwidth"),
        ("if x:\n    return 1\n\n\ndef f():\n\tpass", "if x:\n    return 1\n\n\ndef f():\n\tpass"),
        (" \n\t\n", ""),
        ("one\t\ntwo \nthree\t", "one\ntwo\nthree"),
        ("tab at the end of a line only\t\nnext", "tab at the end of a line only\nnext"),
    ],
)
def test_hand_made_cases(raw, normal):
    assert normalise(raw, CONFIG) == normal


def test_characters_that_spare_a_text_its_unicode_form_are_composed_already_and_compose_with_nothing():
    characters = list(map(chr, range(0x30000)))
    parts = {sign: unicodedata.decomposition(sign).split() for sign in characters}
    canonical = {sign: codes for sign, codes in parts.items() if codes and not codes[0].startswith("<")}
    behind = {chr(int(codes[1], 16)) for codes in canonical.values() if len(codes) > 1}
    behind |= set(map(chr, [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]))  # vowels and finals of Hangul
    sparing = [sign for sign in characters if _COMPOSED.fullmatch(sign)]
    assert set("é’“”—…€") <= set(sparing)
    assert not behind & set(sparing)
    for sign in sparing:
        assert unicodedata.normalize("NFC", sign) == sign and unicodedata.combining(sign) == 0


@given(MESSY)
def test_odd_characters_are_all_but_plain_ascii(text):
    plain = "\t\r\n" + "".join(map(chr, range(32, 127)))
    assert normal_form(text, CONFIG).odd == "".join(sign for sign in text if sign not in plain)


def test_compatibility_form_only_when_asked():
    assert normalise("ﬁve ²", CONFIG) == "ﬁve ²"
    assert normalise("ﬁve ²", CleanConfig(normalization="NFKC")) == "five 2"
    assert normalise("e\u0301", CleanConfig(normalization="none")) == "e\u0301"


def test_long_runs_of_white_space_take_linear_time():
    text = " " * 2_000_000 + "x" + "\n" * 2_000_000 + "\t" * 2_000_000 + "y"
    assert normalise(text, CONFIG) == " " * 2_000_000 + "x\n\n\n" + "\t" * 2_000_000 + "y"


def test_judging_counts_characters_not_bytes():
    assert judge("", CONFIG) == "empty"
    assert judge("é" * 19, CONFIG) == "too_short"
    assert judge("é" * 20, CONFIG) is None
    assert judge("x", CleanConfig(min_characters=1)) is None


@pytest.mark.parametrize("wrong", [{"min_chars": 5}, {"min_characters": 0}, {"normalization": "NFD"}])
def test_a_wrong_config_is_refused(wrong):
    with pytest.raises(ValidationError):
        CleanConfig(**wrong)
