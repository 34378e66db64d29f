"""`textmill gc`: show what nobody needs any more, ask, and take it out of the store."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from data.forgetting.begun import follow
from data.housekeeping.collecting import Collected, Plan, Root, carry_out, clear_idle_work, idle_work, plan
from data.housekeeping.lineage import Lineage, Place, size_of
from data.housekeeping.usage import KEPT_RUNS
from data.manifest import Manifest
from data.store import Store
from flows.cli_options import DryRun
from flows.recipe import RecipeError
from flows.recipes import recipe_values
from tasks.champions import ALIAS, read_champions
from tasks.registry import STAGES
from tasks.roots import roots
from tasks.runtime import open_store

ABANDONED = 7 * 86_400.0  # seconds after which an upload that nobody went on with is left over


def gc(
    keep_runs: Annotated[
        int, typer.Option(metavar="N", min=1, max=KEPT_RUNS, help="How many of the last runs of each recipe stay.")
    ] = 5,
    work: Annotated[
        float | None,
        typer.Option(metavar="DAYS", min=0, help="Also unfinished work that nobody has touched for so many days."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON, with every artifact.")] = False,
) -> None:
    """Remove what neither a champion, a newest corpus, one of the last runs nor a run in progress goes back to."""
    if not (yes or dry_run) and (as_json or not (sys.stdin.isatty() and sys.stdout.isatty())):
        raise RecipeError("There is nobody to ask here: add --yes to remove, or --dry-run to see what would go.")
    store = open_store()
    lineage = Lineage(store)
    named = _named_by_recipes(store)

    def roots_now() -> list[Root]:
        return roots(store, lineage, keep_runs, named)

    planned = plan(lineage, roots_now())
    idle = idle_work(store, work) if work is not None else {}
    if not as_json:
        _print_plan(planned, idle, store)
    nothing = not planned.removed and not idle
    if dry_run or (not yes and not nothing and not typer.confirm("Remove this?")):
        done, cleared = None, None
    else:
        done = carry_out(lineage, planned, roots_now)
        cleared = [*store.sweep(), *follow(store), *(clear_idle_work(store, work) if work is not None else ())]
        cleared += store.clear_attempts(older_than=ABANDONED)
    if as_json:
        print(json.dumps(_json(planned, idle, done, cleared), ensure_ascii=False))
    elif done is not None and cleared is not None:
        _print_done(done, cleared)


def _places_of(store: Store, text: str) -> list[Place]:
    """All that a setting may mean; empty where it names a folder, or what is not there."""
    if (alias := ALIAS.fullmatch(text)) is None:
        return store.matching(text)
    champions = read_champions(store.refs, alias[2])
    ref = champions.champion if alias[1] == "champion" else champions.challenger
    return [(ref.stage, ref.key)] if ref else []


def _named_by_recipes(store: Store) -> Mapping[str, Sequence[Place]]:
    """What recipes of prefect.yaml begin with or have pinned, as far as it is there, by the setting that names it."""
    found = {}
    for recipe, (_, values) in recipe_values().items():
        settings = {
            "init_from": values.get("init_from"),
            "tokenizer.artifact": (values.get("tokenizer") or {}).get("artifact"),
        }
        for setting, text in settings.items():
            if text and (places := _places_of(store, text)):
                found[f"{setting} of {recipe} in prefect.yaml"] = places
    return found


def _print_plan(planned: Plan, idle: Mapping[str, int], store: Store) -> None:
    print(f"{store.where}\n\nStays (each line without what the lines above keep):")
    for one in planned.kept:
        print(f"  {one.artifacts:>6,}  {_mb(one.bytes)}  {one.reason}")
    if not planned.kept:
        print("  nothing: no run, champion or corpus is noted here")
    print("\nGoes:")
    for stage, artifacts, size in _by_stage(planned.removed):
        print(f"  {artifacts:>6,}  {_mb(size)}  {stage}")
    for name, size in idle.items():
        print(f"          {_mb(size)}  unfinished: {name}")
    total = sum(map(size_of, planned.removed)) + sum(idle.values())
    print(f"  {len(planned.removed):>6,}  {_mb(total)}  in all" if total or planned.removed else "  nothing")


def _print_done(done: Collected, cleared: Iterable[str]) -> None:
    print(f"\nRemoved {sum(done.removed.values()):,} artifacts, {done.bytes / 1e6:,.1f} MB.")
    if done.spared:
        print(f"{done.spared:,} stay after all: a run has come to use them meanwhile.")
    if names := list(cleared):
        print(f"Cleared of unfinished work: {', '.join(names)}")


def _json(
    planned: Plan, idle: Mapping[str, int], done: Collected | None, cleared: Iterable[str] | None
) -> dict[str, Any]:
    stages = {stage: {"artifacts": artifacts, "bytes": size} for stage, artifacts, size in _by_stage(planned.removed)}
    return {
        "kept": [vars(one) for one in planned.kept],
        "planned": stages,
        "artifacts": [str(one.ref) for one in planned.removed],
        "idle_work": dict(idle),
        "removed": None if done is None else dict(done.removed),
        "removed_bytes": None if done is None else done.bytes,
        "spared": None if done is None else done.spared,
        "cleared": None if cleared is None else list(cleared),
    }


def _by_stage(manifests: Iterable[Manifest]) -> list[tuple[str, int, int]]:
    """(stage, artifacts, bytes) in the order of the stages; unknown ones last."""
    counts, sizes = Counter[str](), Counter[str]()
    for one in manifests:
        counts[one.recipe.stage] += 1
        sizes[one.recipe.stage] += size_of(one)
    known = [stage for stage in STAGES if stage in counts]
    return [(stage, counts[stage], sizes[stage]) for stage in [*known, *sorted(counts.keys() - set(known))]]


def _mb(count: int) -> str:
    return f"{count / 1e6:>10,.1f} MB"
