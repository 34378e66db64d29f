"""What every flow does first: settle the recipe, open the store, sweep what killed runs left."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.recipe import Recipe, with_overrides
from tasks.progress import watcher
from tasks.registry import Stage
from tasks.run import Run
from tasks.runtime import Runtime, available_cores

# Submitted tasks wait for a free thread; a stage never submits more than `runtime.workers` at once.
TASK_RUNNER = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=max(4, available_cores())))


def start_run(
    recipe: Recipe, overrides: Mapping[str, Any], refresh: Sequence[Stage], until: Stage | None, runtime: Runtime
) -> tuple[Recipe, Run]:
    """The recipe with its overrides, and the run that makes it. Raises RecipeError before anything is touched."""
    recipe = with_overrides(recipe, overrides)
    run = Run(recipe.name, runtime, frozenset(refresh), until)
    for name in run.store.sweep():
        watcher().note(f"swept what a killed build left: {name}")
    return recipe, run
