"""Arguments and options that several commands have: each is written, and worded for --help, once."""

from typing import Annotated, Any

import typer

from flows.recipe import RecipeError, unknown_name
from tasks.registry import STAGES, Stage


def set_option(example: str) -> Any:
    """The option --set, with an example that suits the command."""
    return typer.Option("--set", metavar="KEY=JSON", help=f"Replace a setting, e.g. {example}. Repeatable.")


RecipeName = Annotated[str, typer.Argument(help="Recipe of prefect.yaml; `textmill recipes` lists them.")]
Folder = Annotated[str | None, typer.Option(help="Folder of your texts: for folder, discord, reddit.")]
Refresh = Annotated[
    list[str] | None, typer.Option(metavar="STAGE", help=f"Build a stage again: {', '.join(STAGES)}. Repeatable.")
]
Device = Annotated[str, typer.Option(help="Where the model runs: auto, cpu, cuda or mps.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never touch the network; use what is there.")]
Runner = Annotated[str, typer.Option(help="Where slots are worked on: threads, processes or dask.")]
DaskAddress = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Scheduler for --runner dask; left out: a cluster of this machine."),
]
RuntimeSettings = Annotated[
    list[str] | None,
    typer.Option("--runtime", metavar="KEY=JSON", help="Other settings of runtime, e.g. workers=2. Repeatable."),
]
JsonAtEnd = Annotated[bool, typer.Option("--json", help="End stdout with one line of JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")]


def stage_called(text: str) -> Stage:
    """The stage that --refresh or --until names. Raises RecipeError."""
    for stage in STAGES:
        if stage == text:
            return stage
    raise RecipeError(unknown_name("stage", text, STAGES))
