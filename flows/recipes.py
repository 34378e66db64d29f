"""prefect.yaml as the one place where recipes live: the deployments `pipeline/NAME` hold their values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from data.errors import TextmillError
from flows.recipe import Recipe, RecipeError, describe, read_recipe, read_setting, unknown_name, with_overrides
from tasks.runtime import PROJECT_ROOT, Runtime

RECIPES_FILE = PROJECT_ROOT / "prefect.yaml"
PIPELINE = "flows.pipeline.pipeline"


def load_deployments(path: Path = RECIPES_FILE) -> list[dict[str, Any]]:
    """The deployments of prefect.yaml as plain values. Raises TextmillError when it cannot be read."""
    try:
        return list(yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise TextmillError(f"{path} cannot be read as a list of deployments: {error}. Restore the file.") from error


def recipe_values(path: Path = RECIPES_FILE) -> dict[str, tuple[str, Any]]:
    """{name: (description, plain values)} of every recipe, in the order of the file."""
    return {
        deployment["name"]: (" ".join(deployment.get("description", "").split()), deployment["parameters"]["recipe"])
        for deployment in load_deployments(path)
        if deployment["entrypoint"] == PIPELINE
    }


def load_recipe(name: str, path: Path = RECIPES_FILE) -> Recipe:
    """The recipe `name`. Raises RecipeError listing the names there are."""
    recipes = recipe_values(path)
    if name not in recipes:
        raise RecipeError(unknown_name(f"recipe in {path.name} called", name, recipes))
    return read_recipe(recipes[name][1], f"recipe {name} of {path.name}")


def chosen_recipe(name: str, path: str | None, settings: Sequence[str]) -> Recipe:
    """The recipe that a command names, with its --path and its --set texts. Raises RecipeError."""
    overrides = [read_setting(text) for text in settings]
    recipe = load_recipe(name)
    if path is not None:
        folders = [key for key, source in recipe.sources.items() if getattr(source, "path", None)]
        if len(folders) != 1:
            count = len(folders) or "none; for a folder of your own: textmill run folder --path PATH"
            raise RecipeError(f"--path is for recipes with one source that has a path; {name} has {count}.")
        try:
            absolute = str(Path(path).expanduser().absolute())
        except RuntimeError as error:  # ~somebody who does not exist
            raise RecipeError(f"--path {path!r} cannot be found: {error}") from error
        overrides = [(f"sources.{folders[0]}.path", absolute), *overrides]
    return with_overrides(recipe, dict(overrides), "--set" if path is None else "--path and --set")


def chosen_runtime(device: str, offline: bool, settings: Sequence[str] = (), **more: Any) -> Runtime:
    """What a command says of where and how to run: `settings` as KEY=JSON, and `more` fields that have options of
    their own. Raises RecipeError for what cannot be."""
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise RecipeError(f"--device is {device!r}, but it must be auto, cpu, cuda or mps.")
    if (runner := more.get("runner", "threads")) not in ("threads", "processes", "dask"):
        raise RecipeError(f"--runner is {runner!r}, but it must be threads, processes or dask.")
    given = dict(read_setting(text, "--runtime") for text in settings)
    for name in given.keys() - Runtime.model_fields.keys():
        raise RecipeError(unknown_name("setting of runtime called", name, Runtime.model_fields))
    try:
        return Runtime.model_validate({"device": device, "offline": offline, **more, **given})
    except ValidationError as error:
        raise RecipeError(f"In --runtime: {describe(error)}") from error
