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

    The look comes first: Prefect takes longer to start than a look that finds nothing new.
    """
    prepare_prefect()
    quieten_prefect()
    from flows.console import console_watcher
    from flows.glance import idle

    with console_watcher() as watcher:
        if not again and not refresh and (summary := idle(recipe, runtime, watcher.note)) is not None:
            return summary
        from flows.retrain import retrain
        from flows.temporary_server import tie_temporary_server
        from tasks.progress import watch_with

        tie_temporary_server()
        with watch_with(watcher):
            return retrain(recipe=recipe, refresh=list(refresh), runtime=runtime, again=again)
