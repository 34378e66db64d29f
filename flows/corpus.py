"""From sources to token arrays: look, fetch, clean, deduplicate, split, compare both sides, train the tokenizer,
encode. No torch.
"""

from typing import Any

from prefect import flow

from flows.recipe import Recipe
from flows.start import DEFAULT_RECIPE, TASK_RUNNER, run_name, start_run
from tasks.cleaning import clean
from tasks.corpus import split
from tasks.corpus_card import publish_corpus_card
from tasks.duplicates import find_duplicates
from tasks.encoding import choose_tokenizer, encode
from tasks.events import tell
from tasks.looking import Looked
from tasks.overlap import measure_overlap
from tasks.prepared import Prepared, newest_index, remember
from tasks.registry import Stage
from tasks.run import Run
from tasks.runtime import Runtime
from tasks.sources import fetch


@flow(flow_run_name=run_name, task_runner=TASK_RUNNER, persist_result=False)
def corpus(
    recipe: str | Recipe = DEFAULT_RECIPE,
    overrides: dict[str, Any] = {},  # noqa: B006 - frozen; Prefect shows it as the form's defaults
    refresh: list[Stage] = [],  # noqa: B006 - the same
    until: Stage | None = None,
    runtime: Runtime = Runtime(),  # noqa: B008 - the same
) -> dict[str, Any]:
    """Bring a corpus up to date, from its sources to token arrays, and note it as the newest of its recipe.

    When that is another corpus than before, the event `corpus.updated` says so, and may start what comes after.

    Args:
        recipe: Name of a recipe of prefect.yaml, or a whole one: everything that changes the result.
        overrides: Settings to replace, by dotted name, for example {"split.validation_share": 0.1}.
        refresh: Stages to build again even where their artifacts exist.
        until: Last stage to run.
        runtime: Where and how fast; changes no result.
    """
    whole, run = start_run(recipe, overrides, refresh, until, runtime)
    before = newest_index(run)
    with run:
        build_corpus(run, whole)
    after = newest_index(run)
    if after is not None and (before is None or after.digest != before.digest):
        tell("corpus.updated", whole.name, corpus=str(after), before=str(before or ""))
    return run.summary()


def build_corpus(run: Run, recipe: Recipe, looked: Looked | None = None) -> Prepared:
    """All stages of a corpus in their order; `looked` is the look at its sources that the run has taken already."""
    sources = recipe.used_sources()
    raw = fetch(run, sources, looked)
    copies = recipe.duplicates
    documents = clean(run, raw, sources, recipe.cleaning, copies.near, recipe.decontamination, copies.lines)
    drops = find_duplicates(run, documents, copies)
    shards, index = split(run, documents, drops, recipe.split, recipe.name, copies.lines)
    publish_corpus_card(run, documents, drops, shards, index)
    run.finish("corpus")
    overlap = measure_overlap(run, documents, drops, shards, index, recipe.name)
    tokenizer = choose_tokenizer(run, shards, recipe.tokenizer, recipe.name)
    tokens = encode(run, shards, tokenizer)
    prepared = Prepared(tuple(documents), tuple(shards), index, tokenizer, tuple(tokens), overlap)
    remember(run, prepared)
    run.finish("tokens")
    return prepared
