"""prefect.yaml as the one place where recipes live: the deployments `pipeline/NAME` hold their values."""

from pathlib import Path
from typing import Any

import yaml

from data.errors import TextmillError
from flows.recipe import Recipe, RecipeError, read_recipe, unknown_name
from tasks.runtime import PROJECT_ROOT

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
