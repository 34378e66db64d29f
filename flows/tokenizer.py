"""Another tokenizer for a corpus that is there: choose it, encode, and note both as the newest. No torch."""

from dataclasses import replace
from typing import Any

from prefect import flow

from flows.recipe import Recipe
from flows.start import DEFAULT_RECIPE, TASK_RUNNER, run_name, start_run
from tasks.encoding import choose_tokenizer, encode
from tasks.prepared import newest, remember
from tasks.registry import Stage
from tasks.runtime import Runtime


@flow(flow_run_name=run_name, task_runner=TASK_RUNNER, persist_result=False)
def tokenizer(
    recipe: str | Recipe = DEFAULT_RECIPE,
    overrides: dict[str, Any] = {},  # noqa: B006 - frozen; Prefect shows it as the form's defaults
    refresh: list[Stage] = [],  # noqa: B006 - the same
    until: Stage | None = None,
    runtime: Runtime = Runtime(),  # noqa: B008 - the same
) -> dict[str, Any]:
    """Give the newest corpus of a recipe its tokenizer and token arrays; no source is looked at, no text is cleaned.

    Args:
        recipe: Name of a recipe of prefect.yaml, or a whole one; only its tokenizer's settings are read.
        overrides: Settings to replace, by dotted name, for example {"tokenizer.vocab_size": 8192}.
        refresh: Stages to build again even where their artifacts exist: tokenizer, tokens.
        until: Last stage to run: tokenizer, tokens.
        runtime: Where and how fast; changes no result.
    """
    whole, run = start_run(recipe, overrides, refresh, until, runtime)
    with run:
        prepared = newest(run)
        made = choose_tokenizer(run, prepared.shards, whole.tokenizer, whole.name)
        tokens = encode(run, prepared.shards, made)
        remember(run, replace(prepared, tokenizer=made, tokens=tuple(tokens)))
        run.finish("tokens")
    return run.summary()
