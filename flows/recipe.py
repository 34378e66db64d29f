"""The recipe: every setting that says what is made from what. Composed of the stage's own configs.

Whatever changes a result stands here and enters the key of the stage that reads it; what only changes speed or place
is `tasks.runtime.Runtime`. Recipes with values live in prefect.yaml, as parameters of the deployments.
"""

import json
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.cleaning import CleanConfig
from data.corpus import SplitConfig
from data.duplicates import DuplicatesConfig
from data.errors import TextmillError
from data.overlap.config import DecontaminationConfig
from data.sources.base import SourceConfig
from data.sources.registry import AnySource
from data.tokenizers.config import TokenizerConfig
from gpt.config import ModelConfig, SamplingConfig, TrainingConfig
from gpt.sizing import PlanConfig
from tasks.evaluation_config import EvaluationRecipe
from tasks.prompts import refuse_marks
from tasks.retrain_config import RetrainConfig


class SamplingRecipe(BaseModel):
    """Prompts that are completed along the way and at the end, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: list[str] = Field(
        ["", "The "],
        min_length=1,
        description="Beginnings to be completed; empty: a new document. With model.objective=masked, [MASK] in a "
        "prompt is a hidden token, [MASK*5] are five, and they are filled in.",
    )
    tokens: int = Field(96, ge=1, le=100_000, description="Tokens of each completion, at most.")
    temperature: float = Field(0.8, ge=0, le=100, description="Divides the logits; 0 always takes the likeliest token.")
    top_k: int = Field(50, ge=0, description="Only the k likeliest tokens may be drawn; 0 means all.")
    top_p: float = Field(1.0, gt=0, le=1, description="Only the likeliest tokens that together reach this probability.")
    seed: int = Field(1, ge=0, description="Seed of the draws.")

    def config(self) -> SamplingConfig:
        return SamplingConfig(self.tokens, self.temperature, self.top_k, self.top_p, self.seed)


class Recipe(BaseModel):
    """Raw text to trained GPT, every setting that changes the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("python-docs", min_length=1, description="Label of everything this recipe makes; enters no key.")
    sources: dict[str, AnySource] = Field(
        default_factory=lambda: {"python-docs": {"kind": "python-docs"}},
        validate_default=True,
        min_length=1,
        description="Where the text comes from, by a name of your choice.",
    )
    cleaning: CleanConfig = Field(default_factory=CleanConfig, description="What is done to each document.")
    decontamination: DecontaminationConfig | None = Field(
        None, description="Text of benchmarks that is kept out of documents; null: they are compared with none."
    )
    duplicates: DuplicatesConfig = Field(
        default_factory=DuplicatesConfig, description="Which documents are dropped as copies of earlier ones."
    )
    split: SplitConfig = Field(default_factory=SplitConfig, description="How text is held out for validation.")
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig, description="How text becomes ids.")
    plan: PlanConfig = Field(
        default_factory=PlanConfig, description="One dial for all numbers that are left open in model and training."
    )
    model: ModelConfig = Field(default_factory=ModelConfig, description="Shape of the model.")
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="How the model is trained.")
    init_from: str | None = Field(
        None,
        description="Earlier model whose weights the training begins with: a reference such as model/abc123, or the "
        "folder of a model, ours or GPT-2's; null: weights drawn by the seed. Needs the same tokenizer and shape.",
    )
    evaluation: EvaluationRecipe = Field(default_factory=EvaluationRecipe, description="How the model is scored.")
    sampling: SamplingRecipe = Field(default_factory=SamplingRecipe, description="What the model is asked to write.")
    retrain: RetrainConfig = Field(
        default_factory=RetrainConfig, description="How a model is trained again as its text grows."
    )

    @model_validator(mode="after")
    def _name_sources(self) -> "Recipe":
        """A source without a name of its own is called by its key."""
        for key, source in self.sources.items():
            if not source.name:
                self.sources[key] = source.model_copy(update={"name": key})
        keys: dict[str, str] = {}
        for key, source in self.sources.items():
            if source.name in keys:
                raise ValueError(
                    f"sources.{keys[source.name]} and sources.{key} are both named {source.name!r}: "
                    "give each a name of its own, or none."
                )
            keys[source.name] = key
        if not self.used_sources():
            raise ValueError("every source has enabled = false: enable at least one of them.")
        return self

    @model_validator(mode="after")
    def _refuse_gaps(self) -> "Recipe":
        """Only a model that fills gaps takes prompts that have some."""
        for prompt in self.sampling.prompts:
            try:
                refuse_marks(prompt, self.model.masked)
            except TextmillError as error:
                raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _place_benchmarks(self) -> "Recipe":
        """Every benchmark has its file here or with those that documents are compared with."""
        try:
            self.evaluation.placed(self.decontamination)
        except TextmillError as error:
            raise ValueError(str(error)) from None
        return self

    def used_sources(self) -> dict[str, SourceConfig]:
        """The sources that are enabled, by name."""
        return {source.name: source for source in self.sources.values() if source.enabled}


class RecipeError(TextmillError):
    """A recipe, override or stage name that cannot be used; the command line ends with code 2."""


def with_overrides(recipe: Recipe, overrides: Mapping[str, Any], where: str = "the overrides") -> Recipe:
    """The recipe with dotted settings replaced, e.g. {"training.steps": 200}.

    Settings of cleaning are laid over those that were given, so that a profile chosen here changes all that was not; a
    group of cleaning that is off is switched on by a setting in it. Raises RecipeError naming the setting, its value
    and what would be right; `where` says where they were given.
    """
    if not overrides:
        return recipe
    values = {**recipe.model_dump(mode="json"), "cleaning": recipe.cleaning.given()}
    for path, value in overrides.items():
        *parents, last = path.split(".")
        at: Any = values
        for depth, part in enumerate(parents):
            if depth and parents[0] == "cleaning" and isinstance(at, dict) and at.get(part) is None:
                at[part] = {}  # off, or not given so far; what is no setting is refused below
            if not isinstance(at, dict) or part not in at:
                raise RecipeError(_unknown(".".join(parents[: depth + 1]), at if isinstance(at, dict) else {}))
            at = at[part]
        if not isinstance(at, dict):
            raise RecipeError(f"{path} cannot be set: {'.'.join(parents)} is {at!r}, not a group of settings.")
        at[last] = value
    return read_recipe(values, where)


def read_recipe(values: Any, where: str) -> Recipe:
    """A recipe from plain values; raises RecipeError with one line for each thing that is wrong."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"In {where}: {describe(error)}") from error


def describe(error: ValidationError) -> str:
    """What a validation found, in one line: each setting, its value, what is wrong, and the nearest known name."""
    return "; ".join(dict.fromkeys(_describe_one(detail) for detail in error.errors()))


_PLAIN = {
    "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_parsing": "it must be a number",
    "bool_parsing": "it must be true or false",
    "string_type": "it must be text",
}


def _describe_one(detail: Any) -> str:
    # pydantic adds the tag of a union (`folder`) and the names of dataclasses to the location: only settings are shown
    where = ".".join(
        _without_secrets(str(part))
        for part in detail["loc"]
        if not (isinstance(part, str) and part.startswith("function-"))
    )
    if detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return _unknown(where, _known(detail["loc"]))
    value = detail["input"]
    shown = "" if isinstance(value, dict) else f" is {json.dumps(_without_secrets(value), default=str)[:80]}:"
    message = _PLAIN.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    return f"{where or 'the recipe'}{shown} {message}"


def _without_secrets(value: Any) -> Any:
    """The value as an error may show it: what may be user name, password or query of an address is blotted out."""
    if isinstance(value, dict):
        return {_without_secrets(name): _without_secrets(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(one) for one in value]
    if not isinstance(value, str):
        return value
    value = re.sub(r"(?s)^(\w+://)?.*@", r"\1...@", value)
    behind = ".*" if "://" in value else ".*=.*"
    return re.sub(f"(?s)([?#]){behind}", r"\1...", value)


def _known(location: tuple[Any, ...]) -> dict[str, Any]:
    """The settings beside the one at `location`, from the default recipe; empty when it has no such place."""
    at: Any = Recipe(cleaning=CleanConfig(profile="web")).model_dump(mode="json")  # its groups are on
    for part in location[:-1]:
        at = at.get(part, {}) if isinstance(at, dict) else {}
    return at if isinstance(at, dict) else {}


def unknown_name(what: str, name: str, known: Collection[str]) -> str:
    """What to say of a name that is none of those known."""
    near = get_close_matches(name, known, 1)
    return f"There is no {what} {name!r}{f'; did you mean {near[0]}?' if near else '.'} There are: {', '.join(known)}."


def _unknown(path: str, known: Mapping[str, Any]) -> str:
    parent, _, name = path.rpartition(".")
    near = get_close_matches(name, known, 1)
    hint = (
        f"did you mean {parent + '.' if parent else ''}{near[0]}?"
        if near
        else f"known here: {', '.join(known) or 'none'}."
    )
    return f"{path} is no setting; {hint}"


def read_setting(text: str, option: str = "--set") -> tuple[str, Any]:
    """A setting as the command line has it, KEY=JSON; what is no JSON is a bare word. Raises RecipeError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"{option} {text!r} is not of the form KEY=JSON, for example training.steps=200.")
    try:
        return key.strip(), json.loads(value)
    except ValueError:
        if value[:1] in '{["':
            raise RecipeError(f"{option} {key}: {value!r} is not valid JSON; quote it for the shell.") from None
        return key.strip(), value  # a bare word
