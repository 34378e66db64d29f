"""What every flow does first: settle the recipe, open the store, sweep what killed runs left."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from prefect import runtime as prefect_runtime
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from data import ending
from data.errors import TextmillError
from data.forgetting.begun import follow
from flows.forgotten import without_forgotten
from flows.recipe import Recipe, with_overrides
from flows.recipes import load_recipe
from tasks.log_bounds import bound_logs
from tasks.progress import watcher
from tasks.registry import Stage
from tasks.run import Run
from tasks.runtime import Runtime, available_cores

DEFAULT_RECIPE = "python-docs"
# Submitted tasks wait for a free thread; a stage never submits more than `runtime.workers` at once.
TASK_RUNNER = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=max(4, available_cores())))


def run_name() -> str:
    """What Prefect calls a run of a flow that takes a recipe: `corpus folder`."""
    recipe: Any = prefect_runtime.flow_run.parameters.get("recipe", "")
    name = recipe.get("name") if isinstance(recipe, dict) else getattr(recipe, "name", recipe)
    return f"{prefect_runtime.flow_run.flow_name} {name}"


def start_run(
    recipe: Recipe | str, overrides: Mapping[str, Any], refresh: Sequence[Stage], until: Stage | None, runtime: Runtime
) -> tuple[Recipe, Run]:
    """The recipe, given whole or by its name in prefect.yaml, with its overrides, and the run that makes it.

    Raises RecipeError before anything is touched.
    """
    recipe = with_overrides(load_recipe(recipe) if isinstance(recipe, str) else recipe, overrides)
    run = open_run(recipe.name, runtime, refresh, until)
    recipe, notes = without_forgotten(recipe, run.store)
    run.notes += notes
    for note in notes:
        watcher().note(note)
    return recipe, run


def open_run(name: str, runtime: Runtime, refresh: Sequence[Stage] = (), until: Stage | None = None) -> Run:
    """A run in a process that is prepared for it, on a store that is swept of what killed builds left.

    Raises TextmillError for a flow run that was started too often, and for settings of `runtime` that cannot work.
    """
    refuse_endless_starts(runtime)
    ending.reset()
    bound_logs()
    run = Run(name, runtime, frozenset(refresh), until)
    run.runner  # noqa: B018 - says what cannot work before anything is built
    for swept in [*run.store.sweep(), *follow(run.store)]:
        watcher().note(f"swept what a killed build left: {swept}")
    return run


def refuse_endless_starts(runtime: Runtime) -> None:
    """Raise TextmillError when this flow run has been started too often: what crashes it will do so again."""
    starts = prefect_runtime.flow_run.run_count
    if starts > runtime.max_starts:
        raise TextmillError(
            f"This flow run was started {starts} times, and runtime.max_starts is {runtime.max_starts}: see in its log "
            f"what crashed it, mend that, then start a new run of the same recipe, which goes on from what was saved."
        )
