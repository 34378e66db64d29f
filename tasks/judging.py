"""The stages that judge a model: its score on the whole validation split, and completions of fixed prompts."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from data.facts import Facts
from data.manifest import ArtifactRef
from data.store import Build
from data.tokenizers.load import load_tokenizer
from gpt.config import EvaluationConfig, SamplingConfig
from tasks.process import run_gpt
from tasks.prompts import is_masked, prompt_ids
from tasks.registry import identity
from tasks.run import Run
from tasks.training import Arrays, trainer_runtime
from tasks.units import Unit, UnitProgress, run_unit

EVALUATION_FILE = "evaluation.json"
COMPLETIONS_FILE = "completions.json"
WEIGHTS = "model*"  # the files of a model that scoring and sampling read; the state to go on from is none of them


def evaluate(run: Run, model: ArtifactRef, arrays: Arrays, config: EvaluationConfig, name: str) -> ArtifactRef | None:
    """Loss, perplexity and bits per byte of a model over the whole validation split, in all and by source.

    None, with a note in the report, when the corpus has no validation text.
    """
    if not any(run.store.manifest(slot.ref).counts["validation_tokens"] for slot in arrays.slots):
        run.notes.append("There is no validation text, so the model was not scored: raise split.validation_share.")
        return None
    job = arrays.job(run) | {
        "model_dir": str(run.store.place(model)),
        "bootstrap": asdict(config),
        "runtime": trainer_runtime(run.runtime),
    }
    for source in job["sources"].values():
        source["train"] = []
    inputs = {"model": model.digest, **arrays.inputs()}
    slots = {name: [slot.ref.digest for slot in arrays.of(name)] for name in arrays.sources}
    recipe = asdict(config) | {"sources": slots}
    what, cited = identity("evaluation", recipe, inputs), (model, *arrays.refs())
    reads = {slot.ref: "validation*" for slot in arrays.slots} | {model: WEIGHTS, arrays.tokenizer: "*"}
    unit = Unit(name, name, what, cited, partial(_evaluate, job), reads=reads)
    return run_unit(run, "evaluation", unit)


def _evaluate(job: dict[str, Any], build: Build, progress: UnitProgress) -> Facts:
    run_job("gpt.evaluate", job, build)
    result = json.loads((build.out / EVALUATION_FILE).read_text())
    return Facts(counts={key: value for key, value in result.items() if isinstance(value, int | float)})


def sample(
    run: Run, model: ArtifactRef, tokenizer: ArtifactRef, prompts: Sequence[str], config: SamplingConfig, name: str
) -> ArtifactRef:
    """Completions of fixed prompts with fixed seeds by the trained model, as ids and as text.

    Where a prompt has gaps (`tasks.prompts`), that is the whole text with them filled in.
    """
    loaded = load_tokenizer(run.store.path(tokenizer))
    masked = is_masked(run.store.manifest(model).recipe.config["model"])
    job = asdict(config) | {
        "model_dir": str(run.store.place(model)),
        "prompts": prompt_ids(loaded, prompts, masked),
        "count": 1,
        "eot_id": loaded.eot_id,
        "runtime": trainer_runtime(run.runtime),
    }
    recipe = asdict(config) | {"prompts": list(prompts)}
    unit = Unit(
        name,
        name,
        identity("samples", recipe, {"model": model.digest, "tokenizer": tokenizer.digest}),
        (model, tokenizer),
        partial(_sample, job, list(prompts), run.store.place(tokenizer)),
        reads={model: WEIGHTS, tokenizer: "*"},
    )
    return run_unit(run, "samples", unit)


def _sample(job: dict[str, Any], prompts: list[str], tokenizer: Path, build: Build, progress: UnitProgress) -> Facts:
    run_job("gpt.sample", job, build)
    path = build.out / COMPLETIONS_FILE
    decode = load_tokenizer(tokenizer).decode
    drawn = json.loads(path.read_text())["completions"]
    texts = [one | {"text": decode(one["ids"]), "prompt_text": prompts[one["prompt"]]} for one in drawn]
    path.write_text(json.dumps({"completions": texts}, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return Facts(counts={"completions": len(texts)})


def run_job(module: str, job: dict[str, Any], build: Build) -> None:
    """Run a command of the gpt floor that writes into `build.out`; its job file stays out of the payload."""
    file = build.out / "JOB.json"
    file.write_text(json.dumps(job | {"out": str(build.out)}))
    try:
        run_gpt(module, file, build.observed / "log.txt")
    finally:
        file.unlink()
