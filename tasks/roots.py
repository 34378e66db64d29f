"""What `textmill gc` keeps: whatever runs in progress, champions, newest corpora and slots and last runs go back to.

The roots are read in an order that misses nothing while runs go on; see data/housekeeping/usage.py.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data.housekeeping.collecting import Root
from data.housekeeping.lineage import Lineage, Place
from data.housekeeping.usage import RunRecord, ended_runs, runs_in_progress
from data.manifest import ArtifactRef, safe_name
from data.refs import Refs
from data.sources.known import known_sources
from data.store import Store
from tasks.champions import all_champions
from tasks.prepared import POINTERS
from tasks.registry import STAGES

SHOWING = ("evaluation", "samples", "report")  # stages that tell of a model, and stay with a champion


def roots(
    store: Store, lineage: Lineage, keep_runs: int, named: Mapping[str, Sequence[Place]] | None = None
) -> list[Root]:
    """All that stays, in the order in which it is shown.

    keep_runs  how many of the last runs of each recipe: so many that came to a model, and so many others
    named      what settings name, by the words that say where
    """
    running = [
        Root(f"in progress: {run.recipe}, {run.process}, since {run.began[:19]}", _places(run.keys))
        for run in runs_in_progress(store)
    ]
    ended = list(_last_runs(ended_runs(store), lineage, keep_runs))
    found = [*running, *_champions(store, lineage), *_corpora(store.refs), *_slots(store.refs), *ended]
    found += [Root(f"named by {where}", tuple(places)) for where, places in (named or {}).items()]
    return found


def _champions(store: Store, lineage: Lineage) -> Iterator[Root]:
    def with_what_tells(*models: ArtifactRef) -> tuple[Place, ...]:
        telling = lineage.made_from((model.key for model in models), SHOWING)
        return _refs(*models, *(one.ref for one in telling))

    for one in all_champions(store.refs):
        if one.champion:
            yield Root(f"champion of {one.recipe}: {one.champion}", with_what_tells(one.champion))
        if one.challenger:
            yield Root(f"challenger of {one.recipe}: {one.challenger}", with_what_tells(one.challenger))
        if before := one.line[:-1]:
            yield Root(f"earlier champions of {one.recipe}, which rollback reaches", with_what_tells(*before))


def _corpora(refs: Refs) -> Iterator[Root]:
    for name in refs.names(POINTERS):
        if value := refs.read(name).value:
            yield Root(f"newest corpus of {name.partition('/')[2]}", tuple(sorted(set(_refs_in(value)))))


def _refs_in(value: Any) -> Iterator[Place]:
    """Stage and key of every reference in a JSON value."""
    if isinstance(value, dict):
        if {"stage", "key"} <= value.keys():
            yield str(value["stage"]), str(value["key"])
        else:
            value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _refs_in(one)


def _slots(refs: Refs) -> Iterator[Root]:
    for source in known_sources(refs):
        if fetched := refs.read(f"fetched/{source.id}").value:
            yield Root(f"newest slots of {source}", tuple(("raw", key) for key in sorted(fetched.values())))


def _last_runs(ended: Sequence[RunRecord], lineage: Lineage, keep_runs: int) -> Iterator[Root]:
    """The last runs of each recipe, and where fewer are noted that came to a model, models that were made before."""
    by_recipe: dict[str, list[RunRecord]] = defaultdict(list)
    for run in ended:
        by_recipe[run.recipe].append(run)
    noted = {key for run in ended for key in run.keys.get("model", ())}
    older: dict[str, list[ArtifactRef]] = defaultdict(list)
    for manifest in lineage.manifests.values():
        if manifest.recipe.stage == "model" and manifest.key not in noted:
            older[manifest.name].append(manifest.ref)
    labels = {safe_name(recipe): recipe for recipe in by_recipe}
    for recipe in sorted({*by_recipe, *(label for label in older if label not in labels)}):
        runs = by_recipe[recipe]
        trained, others = ([run for run in runs if run.trained is kind] for kind in (True, False))
        for which in (_last(trained, keep_runs), _last(others, keep_runs)):
            yield from (Root(_words(run), _places(run.keys)) for run in which)
        if models := _last(older[safe_name(recipe)], keep_runs - len(trained)):
            telling = lineage.made_from((model.key for model in models), SHOWING)
            places = _refs(*models, *(one.ref for one in telling))
            yield Root(f"newest models of {recipe} that no run is noted for", places)


def _last(some: list[Any], count: int) -> list[Any]:
    """The last `count`, newest first."""
    return some[::-1][: max(0, count)]


def _words(run: RunRecord) -> str:
    last = max(run.keys, key=lambda stage: STAGES.index(stage) if stage in STAGES else -1)
    return f"run of {run.recipe} until {run.said[:19]}, {run.outcome} at {last}"


def _places(keys: Mapping[str, Sequence[str]]) -> tuple[Place, ...]:
    return tuple((stage, key) for stage, found in keys.items() for key in found)


def _refs(*refs: ArtifactRef) -> tuple[Place, ...]:
    return tuple((ref.stage, ref.key) for ref in refs)
