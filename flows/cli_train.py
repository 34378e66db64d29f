"""The command `train`: more steps for a trained model."""

import json
import time
from typing import Annotated, Any

import typer

from flows.cli_options import Device, JsonAtEnd
from flows.recipe import RecipeError
from flows.recipes import chosen_runtime
from flows.settings import prepare_prefect, quieten_prefect
from tasks.runtime import open_store


def train(
    model: Annotated[str, typer.Option("--continue", metavar="REF", help="Model artifact to go on from.")],
    steps: Annotated[int, typer.Option(metavar="N", help="Steps to add.")],
    rate_share: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="For a finished plan: the highest rate, as a share of the plan's. [default: 0.5]"
        ),
    ] = None,
    device: Device = "auto",
    as_json: JsonAtEnd = False,
) -> None:
    """Train a model further, on the text that it was trained on.

    A run that ended before its plan did (training.stop_at) goes on with that plan: its parts give, on a CPU to
    the last bit, what one run of it gives. A finished run is extended: the rate rises again, and falls over the added
    steps.
    """
    started = time.perf_counter()
    runtime = chosen_runtime(device, offline=False)
    if steps < 1:
        raise RecipeError(f"--steps is {steps}, but at least 1 must be added.")
    if rate_share is not None and not 0 < rate_share <= 1:
        raise RecipeError(f"--rate-share is {rate_share:g}, but it must be above 0 and at most 1.")
    prepare_prefect()
    quieten_prefect()
    from flows.console import console_watcher
    from flows.continuing import continuing
    from flows.temporary_server import tie_temporary_server
    from tasks.progress import watch_with

    tie_temporary_server()
    with console_watcher() as watcher, watch_with(watcher):
        summary = continuing(model=model, steps=steps, rate_share=rate_share, runtime=runtime)
    summary["total_seconds"] = round(time.perf_counter() - started, 3)
    if as_json:
        print(json.dumps(summary, ensure_ascii=False), flush=True)
    else:
        _print_result(summary)


def _print_result(summary: dict[str, Any]) -> None:
    store = open_store(summary["store"])
    made = store.resolve(summary["artifacts"]["model"][-1])
    if summary["metrics"].get("val_bpb") is not None:
        print(f"\nValidation: {summary['metrics']['val_bpb']:.3f} bits per byte")
    print(f"Model:      {made}\nFolder:     {store.address(made)}\nTime:       {summary['total_seconds']:.0f} s")
