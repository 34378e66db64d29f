import pytest
from pydantic import ValidationError

from data.cleaning import CleanConfig
from data.languages.config import LanguageConfig
from data.privacy.config import TYPES
from data.profiles import PROFILES
from flows.recipe import Recipe, RecipeError, read_recipe, with_overrides
from flows.recipes import load_recipe

BASE = load_recipe("python-docs")
LIGHT = {
    "licence_policy": "any",
    "normalization": "NFC",
    "non_breaking_spaces": "space",
    "max_blank_lines": 2,
    "min_characters": 20,
    "edits": {"invisible": True, "rules": 1},
}


def of(*settings):
    """The cleaning that `--set NAME=VALUE ...` makes, in this order."""
    return with_overrides(BASE, {f"cleaning.{name}": value for name, value in settings}).cleaning


def test_the_default_is_light():
    assert CleanConfig().profile == "light"
    for config in (CleanConfig(), CleanConfig(profile="light"), of(("profile", "light"))):
        assert config.identity(False) == LIGHT
        assert config.identity(True) == {**LIGHT, "privacy": {"types": list(TYPES), "rules": 1}}


def test_a_profile_stands_for_its_settings():
    web = CleanConfig(profile="web")
    assert web.languages == LanguageConfig(wanted=["en"])
    assert web.quality.gopher and web.quality.repetition and web.quality.fineweb
    assert web.quality.c4 and web.quality.c4.unended_lines is None and web.quality.c4.min_sentences == 5
    assert (web.quality.gopher.min_words, web.quality.fineweb.max_short_lines) == (50, 0.67)
    assert web.edits.html_leftovers and not web.edits.hyphenation and web.edits.max_repeated_lines is None
    books = CleanConfig(profile="books")
    assert books.edits.hyphenation and books.edits.page_numbers and books.edits.running_heads
    assert not books.quality.is_on and books.languages is None
    chat = CleanConfig(profile="chat")
    assert chat.min_characters == 1 and not chat.quality.is_on and chat.types_replaced(personal=False) == TYPES
    code = CleanConfig(profile="code")
    assert code.normalization == "none" and not code.edits.is_on and not code.quality.is_on
    none = CleanConfig(profile="none")
    assert none.normalization == "NFC" and none.min_characters == 1 and not none.edits.is_on
    assert none.types_replaced(personal=True) == ()


@pytest.mark.parametrize("profile", list(PROFILES))
def test_the_settings_enter_the_key_and_the_name_does_not(profile):
    config = CleanConfig(profile=profile)
    spelt_out = CleanConfig.model_validate({**config.model_dump(), "profile": "light"})
    assert spelt_out.identity(True) == config.identity(True)
    assert "profile" not in config.identity(True)
    again = CleanConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    assert Recipe.model_validate(Recipe(cleaning=config).model_dump(mode="json")).cleaning == config


def test_what_is_given_is_laid_over_the_profile():
    config = CleanConfig.model_validate({"profile": "web", "quality": {"gopher": {"min_words": 20}}})
    published = CleanConfig(profile="web")
    assert config.quality.gopher.min_words == 20
    assert config.quality.gopher.model_copy(update={"min_words": 50}) == published.quality.gopher
    assert (config.quality.fineweb, config.languages) == (published.quality.fineweb, published.languages)
    off = CleanConfig.model_validate({"profile": "web", "quality": {"gopher": None}, "languages": None})
    assert off.quality.gopher is None and off.languages is None and off.quality.fineweb
    rule_off = CleanConfig.model_validate({"profile": "web", "quality": {"gopher": {"min_stop_words": None}}})
    assert rule_off.quality.gopher.min_stop_words is None and rule_off.quality.gopher.min_words == 50
    german = CleanConfig.model_validate({"profile": "web", "languages": {"wanted": ["de"]}})
    assert german.languages == LanguageConfig(wanted=["de"])
    unsure = CleanConfig.model_validate({"profile": "web", "languages": {"min_confidence": 0.5}})
    assert unsure.languages == LanguageConfig(wanted=["en"], min_confidence=0.5)


def test_overrides_work_in_either_order():
    profile, setting = ("profile", "web"), ("quality.gopher.min_words", 20)
    assert of(profile, setting) == of(setting, profile)
    one_by_one = with_overrides(
        with_overrides(BASE, {"cleaning.quality.gopher.min_words": 20}), {"cleaning.profile": "web"}
    )
    assert one_by_one.cleaning == of(profile, setting)
    assert of(profile, setting).quality.fineweb and of(profile, setting).quality.gopher.min_words == 20


def test_a_group_that_is_off_is_switched_on_by_a_setting_in_it():
    config = of(("quality.gopher.min_words", 20))
    assert (config.quality.gopher.min_words, config.quality.gopher.min_stop_words) == (20, 2)
    assert config.quality.fineweb is None
    recipe = read_recipe({"cleaning": {"profile": "web", "quality": {"gopher": None}}}, "a test")
    assert recipe.cleaning.quality.gopher is None
    again = with_overrides(recipe, {"cleaning.quality.gopher.min_words": 20})
    assert again.cleaning.quality.gopher.min_words == 20 and again.cleaning.quality.repetition
    assert with_overrides(recipe, {"training.steps": 7}).cleaning == recipe.cleaning
    assert of(("edits.hyphenation", True)).edits.hyphenation
    assert of(("profile", "books"), ("edits.hyphenation", False)).edits.page_numbers


def test_another_profile_leaves_what_was_given_and_nothing_of_the_first():
    recipe = read_recipe({"cleaning": {"profile": "web", "min_characters": 20, "edits": {"urls": "remove"}}}, "a test")
    chat = with_overrides(recipe, {"cleaning.profile": "chat"}).cleaning
    assert chat == CleanConfig.model_validate({"profile": "chat", "min_characters": 20, "edits": {"urls": "remove"}})
    assert not chat.quality.is_on and chat.min_characters == 20 and chat.edits.invisible


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"cleaning.profile": "wbe"}, ["cleaning.profile", "wbe", "web"]),
        ({"cleaning.quality.gophr.min_words": 3}, ["cleaning.quality.gophr", "did you mean cleaning.quality.gopher"]),
        (
            {"cleaning.quality.gopher.min_wrds": 3},
            ["gopher.min_wrds", "did you mean cleaning.quality.gopher.min_words"],
        ),
        ({"cleaning.qualty.gopher.min_words": 3}, ["cleaning.qualty", "did you mean cleaning.quality"]),
        ({"cleaning.edits.hyphens": True}, ["cleaning.edits.hyphens", "did you mean cleaning.edits.hyphenation"]),
        ({"cleaning.min_characters.more": 3}, ["cleaning.min_characters", "valid integer"]),
        ({"cleaning.languages.wanted": ["eng"]}, ["cleaning.languages.wanted", "'eng'", "'en'"]),
        ({"cleaning.languages.min_confidence": 0.5}, ["cleaning.languages.wanted", "required"]),
        ({"cleaning": {"profile": "web", "quality": 3}}, ["cleaning.quality", "3"]),
    ],
)
def test_a_wrong_setting_is_refused_by_name(overrides, words):
    with pytest.raises(RecipeError) as refused:
        with_overrides(BASE, overrides)
    for word in words:
        assert word in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_profile_that_is_none_is_refused():
    for wrong in ("heavy", ["web"], None):
        with pytest.raises(ValidationError, match="profile"):
            CleanConfig.model_validate({"profile": wrong})
