"""Commands on the registry: models, promote, rollback. They import neither Prefect nor torch."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from data.errors import TextmillError
from data.forgetting.taint import tainted
from data.housekeeping.usage import in_use
from data.manifest import ArtifactRef
from data.store import Store
from flows.models import find_model
from flows.recipe import RecipeError, unknown_name
from tasks.benchmark_gate import BenchmarkCheck
from tasks.champions import (
    Champions,
    Decision,
    all_champions,
    read_champions,
    recipe_of,
    resolve,
    to_json,
    write_champions,
)
from tasks.runtime import open_store

Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; it is kept with the decision.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


def models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Recipe; all if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show champions and challengers; of one recipe every decision, with its reasons."""
    store = open_store()
    found = all_champions(store.refs)
    if name is not None:
        if name not in (known := [one.recipe for one in found]):
            raise RecipeError(unknown_name("registry of a recipe", name, known or ["none yet"]))
        found = [one for one in found if one.recipe == name]
    if as_json:
        print(json.dumps([_json(one) for one in found], ensure_ascii=False))
    elif not found:
        print("No model was promoted yet: `textmill retrain NAME` trains one, `textmill promote REF` chooses one.")
    elif name is None:
        rows = [
            (one.recipe, str(one.champion or "-"), str(one.challenger or "-"), one.history[-1].date[:16])
            for one in found
        ]
        print(_aligned([("recipe", "champion", "challenger", "last decision"), *rows]))
    else:
        _print_history(found[0])


def promote(
    ref: Annotated[str, typer.Argument(metavar="REF", help="Model, e.g. model/abc123 or challenger:NAME.")],
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Recipe; left out, the one it was trained by.")
    ] = None,
    reason: Reason = None,
) -> None:
    """Make a model the champion of its recipe, whatever the gate would say."""
    store = open_store()
    model = find_model(store, ref)
    name = recipe or recipe_of(store, model)
    with in_use(store, name, model):
        resolve(store, str(model))  # it is still there
        champions = read_champions(store.refs, name)
        if champions.champion == model:
            raise TextmillError(f"{model} is the champion of {champions.recipe!r} already.")
        _write(store, champions.promoted(model, (_by_hand(reason),)))


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Recipe.")],
    reason: Reason = None,
) -> None:
    """Make the champion before the present one champion again."""
    store = open_store()
    champions = read_champions(store.refs, name)
    back = champions.rolled_back((_by_hand(reason),))
    with in_use(store, name, back.line[-1]):
        resolve(store, str(back.champion))  # it is still there
        _write(store, back)


def _write(store: Store, champions: Champions) -> None:
    write_champions(store.refs, champions)
    decision = champions.history[-1]
    print(f"{champions.recipe}: champion {champions.champion}, before {decision.before or 'none'}")
    if mark := next((one for one in tainted(store) if one.ref.key == decision.model.key), None):
        print(f"note: it learnt from text that was forgotten on {mark.date[:10]}: `textmill retrain` replaces it.")


def _by_hand(reason: str | None) -> str:
    return f"by hand: {reason}" if reason else "by hand"


def _print_history(champions: Champions) -> None:
    print(f"champion    {champions.champion or '-'}\nchallenger  {champions.challenger or '-'}\n")
    head = ("", "date", "outcome", "model", "bits per byte", "champion before")
    print(_aligned([head, *(_row(one) for one in champions.history)]))
    print()
    for one in champions.history:
        for reason in one.reasons:
            print(f"{one.number:>4}  {reason}")
        for said in _benchmarks(one):
            if said not in one.reasons:
                print(f"{one.number:>4}  {said}")


def _benchmarks(decision: Decision) -> list[str]:
    """What was found on benchmarks, one sentence each; of a first model its own accuracy."""
    if checks := decision.scores.get("benchmarks"):
        return [str(BenchmarkCheck(**check)) for check in checks]
    return [
        f"benchmark {name}: {one['accuracy_norm']:.1%} length-normalised accuracy, {one['accuracy']:.1%} plain, on "
        f"{one['items']} items (by chance {one['chance']:.1%})"
        for name, one in decision.scores.get("scored", {}).items()
    ]


def _row(decision: Decision) -> tuple[str, ...]:
    shown = ["-" if one is None else f"{one:.4f}" for one in decision.bits_per_byte]
    return (f"{decision.number:>4}", decision.date[:16], decision.outcome, str(decision.model), *shown)


def _json(champions: Champions) -> dict[str, Any]:
    """The registry with references as the commands take them."""
    value = to_json(champions)
    return {
        "recipe": champions.recipe,
        "champion": str(champions.champion) if champions.champion else None,
        "challenger": str(champions.challenger) if champions.challenger else None,
        "line": [str(ref) for ref in champions.line],
        "history": [
            raw | {"model": str(one.model), "before": _text(one.before)}
            for raw, one in zip(value["history"], champions.history, strict=True)
        ],
    }


def _text(ref: ArtifactRef | None) -> str | None:
    return str(ref) if ref else None


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
