"""The command line: `textmill` and `python -m flows`. Exit codes: 0 done, 1 failed, 2 wrong usage.

stdout holds results, stderr progress and errors. Prefect and torch are imported only by the commands that need them.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer._click.exceptions import ClickException  # typer carries its own click

from data.errors import TextmillError
from data.store import Store
from flows import (
    cli_corpus,
    cli_doctor,
    cli_duplicates,
    cli_export,
    cli_forget,
    cli_gc,
    cli_generate,
    cli_models,
    cli_ops,
    cli_plan,
    cli_retrain,
    cli_sources,
    cli_store,
    cli_train,
    ui,
)
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
from flows.in_process import run_pipeline
from flows.recipe import RecipeError
from flows.recipes import chosen_recipe, chosen_runtime, recipe_values
from gpt.errors import GPTError

INTERRUPTED = 130  # exit code after Ctrl-C
SHOWN_NOTES = 8  # warnings printed at the end of a run without a report

app = typer.Typer(
    help="Raw text in, trained GPT out, again and again as the text grows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("sources")(cli_sources.list_sources)
app.command("ls")(cli_store.list_artifacts)
app.command("show")(cli_store.show)
app.command("why")(cli_store.why)
app.command("verify")(cli_store.verify)
app.command("corpus")(cli_corpus.corpus)
app.command("duplicates")(cli_duplicates.duplicates)
app.command("forget")(cli_forget.forget)
app.command("gc")(cli_gc.gc)
app.command("plan")(cli_plan.plan)
app.command("generate")(cli_generate.generate)
app.command("train")(cli_train.train)
app.command("retrain")(cli_retrain.retrain)
app.command("models")(cli_models.models)
app.command("promote")(cli_models.promote)
app.command("rollback")(cli_models.rollback)
app.command("export")(cli_export.export)
app.command("doctor")(cli_doctor.doctor)
app.command("ui")(ui.ui)
app.add_typer(cli_ops.app, name="ops")


@app.command()
def run(
    name: RecipeName,
    path: Folder = None,
    settings: Annotated[list[str] | None, set_option("training.steps=200")] = None,
    refresh: Refresh = None,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Last stage to run.")] = None,
    device: Device = "auto",
    offline: Offline = False,
    runner: Runner = "threads",
    dask_address: DaskAddress = None,
    where: RuntimeSettings = None,
    as_json: JsonAtEnd = False,
) -> None:
    """Run a recipe in this process: text in, trained GPT out. What is already there is reused."""
    started = time.perf_counter()
    stages = [stage_called(stage) for stage in refresh or []]
    last = stage_called(until) if until is not None else None
    recipe = chosen_recipe(name, path, settings or [])
    runtime = chosen_runtime(device, offline, where or [], runner=runner, dask_address=dask_address)
    summary = run_pipeline(recipe, runtime, stages, last)
    summary["total_seconds"] = round(time.perf_counter() - started, 3)
    if as_json:
        print(json.dumps(summary, ensure_ascii=False), flush=True)
    else:
        _print_result(summary)


@app.command()
def recipes() -> None:
    """List the recipes of prefect.yaml."""
    for name, (description, _) in recipe_values().items():
        print(f"{name:<18} {description}")


def _print_result(summary: dict[str, Any]) -> None:
    from tasks.prompts import written
    from tasks.runtime import open_store

    store = open_store(summary["store"])
    where = {stage: store.resolve(refs[-1]) for stage, refs in summary["artifacts"].items() if refs}
    if "samples" in where:
        completions = json.loads((store.path(where["samples"]) / "completions.json").read_text())["completions"]
        print("\nA sample of the model's text:\n")
        print("  " + written(completions[0]["prompt_text"], completions[0]["text"]).strip().replace("\n", "\n  "))
    if summary["metrics"].get("val_bpb") is not None:
        low, high = summary["metrics"].get("val_bpb_interval") or (None, None)
        interval = f" (95% interval {low:.3f} to {high:.3f})" if low is not None else ""
        print(f"\nValidation: {summary['metrics']['val_bpb']:.3f} bits per byte{interval}")
    if "report" not in where:
        _print_last_stage(store, summary)
    names = {"report": "observed/report.html", "model": "", "samples": "completions.json"}
    for stage, file in names.items():
        if stage in where:
            place = store.path(where[stage]) / file if file else store.address(where[stage])
            print(f"{stage.capitalize() + ':':<11} {place}")
    print(f"Time:       {summary['total_seconds']:.0f} s")


def _print_last_stage(store: Store, summary: dict[str, Any]) -> None:
    """What a run that ended early has come to: the last stage's counts over its parts, and the warnings."""
    if not summary["artifacts"]:
        return
    stage, refs = list(summary["artifacts"].items())[-1]
    manifests = [store.manifest(store.resolve(ref)) for ref in refs]
    counts = {name: sum(one.counts.get(name, 0) for one in manifests) for one in manifests for name in one.counts}
    print(f"\n{stage}: {len(refs)} part{'s' if len(refs) > 1 else ''}")
    for name, count in counts.items():
        print(f"  {name:<28} {count:,}")
    for note in summary["notes"][:SHOWN_NOTES]:
        print(f"  note: {note}")
    if (rest := len(summary["notes"]) - SHOWN_NOTES) > 0:
        print(f"  and {rest} more notes: add --json to have them all")
    folder = store.address(manifests[0].ref).rpartition(f"/{stage}/")[0]
    print(f"{'Parts:' if len(refs) > 1 else 'Part:':<11} {folder}/{stage}")


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run_app(app))


def run_app(application: Callable[..., Any]) -> int:
    """The exit code of one command; errors that a user can mend are one line on stderr."""
    try:
        code = application(standalone_mode=False, prog_name="textmill")
        if code == INTERRUPTED:  # typer has caught the interrupt
            return _complain("stopped; what was saved is found again: run the same command to go on", INTERRUPTED)
        return code if isinstance(code, int) else 0
    except RecipeError as error:
        return _complain(str(error), 2)
    except (TextmillError, GPTError) as error:
        return _complain(str(error), 1)
    except ClickException as error:
        error.show()
        if "unexpected extra argument" in error.message:
            print("A folder goes behind --path, a setting behind --set: KEY=JSON, in one word.", file=sys.stderr)
        return 2
    except typer.Abort as error:  # what typer makes of an input that ended
        return _complain(f"ended: {error.__cause__ or error.__context__ or 'the input was closed'}", 1)


def _complain(text: str, code: int) -> int:
    print(f"textmill: {' '.join(text.split())}", file=sys.stderr)
    return code
