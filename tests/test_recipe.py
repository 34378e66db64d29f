"""Recipes: what is accepted, what is refused and in which words; prefect.yaml and docs agree with the models."""

import pytest

from flows.recipe import Recipe, RecipeError, read_recipe, with_overrides
from flows.recipe_docs import recipe_page
from flows.recipes import load_recipe
from tasks.runtime import PROJECT_ROOT


def test_an_override_replaces_one_setting_and_nothing_else():
    before = load_recipe("python-docs")
    after = with_overrides(before, {"training.steps": 7, "model.preset": "gpt2"})
    assert (after.training.steps, after.model.preset) == (7, "gpt2")
    changed = after.model_dump(mode="json")
    changed["training"]["steps"] = before.training.steps
    changed["model"]["preset"] = before.model.preset
    assert changed == before.model_dump(mode="json")


def test_sources_can_be_replaced_whole():
    recipe = with_overrides(load_recipe("python-docs"), {"sources": {"mine": {"kind": "folder", "path": "books"}}})
    assert {name: (source.kind, source.name) for name, source in recipe.sources.items()} == {"mine": ("folder", "mine")}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"training.stepz": 7}, ["training.stepz", "did you mean training.steps"]),
        ({"trainin.steps": 7}, ["trainin", "did you mean training"]),
        ({"training.steps.more": 7}, ["training.steps.more", "not a group"]),
        ({"training.steps": "many"}, ["training.steps", "many", "whole number"]),
        ({"training.steps": 0}, ["steps is 0", "at least 1"]),
        ({"model": {"width": 128, "heads": 3}}, ["heads is 3", "width is 128", "divide"]),
        ({"split.validation_share": 2}, ["split.validation_share", "2", "less than 1"]),
        ({"cleaning.min_charcters": 2}, ["cleaning.min_charcters", "did you mean cleaning.min_characters"]),
        ({"sources": {}}, ["sources", "at least 1"]),
        ({"sources": {"a": {"kind": "foldr", "path": "x"}}}, ["foldr", "folder", "python-docs"]),
        ({"sources": {"a": {"kind": "folder"}}}, ["path", "required"]),
        ({"nonsense": 1}, ["nonsense", "known here"]),
    ],
)
def test_a_wrong_setting_is_refused_by_name(overrides, words):
    with pytest.raises(RecipeError) as refused:
        with_overrides(load_recipe("python-docs"), overrides)
    for word in words:
        assert word in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "before", ["https://hunter2:pw@", "https://hunter2@", "https://hu:hunter2/x@", "hu:hunter2@", "hu:a hunter2@"]
)
@pytest.mark.parametrize(
    ("field", "source"),
    [
        ("mirror_url", {"kind": "gutenberg", "ids": [1]}),
        ("endpoint", {"kind": "wikipedia"}),
        ("endpoint", {"kind": "huggingface", "id": "a/b"}),
    ],
)
def test_an_address_with_a_password_is_refused_without_showing_it(field, source, before):
    with pytest.raises(RecipeError, match=rf"{field} is .*\.\.\.@host\.example.*without user name") as refused:
        read_recipe({"sources": {"a": source | {field: f"{before}host.example/x"}}}, "a test")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "urls",
    [
        "https://a:hunter2@b.example/",
        ["https://a:hunter2@b.example/"],
        ["a:hunter2@b.example/x"],
        [["https://b.example/?token=hunter2#hunter2"]],
        ["https://b.example/?token=hunter2"],
        ["b.example/?token=hunter2"],
        ["https:/a:hunter2@b.example/"],
        ["https://a:hunter2/x@b.example/"],
        [{"a:hunter2@b.example": 1}],
        [{"url": ["https://b.example/?token=hunter2"]}],
    ],
)
def test_of_wrong_addresses_no_secret_is_shown(urls):
    with pytest.raises(RecipeError, match=r"urls.*b\.example") as refused:
        read_recipe({"sources": {"a": {"kind": "url", "urls": urls}}}, "a test")
    assert "hunter2" not in str(refused.value)


def test_a_recipe_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().name = "other"


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(RecipeError, match=r"nosuch.*python-docs, folder"):
        load_recipe("nosuch")


def test_the_field_list_in_the_docs_is_current():
    page = (PROJECT_ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert page == recipe_page(), "write it anew: python -m flows.recipe_docs > docs/recipe.md"
