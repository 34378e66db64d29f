"""The command `plan`: a recipe's numbers before anything is trained, and where each came from."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer

from flows.cli_options import Device, Folder, Offline, RecipeName, set_option
from flows.in_process import run_pipeline
from flows.recipes import chosen_recipe, chosen_runtime
from tasks.runtime import open_store


def plan(
    name: RecipeName,
    path: Folder = None,
    settings: Annotated[list[str] | None, set_option("plan.minutes=5")] = None,
    device: Device = "auto",
    offline: Offline = False,
    again: Annotated[bool, typer.Option("--again", help="Make the plan again; minutes are timed anew.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as one line of JSON.")] = False,
) -> None:
    """Run a recipe up to its plan, and show the plan: every number and where it came from."""
    recipe = chosen_recipe(name, path, settings or [])
    runtime = chosen_runtime(device, offline)
    summary = run_pipeline(recipe, runtime, ["plan"] if again else [], "plan")
    from tasks.plan import read_plan  # Prefect is there by now
    from tasks.plan_table import rows

    store = open_store(summary["store"])
    content = read_plan(store, store.resolve(summary["artifacts"]["plan"][0]))
    if as_json:
        print(json.dumps(content, ensure_ascii=False), flush=True)
        return
    print(_aligned(rows(content)))
    for note in summary["notes"]:
        print(f"note: {note}")


def _aligned(lines: Sequence[tuple[str, str, str]]) -> str:
    """Columns as wide as their longest text."""
    wide, long = (max(len(line[place]) for line in lines) for place in (0, 1))
    return "\n".join(f"{name:<{wide}}  {value:>{long}}  {origin}" for name, value, origin in lines)
