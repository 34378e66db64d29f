"""Profiles of cleaning: named choices of settings for kinds of text, each of which the user may still change.

A profile says only what differs from the defaults of the settings themselves. What the user gives is laid over it,
group by group: `{profile: web, quality: {gopher: {min_words: 20}}}` keeps everything else of the profile, and a group
given as null is off. What is remembered of a config is what was given, so that another profile can be chosen
afterwards; what enters a key is what came of it, and never the profile's name.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

Profile = Literal["none", "light", "web", "books", "chat", "code"]

PROFILES: dict[Profile, dict[str, Any]] = {
    "none": {"privacy": "off", "non_breaking_spaces": "keep", "max_blank_lines": 1000, "min_characters": 1},
    "light": {"edits": {"invisible": True}},
    "web": {
        "edits": {"invisible": True, "html_leftovers": True},
        "languages": {"wanted": ["en"]},
        "quality": {"repetition": {}, "gopher": {}, "c4": {"unended_lines": None}, "fineweb": {}},
    },
    "books": {"edits": {"invisible": True, "running_heads": True, "page_numbers": True, "hyphenation": True}},
    "chat": {"privacy": "on", "min_characters": 1, "edits": {"invisible": True}},
    "code": {"normalization": "none", "non_breaking_spaces": "keep"},
}
assert tuple(PROFILES) == get_args(Profile)


class Profiled(BaseModel):
    """Settings of which a profile chooses those that are not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Profile = Field(
        "light",
        description="What is taken where this group says nothing: settings for a kind of text, listed in "
        "[cleaning.md](cleaning.md).",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _lay_over_profile(cls, values: Any, handler: ModelWrapValidatorHandler["Profiled"]) -> "Profiled":
        if not isinstance(values, Mapping):
            return handler(values)
        name = values.get("profile", "light")
        settings = PROFILES.get(name, {}) if isinstance(name, str) else {}  # type: ignore[call-overload]
        made = handler(_laid_over(settings, values))
        _remember(made, values)
        return made

    def given(self) -> dict[str, Any]:
        """The settings as they were given, without what the profile and the defaults added; JSON-able."""
        return self.model_dump(mode="json", exclude_unset=True)


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the values of `above` in their places; groups in both are laid over each other, too."""
    both = {
        name: _laid_over(below[name], value)
        if isinstance(value, Mapping) and isinstance(below.get(name), Mapping)
        else value
        for name, value in above.items()
    }
    return {**below, **both}


def _remember(model: BaseModel, given: Mapping[str, Any]) -> None:
    """Let pydantic take just the settings in `given` for set, here and in the groups below."""
    object.__setattr__(model, "__pydantic_fields_set__", set(given))
    for name, value in given.items():
        group = getattr(model, name)
        if isinstance(group, BaseModel) and isinstance(value, Mapping):
            _remember(group, value)
