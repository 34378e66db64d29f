"""Running a recipe in this process, as the commands do: Prefect's settings, its temporary server, live progress."""

from collections.abc import Sequence
from typing import Any

from flows.recipe import Recipe
from flows.settings import prepare_prefect, quieten_prefect
from tasks.registry import Stage
from tasks.runtime import Runtime


def run_pipeline(recipe: Recipe, runtime: Runtime, refresh: Sequence[Stage], until: Stage | None) -> dict[str, Any]:
    """Run the flow `pipeline` and return its summary. Imports Prefect, which takes seconds, only now."""
    prepare_prefect()
    quieten_prefect()
    from flows.console import console_watcher
    from flows.pipeline import pipeline
    from flows.temporary_server import tie_temporary_server
    from tasks.progress import watch_with

    tie_temporary_server()
    with console_watcher() as watcher, watch_with(watcher):
        return pipeline(recipe=recipe, refresh=list(refresh), until=until, runtime=runtime)


def run_retrain(recipe: Recipe, runtime: Runtime, refresh: Sequence[Stage], again: bool) -> dict[str, Any]:
    """Run the flow `retrain` and return its summary.

    Without a server of Prefect's the look comes first: a temporary one takes longer to start than a look that finds
    nothing new.
    """
    prepare_prefect()
    quieten_prefect()
    from prefect.settings import PREFECT_API_URL

    from flows.console import console_watcher
    from flows.retrain import idle, retrain
    from flows.temporary_server import tie_temporary_server
    from tasks.progress import watch_with

    with console_watcher() as watcher, watch_with(watcher):
        if not PREFECT_API_URL.value() and not again and (summary := idle(recipe, runtime)) is not None:
            return summary
        tie_temporary_server()
        return retrain(recipe=recipe, refresh=list(refresh), runtime=runtime, again=again)
