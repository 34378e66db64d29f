"""The plan stage: every number of a model and its training, resolved once, with where each came from.

The plan is an artifact, so it never changes afterwards: what `minutes` come to is timed when it is made and kept in it.
The model's key holds the numbers and not the dial, so two dials that come to the same numbers share the model.
"""

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact

from data.errors import TextmillError
from data.facts import Facts
from data.manifest import ArtifactRef
from data.store import Build, Store
from data.tokenizers.config import TokenizerConfig
from gpt.config import ModelConfig, TrainingConfig
from gpt.errors import GPTError
from gpt.origins import numbers
from gpt.plan import resolve
from gpt.sizing import Corpus, PlanConfig, Speed, all_parameters, size
from tasks.markdown import plain, table
from tasks.plan_table import outlook, rows
from tasks.process import run_gpt
from tasks.progress import run_logger
from tasks.registry import identity
from tasks.report_facts import PLAN_FILE, read_json
from tasks.run import Run
from tasks.run_card import card_key
from tasks.training import Arrays, counts, trainer_runtime
from tasks.units import Unit, UnitProgress, run_unit

TABLE_FILE = "plan.md"
TAKEN = "as in the model that init_from names"


@dataclass(frozen=True)
class Plan:
    """A plan that was made: the artifact, and its resolved configs."""

    ref: ArtifactRef
    model: ModelConfig
    training: TrainingConfig


def plan(
    run: Run,
    arrays: Arrays,
    model: ModelConfig,
    training: TrainingConfig,
    dial: PlanConfig,
    tokenizer: TokenizerConfig,
    name: str,
    shaped: ModelConfig | None = None,
) -> Plan:
    """Resolve a recipe's model and training for `arrays`. Raises TextmillError for combinations that cannot work.

    `shaped` is the recipe's model with numbers taken over from the one whose weights it begins with.
    """
    if shaped is not None and dial.minutes is None and str(dial) != "none":
        raise TextmillError(f"plan: the dial is {dial}, but init_from gives the model its size: leave one of them out.")
    corpus = counts(run, arrays)
    origin = _vocabulary_origin(tokenizer)
    recipe = {
        "dial": asdict(dial),
        "model": asdict(model),
        "training": asdict(training),
        "vocabulary": origin,
    }
    if shaped is not None:
        recipe["shaped"] = asdict(shaped)
    make = partial(_make, dial, model, shaped or model, training, corpus, origin, trainer_runtime(run.runtime))
    unit = Unit(name, name, identity("plan", recipe, arrays.inputs()), arrays.refs(), make)
    ref = run_unit(run, "plan", unit)
    found = read_plan(run.store, ref)
    speed = found["speed"]
    if speed and run.runtime.device not in ("auto", speed["device"]):
        run.notes.append(
            f"The plan's minutes were timed on {speed['name']}, and this run asks for {run.runtime.device}: with "
            f"--refresh plan they are timed anew."
        )
    return Plan(ref, ModelConfig(**found["model"]), TrainingConfig(**found["training"]))


def read_plan(store: Store, ref: ArtifactRef) -> dict[str, Any]:
    """The content of plan.json.

    model, training  the resolved configs
    numbers          name, value and origin of each of their fields, the tokenizer's size first
    outlook          what they come to: (name, text, remark)
    dial, speed      what was asked for, and what minutes were counted with, or None
    """
    return read_json(store.path(ref) / PLAN_FILE)


def publish_plan_card(run: Run, made: Plan) -> None:
    """Leave the table in Prefect; a failure is only logged, for nothing depends on it."""
    text = (run.store.path(made.ref) / TABLE_FILE).read_text(encoding="utf-8")
    try:
        create_markdown_artifact(text, key=card_key(run.recipe_name, "plan"), description=f"Plan of {run.recipe_name}")
    except Exception as error:  # whatever Prefect's client raises: the plan is made, and stays made
        run_logger().warning("The plan could not be left in Prefect (%s: %s).", type(error).__name__, error)


def _make(
    dial: PlanConfig,
    model: ModelConfig,
    shaped: ModelConfig,
    training: TrainingConfig,
    corpus: Corpus,
    vocabulary: str,
    runtime: dict[str, Any],
    build: Build,
    progress: UnitProgress,
) -> Facts:
    speed = _time(runtime, build) if dial.minutes is not None else None
    try:
        sized = size(dial, shaped, training, corpus, speed)
        shape, schedule = resolve(sized.model, sized.training, *corpus)
    except GPTError as error:
        raise TextmillError(str(error)) from error
    taken = {f"model.{name}": TAKEN for name, value in vars(shaped).items() if value != getattr(model, name)}
    reasons = {"model.vocab_size": vocabulary} | taken | sized.reasons
    found = numbers("model", model, shape, reasons) + numbers("training", training, schedule, reasons)
    content = {
        "dial": asdict(dial),
        "speed": speed._asdict() if speed else None,
        "corpus": corpus._asdict(),
        "model": asdict(shape),
        "training": asdict(schedule),
        "numbers": [number._asdict() for number in found],
        "outlook": outlook(shape, schedule, corpus, speed),
    }
    (build.out / PLAN_FILE).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    head = ("number", "value", "where it came from")
    lines = [tuple(plain(cell) for cell in row) for row in rows(content)]
    (build.out / TABLE_FILE).write_text(table(head, lines, texts=(2,)) + "\n", encoding="utf-8")
    return Facts(counts={"parameters": all_parameters(shape), "steps": schedule.steps or 0})


def _time(runtime: dict[str, Any], build: Build) -> Speed:
    """How fast this machine trains, measured in a process of its own."""
    folder = build.keep
    job: Path = folder / "JOB.json"
    job.write_text(json.dumps({"out": str(folder), "runtime": runtime}))
    run_gpt("gpt.calibrate", job, build.observed / "log.txt")
    return Speed(**json.loads((folder / "speed.json").read_text()))


def _vocabulary_origin(config: TokenizerConfig) -> str:
    if config.kind == "bpe":
        if config.vocab_size is not None:
            return "set by hand: tokenizer.vocab_size"
        return "by formula: 2^round(log2(bytes of training text / 1000)) in [512, 32768]"
    return f"by the tokenizer: {config.kind}"
