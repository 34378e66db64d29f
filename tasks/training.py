"""The model stage: run one trainer process on a plan, publish what it trained.

The trainer works in the build's `keep` folder, so a killed or cancelled run is found again by its key and goes on from
its last checkpoint, whoever starts it next. Torch stays in that process.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from data.digests import text_digest
from data.errors import TextmillError
from data.facts import Facts
from data.manifest import ArtifactRef, canonical_json
from data.store import Build
from data.tokenizers.load import load_tokenizer
from gpt.config import ModelConfig, SamplingConfig, TrainingConfig
from gpt.errors import GPTError
from gpt.plan import resolve
from gpt.sizing import Corpus
from tasks.beginning import DIARIES, Beginning, earlier_part, from_part, from_weights, shape_from, weights_folder
from tasks.launch import Launch, launch_of, refuse_apart
from tasks.mixing import capped_weights
from tasks.prompts import prompt_ids
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import Runtime
from tasks.slots import Slot
from tasks.trainer import run_trainer, wait_for_earlier_trainer
from tasks.trainer_slot import trainer_slot
from tasks.units import Unit, UnitProgress, run_unit


@dataclass(frozen=True)
class Arrays:
    """What a model is trained and scored on: token slots of weighted sources, and the tokenizer that made them."""

    slots: Sequence[Slot]
    weights: dict[str, float]  # by source name
    tokenizer: ArtifactRef
    max_epochs: dict[str, float | None] = field(default_factory=dict)  # by source name; None or absent: no cap

    @property
    def sources(self) -> list[str]:
        return sorted({slot.source for slot in self.slots})

    def of(self, source: str) -> list[Slot]:
        return [slot for slot in self.slots if slot.source == source]

    def recipe(self) -> list[dict[str, Any]]:
        """The part of an identity that says which arrays are drawn with which weight; source names are only labels."""
        return [
            {"weight": self.weights[name], "tokens": [slot.ref.digest for slot in self.of(name)]}
            for name in self.sources
        ]

    def inputs(self) -> dict[str, str | list[str]]:
        return {
            "tokens": [slot.ref.digest for name in self.sources for slot in self.of(name)],
            "tokenizer": self.tokenizer.digest,
        }

    def refs(self) -> tuple[ArtifactRef, ...]:
        return (*(slot.ref for name in self.sources for slot in self.of(name)), self.tokenizer)

    def job(self, run: Run) -> dict[str, Any]:
        """The `sources`, `token_bytes` and `eot_id` entries of RUN.json and EVAL.json.

        Whoever reads the files they name says so (`Unit.reads`, all of `refs`).
        """
        tokenizer = run.store.path(self.tokenizer)
        sources = {}
        for name in self.sources:
            paths = [run.store.place(slot.ref) for slot in self.of(name)]
            sources[name] = {"weight": self.weights[name]} | {
                side: [_pair(path, side) for path in paths] for side in SIDES
            }
        return {
            "sources": sources,
            "token_bytes": str(tokenizer / "token_bytes.npy"),
            "eot_id": load_tokenizer(tokenizer).eot_id,
        }


TRAINING_ONLY = {"checkpoint_seconds", "logits_gib", "track"}  # settings that scoring and sampling do not take
SIDES = ("train", "validation")


def _pair(folder: Path, side: str) -> dict[str, str]:
    return {"tokens": str(folder / f"{side}.npy"), "documents": str(folder / f"{side}.documents.npy")}


def train(
    run: Run,
    arrays: Arrays,
    shape: ModelConfig,
    plan: TrainingConfig,
    prompts: Sequence[str],
    sampling: SamplingConfig,
    name: str,
    planned: ArtifactRef,
    init_from: str | None = None,
) -> ArtifactRef:
    """Train a model on `arrays`; returns the artifact with its best weights.

    `shape` and `plan` are those of the artifact `planned`, which is named in the model's manifest and not in its key.
    Prompts are completed along the way at steps 0, 1, 3, 10, 30, ... and at the end; they are observed only, so other
    prompts do not train anew. With `init_from` (a model artifact or a folder) it begins with those weights. When the
    store holds an earlier part of the same plan, it goes on from there. Raises TextmillError for what cannot work.
    """
    arrays = capped(run, arrays, shape, plan)
    beginning = Beginning()
    if init_from:
        beginning = from_weights(run, *weights_folder(run, init_from), shape, arrays.tokenizer)
    return train_planned(run, arrays, shape, plan, prompts, sampling, name, beginning, planned)


def starting_shape(run: Run, model: ModelConfig, init_from: str | None, tokenizer: ArtifactRef) -> ModelConfig | None:
    """A recipe's model with what it leaves open as in the model whose weights it begins with; None without one."""
    return shape_from(run, weights_folder(run, init_from)[0], model, tokenizer) if init_from else None


def train_planned(
    run: Run,
    arrays: Arrays,
    shape: ModelConfig,
    plan: TrainingConfig,
    prompts: Sequence[str],
    sampling: SamplingConfig,
    name: str,
    beginning: Beginning,
    planned: ArtifactRef | None = None,
) -> ArtifactRef:
    """Train by a resolved plan from a given beginning; an earlier part of the same plan is gone on from."""
    tokenizer = load_tokenizer(run.store.path(arrays.tokenizer))
    recipe = {
        "model": asdict(shape),
        "training": asdict(plan),
        "arrays": arrays.recipe(),
        "eot_id": tokenizer.eot_id,
        **beginning.config,
    }
    launch = launch_of(run.runtime)
    refuse_apart(launch, run.store)
    wanted = identity("model", recipe, {**arrays.inputs(), **beginning.inputs})
    again = "model" in run.refresh
    is_part = beginning.diary is not None
    if not is_part and not again and not run.store.find("model", [wanted.key]):
        part = earlier_part(run, wanted)
        beginning = replace(beginning, **vars(from_part(run, part))) if part else beginning
    job = arrays.job(run) | {
        "model": asdict(shape),
        "training": asdict(plan),
        "tokenizer_digest": arrays.tokenizer.digest,
        "data_digest": text_digest(canonical_json(arrays.recipe())),
        "start": beginning.start,
        "sampling": asdict(sampling)
        | {"prompts": prompt_ids(tokenizer, prompts, shape.masked), "steps": log_steps(plan.stop_at or 0)},
        "runtime": trainer_runtime(run.runtime) | run.runtime.model_dump(include=TRAINING_ONLY),
    }
    cited = (*arrays.refs(), *beginning.refs, *([planned] if planned else []))
    make = partial(_train, job, list(prompts), beginning.diary, launch)
    reads = dict.fromkeys((*arrays.refs(), *beginning.refs), "*")
    unit = Unit(name, name, wanted, cited, make, reads=reads)
    return run_unit(run, "model", unit)


def resolve_plan(
    run: Run, arrays: Arrays, model: ModelConfig, training: TrainingConfig
) -> tuple[ModelConfig, TrainingConfig]:
    """What a recipe leaves open, by formula from the arrays. Raises TextmillError for what cannot work."""
    try:
        return resolve(model, training, *counts(run, arrays))
    except GPTError as error:
        raise TextmillError(str(error)) from error


def counts(run: Run, arrays: Arrays) -> Corpus:
    """What a plan depends on, over all arrays."""
    manifests = [run.store.manifest(slot.ref) for slot in arrays.slots]
    total = {
        key: sum(int(one.counts.get(key, 0)) for one in manifests)
        for key in ("train_tokens", "validation_tokens", "train_bytes")
    }
    return Corpus(load_tokenizer(run.store.path(arrays.tokenizer)).vocab_size, **total)


def capped(run: Run, arrays: Arrays, shape: ModelConfig, plan: TrainingConfig) -> Arrays:
    """`arrays` with weights that keep every source's `max_epochs` over the whole plan."""
    drawn = (plan.steps or 0) * (plan.batch_size or 0) * (shape.context or 0)
    tokens = {
        name: sum(int(run.store.manifest(slot.ref).counts["train_tokens"]) for slot in arrays.of(name))
        for name in arrays.sources
    }
    weights = capped_weights({name: arrays.weights[name] for name in arrays.sources}, arrays.max_epochs, tokens, drawn)
    for name in arrays.sources:
        cap = arrays.max_epochs.get(name)
        if not tokens[name]:
            run.notes.append(f"{name}: it has no training text, so it takes no part in the training.")
        elif weights[name] != arrays.weights[name] and cap is not None:
            share = weights[name] / sum(weights.values())
            run.notes.append(f"{name}: max_epochs ({cap:g}) holds its share of the training tokens at {share:.1%}.")
    return replace(arrays, weights=weights)


def _train(
    job: dict[str, Any], prompts: list[str], diary: Path | None, launch: Launch, build: Build, progress: UnitProgress
) -> Facts:
    run_dir = build.keep
    steps = job["training"]["stop_at"]
    heard_at, validation = 0.0, ""

    def on_record(record: dict[str, Any]) -> None:
        nonlocal heard_at, validation, steps
        if record["kind"] == "guard":
            steps = record["steps"]
        elif record["kind"] == "evaluation":
            validation = f", validation {record['val_bpb']:.3f} bits per byte" if record.get("val_bpb") else ""
        elif time.monotonic() - heard_at > 0.5 or record["step"] == steps:
            steps = min(steps, record["steps"])  # fewer after a cut that came before this process
            heard_at = time.monotonic()
            loss = "every step skipped" if record["loss"] is None else f"loss {record['loss']:.3f}"
            mfu = f", MFU {record['mfu']:.1%}" if record.get("mfu") else ""
            note = f"{loss}, {record['tokens_per_s']:,.0f} tokens/s{mfu}{validation}"
            progress(record["step"], steps, "steps", note)

    wait_for_earlier_trainer(run_dir)
    if diary is not None and not (run_dir / DIARIES[0]).exists():
        for name in DIARIES:
            if (diary / name).exists():  # the trainer cuts it back to where it goes on
                shutil.copyfile(diary / name, run_dir / name)
    with trainer_slot(launch, job["runtime"]["device"]):
        short_of_memory = run_trainer(job, run_dir, on_record, launch)
    final = run_dir / "final"
    for path in final.iterdir():
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, build.out / path.name)
    for name in ("metrics.jsonl", "samples.jsonl", "train.log", "summary.json"):
        if (run_dir / name).exists():
            shutil.copyfile(run_dir / name, build.observed / name)
    if (run_dir / "tensorboard").is_dir():
        shutil.copytree(run_dir / "tensorboard", build.observed / "tensorboard")
    summary = json.loads((run_dir / "summary.json").read_text())
    counts = {key: value for key, value in summary.items() if isinstance(value, int | float)}
    notes = short_of_memory + ([summary["guard"]] if summary.get("guard") else [])
    return Facts(counts=counts, notes=notes, details={"device": summary.get("device"), "prompts": prompts})


def trainer_runtime(runtime: Runtime) -> dict[str, Any]:
    """The `runtime` entry that every command of the gpt floor takes."""
    return {"device": runtime.device, "threads": runtime.threads, "compile": runtime.compile}


def log_steps(steps: int) -> list[int]:
    """Steps 0, 1, 3, 10, 30, 100, ... below `steps`, and `steps` itself."""
    tens = [base * 10**power for power in range(len(str(steps))) for base in (1, 3)]
    return [0, *(step for step in tens if step < steps), steps]
