"""The first look of a retraining: is anything new since the last decision? Imports neither Prefect nor torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from data import ending
from data.errors import TextmillError
from data.forgetting.taint import is_tainted
from data.manifest import ArtifactRef
from data.sources.base import SourceConfig
from flows.forgotten import without_forgotten
from flows.recipe import Recipe
from tasks.champions import Champions, Decision, read_champions
from tasks.looking import Looked, look_at, look_once
from tasks.news import news_since, survey
from tasks.run import Run
from tasks.runtime import Runtime
from tasks.secrets import ask_prefect_too

NOTHING = "nothing is new since the last decision"
TAKEN_DOWN = "the champion learnt from text that was taken down since"
UNSEEN = {"name", "sources", "sampling", "evaluation"}  # settings that are no reason to train again

LATER_SETTINGS: Mapping[str, Mapping[str, Any]] = {  # surveys of earlier versions lack them: these values are no news
    "retrain": {"benchmark_margin": 0.01, "min_items": 100},
    "cleaning": {"names": None, "name_labels": ["PER", "PERSON"], "names_in": "all"},
}


@dataclass(frozen=True)
class Glance:
    """The registry, and what has changed since its last decision; nothing was fetched.

    champion  None where there is none, or none any more
    """

    champions: Champions
    champion: ArtifactRef | None
    looked: Looked
    seen: Mapping[str, Any]
    news: list[str]


def glance_at(run: Run, recipe: Recipe, look: Callable[[Run, Mapping[str, SourceConfig]], Looked]) -> Glance:
    """Look at every source (`look` does it), and compare with the last decision."""
    champions = read_champions(run.store.refs, recipe.name)
    sources = recipe.used_sources()
    looked = look(run, sources)
    seen = survey(run, sources, looked, settings_of(recipe))
    news = news_since(champions.seen, seen)
    champion = champions.champion
    if champion and _is_gone(run, champion):
        news.append(f"the champion {champion} is gone from the store")
        champion = None
    elif champion and is_tainted(run.store, champion):
        news.append(TAKEN_DOWN)
    return Glance(champions, champion, looked, seen, news)


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe bears on the model and on the gate, as a survey keeps it."""
    weights = {name: [source.weight, source.max_epochs] for name, source in recipe.used_sources().items()}
    settings = recipe.model_dump(mode="json", exclude=UNSEEN) | {"weights": weights}
    for group, later in LATER_SETTINGS.items():
        for name, value in later.items():
            if settings[group][name] == value:
                del settings[group][name]
    return settings


def _is_gone(run: Run, champion: ArtifactRef) -> bool:
    """Whether the store holds nothing of a champion. Raises TextmillError where it holds a damaged one, which is no
    reason to have another take its place uncompared."""
    store = run.store
    if champion.key in store.find("model", [champion.key]):
        return False
    try:
        store.place(champion)
    except TextmillError:
        return True
    found = next(
        (f"{one.where} {one.problem}" for one in store.verify(champion) if not one.is_observation), "see there"
    )
    raise TextmillError(
        f"{champion}, the champion of {run.recipe_name}, is damaged ({found}), so nothing can be compared with it. "
        f"Restore its files, or `textmill rollback {run.recipe_name}` or `textmill promote REF` to choose another "
        f"champion, or delete {store.address(champion)}: then the next model becomes champion without a comparison."
    )


def idle(recipe: Recipe, runtime: Runtime, tell: Callable[[str], None]) -> dict[str, Any] | None:
    """The summary of a run that finds nothing new, without any flow; None where there is something to do."""
    ask_prefect_too()
    ending.reset()
    run = Run(recipe.name, runtime)
    recipe, notes = without_forgotten(recipe, run.store)
    run.notes += notes

    def look(run: Run, sources: Mapping[str, SourceConfig]) -> Looked:
        return look_at(run, sources, partial(look_once, tell=tell))

    glance = glance_at(run, recipe, look)
    return None if glance.news else summary_of(run, glance.champions, "nothing_new", [NOTHING])


def summary_of(
    run: Run, champions: Champions, outcome: str, reasons: Sequence[str], decision: Decision | None = None
) -> dict[str, Any]:
    """What `--json` prints: the run's summary with outcome, reasons and both models."""
    return run.summary() | {
        "outcome": outcome,
        "reasons": list(reasons),
        "champion": str(champions.champion) if champions.champion else None,
        "challenger": str(champions.challenger) if champions.challenger else None,
        "decision": decision.number if decision else None,
    }
