"""The command `retrain`: look for new text, train where there is any, and let the gate decide."""

import json
import time
from typing import Annotated, Any

import typer

from flows.in_process import run_retrain
from flows.recipe import RecipeError, unknown_name
from flows.recipes import chosen_recipe, chosen_runtime
from tasks.registry import STAGES, Stage


def retrain(
    name: Annotated[str, typer.Argument(help="Recipe of prefect.yaml; `textmill recipes` lists them.")],
    path: Annotated[str | None, typer.Option(help="Folder of your texts: for folder, discord, reddit.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=JSON", help="Replace a setting, e.g. retrain.margin=0.02. Repeatable."),
    ] = None,
    refresh: Annotated[list[str] | None, typer.Option(metavar="STAGE", help="Build a stage again. Repeatable.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Train and decide also when nothing is new.")] = False,
    device: Annotated[str, typer.Option(help="Where the model runs: auto, cpu, cuda or mps.")] = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network; use what is there.")] = False,
    runner: Annotated[str, typer.Option(help="Where slots are worked on: threads, processes or dask.")] = "threads",
    dask_address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Scheduler for --runner dask; left out: a cluster of this machine."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--runtime", metavar="KEY=JSON", help="Other settings of runtime, e.g. workers=2. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End stdout with one line of JSON.")] = False,
) -> None:
    """Train a recipe's model again where its sources hold anything new; the gate decides whether it becomes champion.

    The first model of a recipe becomes champion as it is. `textmill models NAME` shows all decisions.
    """
    started = time.perf_counter()
    stages = [_stage(stage) for stage in refresh or []]
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


def _stage(text: str) -> Stage:
    for stage in STAGES:
        if stage == text:
            return stage
    raise RecipeError(unknown_name("stage", text, STAGES))
