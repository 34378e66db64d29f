"""Scores of challenger and champion on the same held-out passages, and how much of its training text each repeats.

Both are scored on the validation text of the newest corpus, each in tokens of its own; what its passages are to the
champion (`data.heldout`) follows from the shards that the champion's arrays were made from, as its manifest names them.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.corpus import VALIDATION_FILE
from data.errors import TextmillError
from data.facts import Facts
from data.heldout import KINDS, HeldOut, kinds_of, read_held_out
from data.manifest import ArtifactRef
from data.store import Build, Store
from data.tokens import encode_slot
from gpt.config import EvaluationConfig
from tasks.continuing import trained_arrays
from tasks.gate import Pairs, Verbatim
from tasks.judging import WEIGHTS, evaluate, run_job
from tasks.prompts import is_masked
from tasks.registry import identity
from tasks.retrain_config import RetrainConfig
from tasks.run import Run
from tasks.slots import Slot
from tasks.training import Arrays, trainer_runtime
from tasks.units import Unit, UnitProgress, run_unit, stage_work

MEMORISATION_FILE = "memorisation.json"
PASSAGES_FILE = "passages.npy"
PREFIX_BYTES, SPAN_BYTES = 100, 50


def compare_on_held_out(
    run: Run,
    challenger: ArtifactRef,
    champion: ArtifactRef,
    arrays: Arrays,
    shards: Sequence[Slot],
    config: EvaluationConfig,
    name: str,
) -> dict[tuple[str, str], Pairs]:
    """Scores of both models by (source, kind of text); kinds are those of `data.heldout` but for what was trained on.

    arrays  of the newest corpus, in the challenger's tokens
    shards  of the same slots, in the same order
    """
    theirs = _in_tokens_of(run, champion, arrays, shards)
    scores = []
    for model, scored in ((challenger, arrays), (champion, theirs)):
        evaluation = evaluate(run, model, scored, config, name)
        if evaluation is None:
            return {}
        scores.append(np.load(run.store.path(evaluation) / PASSAGES_FILE, allow_pickle=False))
    slots = [slot for source in arrays.sources for slot in shards if slot.source == source]  # the order of evaluations
    older = shards_of(run.store, champion)
    with run.store.using({*(slot.ref for slot in slots), *older}):
        parts = [read_held_out(run.store.place(slot.ref)) for slot in slots]
        held = HeldOut(*([one for part in parts for one in getattr(part, of)] for of in ("places", "digests", "sizes")))
        _refuse_other_counts(scores, len(held), challenger)
        kinds = kinds_of(held, [run.store.place(ref) for ref in older])
    sources = np.repeat([slot.source for slot in slots], [len(part) for part in parts])
    sizes = np.array(held.sizes, np.float64)
    marks = [(source, *place[:2]) for source, place in zip(sources.tolist(), held.places, strict=True)]
    numbers = {mark: number for number, mark in enumerate(dict.fromkeys(marks))}
    documents = np.array([numbers[mark] for mark in marks], np.int64)
    pairs: dict[tuple[str, str], Pairs] = {}
    for source in arrays.sources:
        for number, kind in enumerate(KINDS[:2]):
            chosen = (sources == source) & (kinds == number)
            pairs[source, kind] = Pairs(scores[0][chosen, 0], scores[1][chosen, 0], sizes[chosen], documents[chosen])
        if trained := int(((sources == source) & (kinds == KINDS.index("trained on"))).sum()):
            run.notes.append(f"{source}: {trained} held-out passages were trained on by the champion: not compared.")
    return pairs


def memorisation(run: Run, model: ArtifactRef, arrays: Arrays, config: RetrainConfig, name: str) -> Verbatim | None:
    """At how many places in its training text a model goes on verbatim; None where it is not tested."""
    if not config.memorisation_samples or is_masked(run.store.manifest(model).recipe.config["model"]):
        return None
    asked = {
        "samples": config.memorisation_samples,
        "seed": config.seed,
        "prefix_bytes": PREFIX_BYTES,
        "span_bytes": SPAN_BYTES,
    }
    job = arrays.job(run) | asked | {"model_dir": str(run.store.place(model)), "runtime": trainer_runtime(run.runtime)}
    for source in job["sources"].values():
        source["validation"] = []
    what = identity("evaluation", {"memorisation": asked}, {"model": model.digest, **arrays.inputs()})
    reads = {slot.ref: "train*" for slot in arrays.slots} | {model: WEIGHTS, arrays.tokenizer: "*"}
    unit = Unit(name, f"{name}: memorisation", what, (model, *arrays.refs()), partial(_memorise, job), reads=reads)
    ref = run_unit(run, "evaluation", unit)
    result = json.loads(run.store.read(ref, MEMORISATION_FILE))
    return Verbatim(result["verbatim"], result["places"])


def memorisation_of_champion(run: Run, champion: ArtifactRef, config: RetrainConfig, name: str) -> Verbatim | None:
    """The same of a model on what it was trained on; None, with a note, where that is gone."""
    try:
        arrays = trained_arrays(run, champion)
    except TextmillError as error:
        run.notes.append(f"The champion's memorisation cannot be measured: {error}")
        return None
    return memorisation(run, champion, arrays, config, name)


def tokenizer_of(store: Store, model: ArtifactRef) -> ArtifactRef | None:
    """The tokenizer that a model was trained with; None when it is gone."""
    for text in store.manifest(model).inputs:
        stage, _, label = text.partition("/")
        if stage == "tokenizer":
            return next(iter(store.find(stage, [label.rpartition("-")[2]]).values()), None)
    return None


def shards_of(store: Store, model: ArtifactRef) -> list[ArtifactRef]:
    """The shards that a model learnt from, as far as they are still there."""
    tokens = _keys(store.manifest(model).inputs, "tokens")
    manifests = [store.manifest(ref) for ref in store.find("tokens", tokens).values()]
    shards = [key for manifest in manifests for key in _keys(manifest.inputs, "corpus")]
    return list(store.find("corpus", shards).values())


def _keys(inputs: Sequence[str], stage: str) -> list[str]:
    return [text.rpartition("-")[2] for text in inputs if text.startswith(f"{stage}/")]


def _in_tokens_of(run: Run, model: ArtifactRef, arrays: Arrays, shards: Sequence[Slot]) -> Arrays:
    """The validation text of `shards` in a model's own tokens, in the order of `arrays`."""
    tokenizer = tokenizer_of(run.store, model)
    if tokenizer is None:
        raise TextmillError(
            f"{model} cannot be compared: its tokenizer is gone. `textmill promote REF` chooses another champion."
        )
    if tokenizer.digest == arrays.tokenizer.digest:
        return arrays
    units = []
    for slot in shards:
        inputs: dict[str, str | list[str]] = {"corpus": slot.ref.digest, "tokenizer": tokenizer.digest}
        passages = int(run.store.manifest(slot.ref).counts["validation_passages"])
        make = partial(_encode_validation, run.store.place(slot.ref), run.store.place(tokenizer), passages)
        what = identity("tokens", {"sides": ["validation"]}, inputs)
        reads = {slot.ref: "validation*", tokenizer: "*"}
        units.append(Unit(slot.name, f"{slot.label}, validation", what, (slot.ref, tokenizer), make, reads=reads))
    with stage_work(run, "tokens", len(units)) as work:
        refs = work.build(units)
    return replace(
        arrays, slots=[replace(slot, ref=ref) for slot, ref in zip(shards, refs, strict=True)], tokenizer=tokenizer
    )


def _encode_validation(corpus: Path, tokenizer: Path, passages: int, build: Build, progress: UnitProgress) -> Facts:
    """Raises TextmillError where the shard in `corpus` holds other than the `passages` of its manifest."""
    there = build.keep / "shards"  # a corpus without training text
    there.mkdir(exist_ok=True)
    link = there / VALIDATION_FILE
    link.unlink(missing_ok=True)
    if (corpus / VALIDATION_FILE).exists():
        link.symlink_to(corpus / VALIDATION_FILE)
    facts = encode_slot(there, tokenizer, build.out, 1, progress)
    if (encoded := facts.counts["validation_documents"]) != passages:
        raise TextmillError(
            f"{corpus / VALIDATION_FILE} gave {encoded} passages, its manifest counts {passages}: `textmill verify` "
            "tells what is damaged; then run the same again."
        )
    return facts


def _memorise(job: dict[str, Any], build: Build, progress: UnitProgress) -> Facts:
    run_job("gpt.memorise", job, build)
    result = json.loads((build.out / MEMORISATION_FILE).read_text())
    return Facts(counts={"places": result["places"], "verbatim": result["verbatim"], "share": result["share"]})


def _refuse_other_counts(scores: Sequence[NDArray[np.float64]], passages: int, model: ArtifactRef) -> None:
    counts = {len(one) for one in scores} | {passages}
    if len(counts) > 1:
        raise TextmillError(
            f"{model} was scored on {len(scores[0])} passages, the champion on {len(scores[1])}, and the shards hold "
            f"{passages}: run it again with --refresh evaluation."
        )
