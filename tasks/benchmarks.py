"""Benchmarks of multiple choice: items are read and encoded here, and scored by a process of the gpt floor.

Each benchmark is an artifact of its own below the stage `evaluation`, determined by the model, its tokenizer and the
texts of the items: a champion that was scored once is not scored again. Context and ending are encoded apart, the
ending with a space before it, as karpathy/llm.c does (dev/data/hellaswag.py); lm-evaluation-harness encodes them
together and cuts behind as many ids as the context has alone (lm_eval/api/model.py), which leaves an ending without
any where an id spans the two (its issue 1297). Where a tokenizer splits before a space, as ours do, both give the same
ids. As a prompt, a context begins with `<|endoftext|>`.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.benchmarks.items import Items, read_items
from data.errors import TextmillError
from data.facts import Facts
from data.manifest import ArtifactRef, Identity
from data.store import Build, Store
from data.tokenizers.load import load_tokenizer
from data.tokens import token_dtype
from data.web.client import Web
from tasks.evaluation_config import Benchmarks
from tasks.judging import WEIGHTS, run_job
from tasks.prompts import is_masked
from tasks.registry import VERSIONS, identity
from tasks.run import Run
from tasks.runtime import PROJECT_ROOT
from tasks.training import trainer_runtime
from tasks.units import Unit, UnitProgress, stage_work

RESULT_FILE, ITEMS_FILE = "benchmark.json", "items.npy"
FETCHED_FILE = "items.jsonl"
USER_AGENT = "Textmill/0.1"

Scored = Mapping[str, ArtifactRef]  # by the benchmark's name, in the order of names


def score_benchmarks(
    run: Run, model: ArtifactRef, tokenizer: ArtifactRef, benchmarks: Sequence[Items], name: str
) -> Scored:
    """Score a model on all benchmarks; nothing, with a note, of a model that fills gaps."""
    if not benchmarks:
        return {}
    if is_masked(run.store.manifest(model).recipe.config["model"]):
        _note(run, f"{model} fills gaps (model.objective=masked) and cannot be asked for endings: no benchmark scored.")
        return {}
    units = {one.name: _unit(run, model, tokenizer, one, name) for one in benchmarks}
    with stage_work(run, "evaluation", len(units)) as work:
        refs = work.build(list(units.values()), in_parallel=False)
    return dict(zip(units, refs, strict=True))


def read_all(run: Run, benchmarks: Benchmarks) -> list[Items]:
    """The items of all benchmarks, in the order of names; those at addresses are fetched once and kept as artifacts.

    The run's notes say which lines were left out. Raises TextmillError for a benchmark that cannot be read.
    """
    found = []
    for name, config in sorted(benchmarks.items()):
        if config.url is None:
            path = PROJECT_ROOT / Path(config.path or "").expanduser()
            found.append(read_items(path, name, config))
        else:
            ref = _fetched(run, name, config.url, config.sha256 or "")
            with run.store.using([ref]):
                found.append(read_items(run.store.path(ref) / FETCHED_FILE, name, config))
        if note := found[-1].note():
            _note(run, f"benchmark {name}: {note}")
    return found


def read_result(store: Store, ref: ArtifactRef) -> dict[str, Any]:
    """What benchmark.json says: items, chance, accuracy, accuracy_norm and their 95% intervals."""
    result: dict[str, Any] = json.loads(store.read(ref, RESULT_FILE))
    return result


def read_results(store: Store, scored: Scored) -> dict[str, dict[str, Any]]:
    return {name: read_result(store, ref) for name, ref in scored.items()}


def read_answers(store: Store, scored: Scored) -> dict[str, NDArray[np.bool_]]:
    """By benchmark (items, 2): whether each was answered right, by the plain sum and by the sum per byte."""
    return {name: np.load(store.path(ref) / ITEMS_FILE, allow_pickle=False) for name, ref in scored.items()}


def encode_items(items: Items, tokenizer: Path, into: Path) -> dict[str, str]:
    """Write the arrays that `gpt.jobs.ItemPaths` describes; returns their paths by name."""
    loaded = load_tokenizer(tokenizer)
    texts = [text for one in items.items for text in (one.context, *(f" {ending}" for ending in one.endings))]
    encoded = iter(loaded.encode_batch(texts))
    parts: list[list[int]] = []
    for one in items.items:
        parts.append([loaded.eot_id, *next(encoded)])
        parts += [next(encoded) for _ in one.endings]
    arrays: dict[str, NDArray[Any]] = {
        "tokens": np.array([number for part in parts for number in part], token_dtype(loaded.vocab_size)),
        "parts": np.cumsum([0, *map(len, parts)], dtype=np.int64),
        "items": np.array([(len(one.endings), one.label) for one in items.items], np.int64),
        "sizes": np.array([len(ending.encode()) for one in items.items for ending in one.endings], np.int64),
    }
    into.mkdir(parents=True, exist_ok=True)
    paths = {name: into / f"{name}.npy" for name in arrays}
    for name, array in arrays.items():
        np.save(paths[name], array)
    return {name: str(path) for name, path in paths.items()}


def _unit(run: Run, model: ArtifactRef, tokenizer: ArtifactRef, items: Items, name: str) -> Unit:
    job = {"model_dir": str(run.store.place(model)), "runtime": trainer_runtime(run.runtime)}
    inputs: dict[str, str | list[str]] = {"model": model.digest, "tokenizer": tokenizer.digest}
    what = identity("evaluation", {"benchmark": {"items": items.digest()}}, inputs)
    make = partial(_score, job, items, run.store.place(tokenizer))
    reads = {model: WEIGHTS, tokenizer: "*"}
    return Unit(name, f"{name}: {items.name}", what, (model, tokenizer), make, reads=reads)


def _score(job: dict[str, Any], items: Items, tokenizer: Path, build: Build, progress: UnitProgress) -> Facts:
    arrays = encode_items(items, tokenizer, build.keep / "items")
    run_job("gpt.choices", job | {"items": arrays}, build)
    result = json.loads((build.out / RESULT_FILE).read_text())
    counts = {key: value for key, value in result.items() if isinstance(value, int | float)}
    return Facts(counts=counts, details={"benchmark": items.name})


def _fetched(run: Run, name: str, url: str, sha256: str) -> ArtifactRef:
    """The file of a benchmark, which its checksum alone determines: once here it is never fetched again."""
    what = Identity("evaluation", VERSIONS["evaluation"], {"benchmark": {"sha256": sha256}})
    run.use_keys("evaluation", [what.key])
    if hit := run.store.find("evaluation", [what.key]).get(what.key):
        return hit
    if run.runtime.offline:
        raise TextmillError(
            f"The benchmark {name!r} lies at an address and was never fetched into this store, and runtime.offline is "
            f"true: run once without it, or give evaluation.benchmarks.{name}.path."
        )
    unit = Unit(name, f"{name}: items", what, (), partial(_fetch, url, sha256))
    with stage_work(run, "evaluation") as work:
        return work.build([unit], in_parallel=False)[0]


def _fetch(url: str, sha256: str, build: Build, progress: UnitProgress) -> Facts:
    with Web(USER_AGENT) as web:
        web.download(url, build.out / FETCHED_FILE, expect_sha256=sha256, progress=progress)
    return Facts()


def _note(run: Run, note: str) -> None:
    if note not in run.notes:
        run.notes.append(note)
