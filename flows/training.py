"""From token arrays to a judged model: plan, train, evaluate, sample, report. Torch stays in processes of its own."""

from typing import Any

from prefect import flow

from data.errors import TextmillError
from flows.recipe import Recipe
from flows.start import DEFAULT_RECIPE, TASK_RUNNER, run_name, start_run
from tasks.benchmarks import read_all, score_benchmarks
from tasks.continuing import Continuation, continue_training, named_continuation
from tasks.judging import evaluate, sample
from tasks.plan import plan, publish_plan_card
from tasks.prepared import Prepared, newest
from tasks.registry import Stage
from tasks.report import Made, report
from tasks.run import Run
from tasks.run_card import collect_metrics, publish_run_card
from tasks.runtime import Runtime
from tasks.training import Arrays, starting_shape, train


@flow(flow_run_name=run_name, task_runner=TASK_RUNNER, persist_result=False)
def training(
    recipe: str | Recipe = DEFAULT_RECIPE,
    overrides: dict[str, Any] = {},  # noqa: B006 - frozen; Prefect shows it as the form's defaults
    refresh: list[Stage] = [],  # noqa: B006 - the same
    until: Stage | None = None,
    runtime: Runtime = Runtime(),  # noqa: B008 - the same
    continue_from: str | None = None,
    steps: int | None = None,
    rate_share: float | None = None,
) -> dict[str, Any]:
    """Train on the newest corpus of a recipe, as the flow `corpus` left it; no source is looked at.

    With `continue_from` a model of this recipe goes on from its last state. When its run ended before its plan did
    (training.stop_at), the plan goes on, and all parts together give what one run of the plan gives. A finished one is
    extended: the rate rises again and falls over the added steps. Another corpus, tokenizer or plan than the model's is
    refused.

    Args:
        recipe: Name of a recipe of prefect.yaml, or a whole one: everything that changes the result. Its corpus
            settings are taken as they were when the corpus was made.
        overrides: Settings to replace, by dotted name, for example {"training.steps": 200}.
        refresh: Stages to build again even where their artifacts exist.
        until: Last stage to run.
        runtime: Where and how fast; changes no result.
        continue_from: Model to go on from, for example model/abc123.
        steps: How many steps to add to it.
        rate_share: For a finished one, the highest learning rate as a share of its plan's; left out, 0.5.
    """
    whole, run = start_run(recipe, overrides, refresh, until, runtime)
    with run:
        wanted = named_continuation(run, continue_from, steps, rate_share)
        build_model(run, whole, newest(run), wanted)
    return run.summary()


def build_model(run: Run, recipe: Recipe, prepared: Prepared, wanted: Continuation | None = None) -> Made:
    """All stages of a model in their order, or of more steps of one; metrics of the run go to `run.metrics`."""
    arrays = weighted_arrays(recipe, prepared)
    sampling = recipe.sampling.config()
    prompts = recipe.sampling.prompts
    shaped = starting_shape(run, recipe.model, recipe.init_from, arrays.tokenizer)
    planned = plan(run, arrays, recipe.model, recipe.training, recipe.plan, recipe.tokenizer, recipe.name, shaped)
    publish_plan_card(run, planned)
    run.finish("plan")
    benchmarks = read_all(run, recipe.evaluation.placed(recipe.decontamination))  # before hours of training
    if wanted is None:
        model = train(
            run, arrays, planned.model, planned.training, prompts, sampling, recipe.name, planned.ref, recipe.init_from
        )
    else:
        settings = planned.model, planned.training
        model = continue_training(run, wanted, arrays, prompts, sampling, recipe.name, settings)
    tokens = tuple(slot.ref for slot in prepared.tokens)
    run.metrics.update(collect_metrics(run.store, model, None, tokens))
    run.finish("model")
    evaluation = evaluate(run, model, arrays, recipe.evaluation.config(), recipe.name)
    scored = score_benchmarks(run, model, prepared.tokenizer, benchmarks, recipe.name)
    run.metrics.update(collect_metrics(run.store, model, evaluation, tokens, scored))
    run.finish("evaluation")
    samples = sample(run, model, prepared.tokenizer, prompts, sampling, recipe.name)
    run.finish("samples")
    made = Made(
        index=prepared.index,
        documents=tuple(slot.ref for slot in prepared.documents),
        corpus=tuple(slot.ref for slot in prepared.shards),
        tokenizer=prepared.tokenizer,
        tokens=tokens,
        model=model,
        evaluation=evaluation,
        samples=samples,
        overlap=prepared.overlap,
        plan=planned.ref,
        benchmarks=scored,
    )
    page = report(run, made, recipe.model_dump(mode="json"), recipe.name)
    publish_run_card(run, page, made)
    run.finish("report")
    return made


def weighted_arrays(recipe: Recipe, prepared: Prepared) -> Arrays:
    """The arrays of a prepared corpus with the recipe's weights, which act only when batches are drawn."""
    sources = recipe.used_sources()
    weights = {name: source.weight for name, source in sources.items()}
    missing = sorted({slot.source for slot in prepared.tokens} ^ weights.keys())
    if missing:
        raise TextmillError(
            f"The newest corpus of {recipe.name!r} and the recipe differ in the sources {', '.join(missing)}: "
            "run the flow `corpus` or `pipeline` of this recipe first."
        )
    max_epochs = {name: source.max_epochs for name, source in sources.items()}
    return Arrays(prepared.tokens, weights, prepared.tokenizer, max_epochs)
