"""Finding the model that a command is about, and the tokenizer that it was trained with."""

from data.errors import TextmillError
from data.manifest import ArtifactRef, safe_name
from data.store import Store
from flows.recipe import RecipeError
from tasks.champions import resolve


def find_model(store: Store, reference: str | None) -> ArtifactRef:
    """The model artifact that `reference` names (also `champion:NAME`), the newest if it is None.

    Raises TextmillError when there is none.
    """
    if reference is None:
        models = list(store.manifests("model"))
        if not models:
            raise TextmillError(f"There is no model in {store.where} yet: `textmill run python-docs` trains one.")
        return models[-1].ref
    ref = resolve(store, reference)
    if ref.stage != "model":
        raise RecipeError(f"{ref} is no model; `textmill ls model` lists them.")
    return ref


def model_of_recipe(store: Store, name: str, reference: str | None) -> ArtifactRef:
    """The model that `reference` names, the newest of the recipe `name` if it is None; raises as `find_model` does."""
    if reference is not None:
        return find_model(store, reference)
    models = [manifest.ref for manifest in store.manifests("model", [safe_name(name)])]
    if not models:
        raise TextmillError(f"There is no model of recipe {name!r} in {store.where} yet: run training/recipe first.")
    return models[-1]


def tokenizer_of(store: Store, model: ArtifactRef) -> ArtifactRef:
    """The tokenizer artifact that a model was trained with."""
    for text in store.manifest(model).inputs:
        if text.startswith("tokenizer/"):
            return store.resolve(text)
    raise TextmillError(f"{model} names no tokenizer among its inputs: train it again.")
