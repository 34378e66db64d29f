"""From sources to token arrays: look, fetch, clean, deduplicate, split, compare both sides, train the tokenizer,
encode. No torch.
"""

from typing import Any

from prefect import flow

from flows.recipe import Recipe
from flows.start import TASK_RUNNER, start_run
from tasks.cleaning import clean
from tasks.corpus import split
from tasks.corpus_card import publish_corpus_card
from tasks.duplicates import find_duplicates
from tasks.encoding import choose_tokenizer, encode
from tasks.overlap import measure_overlap
from tasks.prepared import Prepared, remember
from tasks.registry import Stage
from tasks.run import Run
from tasks.runtime import Runtime
from tasks.sources import fetch


@flow(flow_run_name="corpus {recipe.name}", task_runner=TASK_RUNNER, persist_result=False)
def corpus(
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen; Prefect shows it as the form's defaults
    overrides: dict[str, Any] = {},  # noqa: B006 - the same
    refresh: list[Stage] = [],  # noqa: B006 - the same
    until: Stage | None = None,
    runtime: Runtime = Runtime(),  # noqa: B008 - the same
) -> dict[str, Any]:
    """Bring a corpus up to date, from its sources to token arrays, and note it as the newest of its recipe.

    Args:
        recipe: Everything that changes the result.
        overrides: Settings to replace, by dotted name, for example {"split.validation_share": 0.1}.
        refresh: Stages to build again even where their artifacts exist.
        until: Last stage to run.
        runtime: Where and how fast; changes no result.
    """
    recipe, run = start_run(recipe, overrides, refresh, until, runtime)
    with run:
        build_corpus(run, recipe)
    return run.summary()


def build_corpus(run: Run, recipe: Recipe) -> Prepared:
    """All stages of a corpus in their order."""
    sources = recipe.used_sources()
    raw = fetch(run, sources)
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
