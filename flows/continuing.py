"""More steps for a trained model, on the very arrays that it was trained on: no recipe, no source, no corpus stage."""

from typing import Any

from prefect import flow

from flows.start import TASK_RUNNER, open_run
from gpt.config import EvaluationConfig, SamplingConfig
from tasks.continuing import continue_training, named_continuation, trained_arrays
from tasks.judging import evaluate, sample
from tasks.run_card import collect_metrics
from tasks.runtime import Runtime


@flow(flow_run_name="continuing {model}", task_runner=TASK_RUNNER, persist_result=False)
def continuing(
    model: str,
    steps: int,
    rate_share: float | None = None,
    runtime: Runtime = Runtime(),  # noqa: B008 - frozen; Prefect shows it as the form's defaults
) -> dict[str, Any]:
    """Train a model further and judge the result. What is already there is reused.

    Args:
        model: Model to go on from, for example model/abc123.
        steps: How many steps to add; of a plan that is not finished, at most those that are left.
        rate_share: For a finished one, the highest learning rate as a share of its plan's; left out, 0.5.
        runtime: Where and how fast; changes no result.
    """
    run = open_run("continuing", runtime)
    with run:
        wanted = named_continuation(run, model, steps, rate_share)
        assert wanted is not None
        manifest = run.store.manifest(wanted.model)
        run.recipe_name = manifest.name
        arrays, sampling = trained_arrays(run, wanted.model), SamplingConfig()
        prompts = manifest.details.get("prompts") or [""]
        made = continue_training(run, wanted, arrays, prompts, sampling, manifest.name)
        evaluation = evaluate(run, made, arrays, EvaluationConfig(), manifest.name)
        sample(run, made, arrays.tokenizer, prompts, sampling, manifest.name)
        run.metrics.update(collect_metrics(run.store, made, evaluation, tuple(slot.ref for slot in arrays.slots)))
    return run.summary()
