"""The whole story: raw text in, trained and judged GPT out."""

from typing import Any

from prefect import flow

from flows.corpus import build_corpus
from flows.recipe import Recipe
from flows.start import TASK_RUNNER, start_run
from flows.training import build_model
from tasks.registry import Stage
from tasks.runtime import Runtime


@flow(flow_run_name="pipeline {recipe.name}", task_runner=TASK_RUNNER, persist_result=False)
def pipeline(
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen; Prefect shows it as the form's defaults
    overrides: dict[str, Any] = {},  # noqa: B006 - the same
    refresh: list[Stage] = [],  # noqa: B006 - the same
    until: Stage | None = None,
    runtime: Runtime = Runtime(),  # noqa: B008 - the same
) -> dict[str, Any]:
    """Text in, trained GPT with samples, evaluation and report out. What is already there is reused.

    Args:
        recipe: Everything that changes the result.
        overrides: Settings to replace, by dotted name, for example {"training.steps": 200}.
        refresh: Stages to build again even where their artifacts exist, and whatever depends on changed bytes.
        until: Last stage to run.
        runtime: Where and how fast; changes no result.
    """
    recipe, run = start_run(recipe, overrides, refresh, until, runtime)
    with run:
        prepared = build_corpus(run, recipe)
        build_model(run, recipe, prepared)
    return run.summary()
