"""Commands that look into the store: ls, show, why, verify. They import neither Prefect nor torch."""

from typing import Annotated, Any

import typer

from data.forgetting.taint import tainted
from data.manifest import ArtifactRef, Manifest
from data.store import Store
from data.verification import OBSERVED
from flows.recipe import RecipeError, unknown_name
from flows.sizes import size
from tasks.champions import resolve
from tasks.misses import brief, changed_fields, nearest_to
from tasks.registry import STAGES
from tasks.runtime import open_store

RefArgument = Annotated[
    str, typer.Argument(metavar="REF", help="stage/name-key, the beginning of a key, or champion:NAME.")
]


def list_artifacts(
    stage: Annotated[str | None, typer.Argument(metavar="[STAGE]", help="One stage; all if left out.")] = None,
    only_tainted: Annotated[
        bool, typer.Option("--tainted", help="Only what learnt from text that was forgotten since, and why.")
    ] = False,
) -> None:
    """List artifacts, oldest first within a stage."""
    if stage is not None and stage not in STAGES:
        raise RecipeError(unknown_name("stage", stage, STAGES))
    store = open_store()
    if only_tainted:
        for mark in tainted(store):
            if stage in (None, mark.ref.stage):
                print(f"{mark.date[:19]}  {mark.ref}  {mark.reason}")
        return
    stages = [stage] if stage else [one for one in STAGES if one in store.stages()]
    for one in stages:
        for manifest in store.manifests(one):
            total = sum(entry.bytes for entry in manifest.files.values())
            print(f"{manifest.created[:19]}Z  {size(total):>9}  {manifest.ref}")


def show(ref: RefArgument) -> None:
    """Show an artifact: recipe, counts, files, and what it was made from."""
    store = open_store()
    manifest = store.manifest(resolve(store, ref))
    print(manifest.ref)
    print(f"  at       {store.address(manifest.ref)}")
    print(f"  created  {manifest.created}, by textmill {manifest.textmill}")
    print(f"  payload  {manifest.payload_digest}")
    for mark in tainted(store):
        if mark.ref.key == manifest.key:
            print(f"  tainted  since {mark.date[:19]}: {mark.reason}")
    for title, values in (
        ("recipe", _flat(manifest.recipe.config)),
        ("libraries", manifest.recipe.libraries),
        ("counts", manifest.counts),
        ("details", _flat(manifest.details)),
        ("files", {path: f"{entry.bytes:,} bytes  {entry.sha256[:12]}" for path, entry in manifest.files.items()}),
    ):
        if values:
            print(f"  {title}")
            for name, value in values.items():
                print(f"    {name:<28} {value}")
    for title, lines in (("licences", manifest.licences), ("notes", manifest.notes)):
        for line in lines:
            print(f"  {title:<9}{line}")
    print("  lineage")
    _print_lineage(store, manifest, "    ", set())


def _print_lineage(store: Store, manifest: Manifest, indent: str, seen: set[str]) -> None:
    for text in manifest.inputs:
        print(f"{indent}{text}{' (see above)' if text in seen else ''}")
        if text not in seen:
            seen.add(text)
            parent = _find(store, text)
            if parent is None:
                print(f"{indent}  no longer in the store")
            else:
                _print_lineage(store, parent, indent + "  ", seen)


def why(
    one: RefArgument,
    other: Annotated[str | None, typer.Argument(metavar="[REF]", help="Left out: the nearest before it.")] = None,
) -> None:
    """Say which part of the recipe makes two artifacts different, or why one was not found among those before it."""
    store = open_store()
    if other is None:
        second = store.manifest(resolve(store, one))
        before = [m for m in store.manifests(second.recipe.stage, [second.name]) if m.created < second.created]
        if not before:
            print(f"{second.ref} was the first of its name: there was nothing that it could have reused.")
            return
        first = nearest_to(second.recipe, before)[0]
    else:
        first, second = (store.manifest(resolve(store, text)) for text in (one, other))
    if first.recipe.stage != second.recipe.stage:
        raise RecipeError(f"{first.ref} and {second.ref} are of different stages; name two of one stage.")
    print(f"{first.ref}\n{second.ref}")
    if first.key == second.key:
        print("are the same artifact.")
        return
    _explain(store, first, second, "  ", set())


def _explain(store: Store, first: Manifest, second: Manifest, indent: str, seen: set[tuple[str, str]]) -> None:
    """Print differing fields, settings before digests, then, for inputs that differ, what makes those different."""
    for path, left, right in changed_fields(first.recipe, second.recipe):
        print(f"{indent}{path}: {brief(left)} -> {brief(right)}")
    for left_input, right_input in _paired(first.inputs, second.inputs):
        if left_input == right_input or (left_input, right_input) in seen:
            continue
        seen.add((left_input, right_input))
        left_manifest, right_manifest = _find(store, left_input), _find(store, right_input)
        print(f"{indent}{left_input} -> {right_input}")
        if left_manifest is not None and right_manifest is not None:
            _explain(store, left_manifest, right_manifest, indent + "  ", seen)


def _paired(first: list[str], second: list[str]) -> list[tuple[str, str]]:
    """Inputs of both sides that are of the same stage and name, in order of the first."""
    by_label = {text.rpartition("-")[0]: text for text in second}
    return [(text, by_label[label]) for text in first if (label := text.rpartition("-")[0]) in by_label]


def verify(
    ref: Annotated[str | None, typer.Argument(metavar="[REF]", help="One artifact; all if left out.")] = None,
) -> int:
    """Hash every file of one artifact or of all; exit code 1 and the names of what is damaged."""
    store = open_store()
    wanted: ArtifactRef | None = resolve(store, ref) if ref else None
    damages = list(store.verify(wanted))
    for damage in damages:
        print(f"damaged: {damage.ref}: {damage.where} {damage.problem}")
    if damages:
        if any(not damage.is_observation for damage in damages):
            print(store.MENDING)
        if any(damage.is_observation for damage in damages):
            print(f"What lies in {OBSERVED}/ tells of the build; no result depends on it, so it may stay as it is.")
        return 1
    count = 1 if wanted else sum(1 for _ in store.manifests())
    if not count:
        print(f"The store {store.where} holds no artifact.")
        return 0
    print(f"{count} artifact{'s' if count != 1 else ''} verified, every file as it was published.")
    return 0


def _find(store: Store, text: str) -> Manifest | None:
    stage, _, label = text.partition("/")
    ref = store.find(stage, [label.rpartition("-")[2]])
    return store.manifest(next(iter(ref.values()))) if ref else None


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for name, item in value.items():
        found |= _flat(item, f"{prefix}.{name}" if prefix else str(name))
    return found
