"""A model that is there, judged anew on the newest corpus of its recipe. Torch stays in processes of its own."""

from typing import Any

from prefect import flow

from flows.models import model_of_recipe, tokenizer_of
from flows.recipe import Recipe, RecipeError
from flows.start import DEFAULT_RECIPE, TASK_RUNNER, run_name, start_run
from flows.training import weighted_arrays
from tasks.benchmarks import read_all, score_benchmarks
from tasks.judging import evaluate, sample
from tasks.prepared import newest
from tasks.registry import Stage
from tasks.run_card import collect_metrics
from tasks.runtime import Runtime


@flow(flow_run_name=run_name, task_runner=TASK_RUNNER, persist_result=False)
def evaluation(
    recipe: str | Recipe = DEFAULT_RECIPE,
    overrides: dict[str, Any] = {},  # noqa: B006 - frozen; Prefect shows it as the form's defaults
    refresh: list[Stage] = [],  # noqa: B006 - the same
    until: Stage | None = None,
    runtime: Runtime = Runtime(),  # noqa: B008 - the same
    model: str | None = None,
) -> dict[str, Any]:
    """Score a model on the newest validation text of a recipe and on benchmarks, and let it write samples.

    Args:
        recipe: Name of a recipe of prefect.yaml, or a whole one; its settings of evaluation and sampling are read.
        overrides: Settings to replace, by dotted name, for example {"sampling.temperature": 0.5}.
        refresh: Stages to build again even where their artifacts exist: evaluation, samples.
        until: Last stage to run: evaluation, samples.
        runtime: Where and how fast; changes no result.
        model: Model to judge, for example model/abc123; left out, the newest one of the recipe.
    """
    whole, run = start_run(recipe, overrides, refresh, until, runtime)
    with run:
        prepared = newest(run)
        judged = model_of_recipe(run.store, whole.name, model)
        trained_with = tokenizer_of(run.store, judged)
        run.use(judged, trained_with)
        if trained_with.digest != prepared.tokenizer.digest:
            raise RecipeError(
                f"{judged} reads {trained_with}, but the newest corpus of {whole.name!r} is encoded with "
                f"{prepared.tokenizer}: run tokenizer/recipe with the override "
                f'{{"tokenizer": {{"kind": "artifact", "artifact": "{trained_with}"}}}}, or name another model.'
            )
        scored = evaluate(run, judged, weighted_arrays(whole, prepared), whole.evaluation.config(), whole.name)
        asked = read_all(run, whole.evaluation.placed(whole.decontamination))
        benchmarks = score_benchmarks(run, judged, trained_with, asked, whole.name)
        tokens = tuple(slot.ref for slot in prepared.tokens)
        run.metrics.update(collect_metrics(run.store, judged, scored, tokens, benchmarks))
        run.finish("evaluation")
        sample(run, judged, trained_with, whole.sampling.prompts, whole.sampling.config(), whole.name)
        run.finish("samples")
    return run.summary()
