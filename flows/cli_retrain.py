"""The command `retrain`: look for new text, train where there is any, and let the gate decide."""

import json
import time
from typing import Annotated, Any

import typer

from flows.cli_options import (
    DaskAddress,
    Device,
    Folder,
    JsonAtEnd,
    Offline,
    RecipeName,
    Refresh,
    Runner,
    RuntimeSettings,
    set_option,
    stage_called,
)
from flows.in_process import run_retrain
from flows.recipes import chosen_recipe, chosen_runtime


def retrain(
    name: RecipeName,
    path: Folder = None,
    settings: Annotated[list[str] | None, set_option("retrain.margin=0.02")] = None,
    refresh: Refresh = None,
    again: Annotated[bool, typer.Option("--again", help="Train and decide also when nothing is new.")] = False,
    device: Device = "auto",
    offline: Offline = False,
    runner: Runner = "threads",
    dask_address: DaskAddress = None,
    where: RuntimeSettings = None,
    as_json: JsonAtEnd = False,
) -> None:
    """Train a recipe's model again where its sources hold anything new; the gate decides whether it becomes champion.

    The first model of a recipe becomes champion as it is. `textmill models NAME` shows all decisions.
    """
    started = time.perf_counter()
    stages = [stage_called(stage) for stage in refresh or []]
    recipe = chosen_recipe(name, path, settings or [])
    runtime = chosen_runtime(device, offline, where or [], runner=runner, dask_address=dask_address)
    summary = run_retrain(recipe, runtime, stages, again)
    summary["total_seconds"] = round(time.perf_counter() - started, 3)
    if as_json:
        print(json.dumps(summary, ensure_ascii=False), flush=True)
        return
    _print_result(name, summary)


def _print_result(name: str, summary: dict[str, Any]) -> None:
    words = {"nothing_new": "Nothing new", "promoted": "Promoted", "kept": "Kept the champion"}
    print(f"\n{words[summary['outcome']]}:")
    for reason in summary["reasons"]:
        print(f"  {reason}")
    print(f"Champion:   {summary['champion'] or 'none'}")
    if summary["challenger"]:
        print(f"Challenger: {summary['challenger']}")
    print(f"Decisions:  textmill models {name}\nTime:       {summary['total_seconds']:.0f} s")
