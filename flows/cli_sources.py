"""`textmill sources`: the kinds of sources, what each needs, whose its text is, and how it stands in a recipe."""

import json
from typing import Annotated

import typer

from data.sources.registry import source_kinds
from flows.recipe import RecipeError
from flows.recipes import recipe_values


def list_sources(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="One kind; all if left out.")] = None,
) -> None:
    """List the kinds of sources: what each needs, a note on rights, recipes, and an example."""
    kinds = source_kinds()
    if kind is not None and kind not in kinds:
        raise RecipeError(f"There is no source kind {kind!r}; there are: {', '.join(kinds)}.")
    recipes: dict[str, list[str]] = {}
    for name, (_, values) in recipe_values().items():
        for source in values["sources"].values():
            recipes.setdefault(source["kind"], []).append(name)
    for one in [kind] if kind else kinds:
        config = kinds[one]
        print(one)
        print(f"  {' '.join((config.__doc__ or '').split())}")
        for title, text in (
            ("needs", config.needs),
            ("rights", config.rights),
            ("recipes", ", ".join(dict.fromkeys(recipes.get(one, [])))),
            ("example", json.dumps({"kind": one, **config.example}, ensure_ascii=False)),
        ):
            print(f"  {title:<8}{text or '-'}")
    print("\nUse one in any recipe: --set 'sources={\"NAME\": EXAMPLE}'. Every setting: docs/recipe.md.")
