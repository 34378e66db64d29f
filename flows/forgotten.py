"""Recipes in a store from which a source was forgotten whole: it is left out."""

from data.forgetting.tombstones import read_tombstones
from data.sources.known import source_id
from data.store import Store
from flows.recipe import Recipe, RecipeError


def without_forgotten(recipe: Recipe, store: Store) -> tuple[Recipe, list[str]]:
    """The recipe without the sources of which all was forgotten in `store`, and what to say of it.

    Raises RecipeError when that leaves none.
    """
    changed, notes = {}, []
    for key, source in recipe.sources.items():
        if source.enabled and (date := read_tombstones(store.refs, source_id(source)).whole):
            notes.append(f"{source.name}: left out, as all of it was forgotten on {date[:10]}.")
            changed[key] = source.model_copy(update={"enabled": False})
    if changed and len(changed) == len(recipe.used_sources()):
        raise RecipeError(
            f"All sources of the recipe {recipe.name!r} were forgotten in {store.where}: name another source, or "
            "another store."
        )
    left = recipe.model_copy(update={"sources": {**recipe.sources, **changed}}) if changed else recipe
    return left, notes
