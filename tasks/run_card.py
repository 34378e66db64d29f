"""What a run leaves in Prefect: a markdown artifact, its run card, and the metrics that the command line prints.

A card is about one run, so every run gets one, also a run that reused everything; pictures come from the report that
it cites. Prefect is a guest here: when it does not take the card, the run goes on.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact

from data.manifest import ArtifactRef
from data.store import Store
from tasks.benchmarks import Scored, read_results
from tasks.markdown import block, code, plain, table
from tasks.progress import run_logger
from tasks.prompts import written
from tasks.report import LOSS_PICTURE, PAGE_FILE
from tasks.report_builds import Note, read_notes, trace
from tasks.report_facts import Made, SourceFacts, add_up, read_evaluation
from tasks.report_learning import read_completions
from tasks.report_page import compact, data_url, decimals, duration, number, visible
from tasks.run import Run

MAX_PICTURE_BYTES = 150_000  # a third more once it is text; the whole card stays below 300 kB
MAX_SAMPLE_CHARACTERS = 1_500
MAX_NOTES = 20
PSEUDO = (
    "Each token was predicted from both sides, so loss and bits per byte cannot be compared with those of a model that "
    "writes from left to right."
)


def collect_metrics(
    store: Store,
    model_ref: ArtifactRef,
    evaluation: ArtifactRef | None,
    token_refs: Sequence[ArtifactRef],
    benchmarks: Scored | None = None,
) -> dict[str, Any]:
    """The numbers of a run that its last line of JSON carries; None for what was not measured."""
    model = store.manifest(model_ref)
    trained = model.counts
    scored = read_evaluation(store, evaluation) or {}
    tokens = add_up(store.manifest(ref).counts for ref in token_refs)
    text = SourceFacts("all", len(token_refs), {}, {}, tokens, ())
    return {
        "val_bpb": scored.get("bits_per_byte"),
        "val_bpb_interval": scored.get("bits_per_byte_interval"),
        "val_loss": scored.get("loss"),
        "perplexity": scored.get("perplexity"),
        **({"masked_accuracy": scored["masked_accuracy"]} if "masked_accuracy" in scored else {}),
        **({"benchmarks": read_results(store, benchmarks)} if benchmarks else {}),
        "train_loss": trained.get("train_loss"),
        "train_tokens_per_s": trained.get("train_tokens_per_s"),
        "parameters": trained.get("parameters"),
        "steps": trained.get("steps"),
        "vocab_size": model.recipe.config["model"]["vocab_size"],
        "train_tokens": tokens.get("train_tokens", 0),
        "validation_tokens": tokens.get("validation_tokens", 0),
        "bytes_per_token": text.bytes_per_token,
    }


def publish_run_card(run: Run, page: ArtifactRef, made: Made) -> None:
    """Leave the card of this run in Prefect; a failure is only logged, for nothing depends on the card."""
    card = run_card(run, page, made)
    try:
        create_markdown_artifact(card, key=card_key(run.recipe_name), description=f"Run card of {run.recipe_name}")
    except Exception as error:  # whatever Prefect's client raises: the model is made, and stays made
        run_logger().warning("The run card could not be left in Prefect (%s: %s).", type(error).__name__, error)


def card_key(recipe_name: str, kind: str = "run") -> str:
    """Prefect's key for the cards of a recipe: lower-case letters, digits and dashes."""
    label = re.sub(r"[^a-z0-9]+", "-", recipe_name.lower()).strip("-")
    return f"{kind}-{label}" if label else kind


def run_card(run: Run, page: ArtifactRef, made: Made) -> str:
    """The card as markdown: numbers, what each stage did, the loss curve, a sample, where things lie, warnings."""
    folder = run.store.path(page)
    where = {
        "Report": folder / PAGE_FILE,
        "Model": run.store.address(made.model),
        "Samples": run.store.address(made.samples),
    }
    notes = read_notes(trace(run.store, made), run.notes)
    metrics = collect_metrics(run.store, made.model, made.evaluation, made.tokens, made.benchmarks)
    parts = [
        f"# {plain(run.recipe_name)}",
        _numbers(metrics),
        _benchmarks(metrics.get("benchmarks", {})),
        _picture(folder / LOSS_PICTURE),
        _stages(run),
        _sample(read_completions(run.store, made.samples)),
        "## Where it lies\n\n" + "\n".join(f"- {name}: {code(str(path))}" for name, path in where.items()),
        _notes(notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _numbers(metrics: dict[str, Any]) -> str:
    score = "The model was not scored: there is no validation text."
    if metrics["val_bpb"] is not None:
        low, high = metrics["val_bpb_interval"]
        score = f"**{metrics['val_bpb']:.3f} bits per byte** on held-out text (95% interval {low:.3f} to {high:.3f})"
    accuracy = metrics.get("masked_accuracy")
    if accuracy is not None:
        score += f"; **{accuracy:.1%} of hidden tokens** guessed right. {PSEUDO}"
    rows = [
        ("Validation loss", decimals(metrics["val_loss"])),
        ("Perplexity", decimals(metrics["perplexity"], 1)),
        ("Training loss", decimals(metrics["train_loss"])),
        ("Parameters", compact(metrics["parameters"])),
        ("Steps", number(metrics["steps"])),
        ("Training tokens", compact(metrics["train_tokens"])),
        ("Vocabulary", number(metrics["vocab_size"])),
        ("Tokens per second", number(metrics["train_tokens_per_s"])),
    ]
    return f"{score}\n\n" + table(("Measure", "Value"), rows)


def _benchmarks(results: dict[str, dict[str, Any]]) -> str:
    if not results:
        return ""
    head = ("Benchmark", "Items", "Accuracy", "Length-normalised", "95% interval", "By chance")
    return "## Benchmarks\n\n" + table(head, [(plain(name), *score_cells(one)) for name, one in results.items()])


def score_cells(result: dict[str, Any]) -> tuple[str, ...]:
    """Items, accuracy, length-normalised accuracy with its 95% interval, and chance, as tables show them."""
    low, high = result["accuracy_norm_interval"]
    shares = f"{result['accuracy']:.1%}", f"{result['accuracy_norm']:.1%}", f"{low:.1%} to {high:.1%}"
    return (number(result["items"]), *shares, f"{result['chance']:.1%}")


def _stages(run: Run) -> str:
    rows = [
        (stage, number(record.reused), number(record.built), duration(record.seconds))
        for stage, record in run.records.items()
    ]
    return "## Stages\n\n" + table(("Stage", "Reused", "Built", "Time"), rows)


def _picture(path: Path) -> str:
    """The loss curve; nothing where the report has none, or one too large for a card."""
    if not path.exists() or path.stat().st_size > MAX_PICTURE_BYTES:
        return ""
    return f"![Training and validation loss over steps]({data_url(path.read_bytes())})"


def _sample(completions: dict[str, str]) -> str:
    if not completions:
        return ""
    prompt, text = max(completions.items(), key=lambda item: bool(item[0]))  # the first with a prompt, if any has one
    return "## A sample\n\n" + block(visible(written(prompt, text), MAX_SAMPLE_CHARACTERS))


def _notes(notes: Sequence[Note]) -> str:
    if not notes:
        return ""
    lines = [f"- {plain(visible(note.text, 300))} ({plain(note.where)})" for note in notes[:MAX_NOTES]]
    if len(notes) > MAX_NOTES:
        lines.append(f"- {len(notes) - MAX_NOTES} more are in the report.")
    return "## Notes\n\n" + "\n".join(lines)
