"""The stages from corpus shards to token arrays: train or adopt the tokenizer, then encode slot by slot."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from data.errors import TextmillError
from data.facts import Facts
from data.forgetting.taint import tainted
from data.manifest import ArtifactRef
from data.store import Build
from data.tokenizers.config import TokenizerConfig
from data.tokenizers.make import make_tokenizer
from data.tokens import encode_slot
from tasks.corpus import train_shards, validation_shards
from tasks.registry import identity
from tasks.run import Run
from tasks.slots import Slot
from tasks.units import Unit, UnitProgress, run_units, stage_work


def choose_tokenizer(run: Run, corpus: Sequence[Slot], config: TokenizerConfig, name: str) -> ArtifactRef:
    """The tokenizer of a corpus: trained on its training shards, GPT-2's own, or the pinned artifact.

    Keyed by the training shards, never by the index: other validation text does not retrain it.
    """
    if config.kind == "artifact":
        pinned = run.store.resolve(config.artifact or "")
        run.use(pinned)
        if pinned.stage != "tokenizer" or not run.store.find("tokenizer", [pinned.key]):
            raise TextmillError(
                f"tokenizer.artifact is {config.artifact!r}, which names {pinned}, no whole tokenizer: "
                "`textmill ls tokenizer` lists them."
            )
        if any(one.ref.key == pinned.key for one in tainted(run.store)):
            run.notes.append(f"{pinned} was trained on text that was forgotten since: train one anew to be rid of it.")
        with stage_work(run, "tokenizer") as work:
            work.record.refs.append(pinned)
            work.record.reused += 1
        run.finish("tokenizer")
        return pinned
    train = train_shards(run, corpus)
    validation = [path for shards in validation_shards(run, corpus).values() for path, _ in shards]
    digests = [digest for _, shards in sorted(train.items()) for _, digest in shards]
    paths = {source: [path for path, _ in shards] for source, shards in sorted(train.items())}
    recipe: dict[str, Any] = {"kind": config.kind}
    if config.kind != "gpt2":  # which is the same whatever the text
        recipe = config.model_dump(mode="json") | {"shards": {source: len(shards) for source, shards in paths.items()}}
    unit = Unit(
        name,
        name,
        identity("tokenizer", recipe, {"train": digests if config.kind != "gpt2" else []}),
        tuple(slot.ref for slot in corpus),
        partial(_make_tokenizer, paths, validation, config),
        reads=dict.fromkeys((slot.ref for slot in corpus), "*"),
    )
    return run_units(run, "tokenizer", [unit], in_parallel=False)[0]


def _make_tokenizer(
    train: dict[str, list[Path]], validation: list[Path], config: TokenizerConfig, build: Build, progress: UnitProgress
) -> Facts:
    return make_tokenizer(train, validation, config, build.out, progress)


def encode(run: Run, corpus: Sequence[Slot], tokenizer: ArtifactRef) -> list[Slot]:
    """Token arrays of every slot. The flow says itself when the stage is done, after noting the corpus."""
    units = []
    threads = max(1, run.runtime.worker_count // max(1, min(run.runtime.worker_count, len(corpus))))
    for slot in corpus:
        inputs: dict[str, str | list[str]] = {"corpus": slot.ref.digest, "tokenizer": tokenizer.digest}
        make = partial(_encode, run.store.place(slot.ref), run.store.place(tokenizer), threads)
        cited = (slot.ref, tokenizer)
        what = identity("tokens", {}, inputs)
        units.append(Unit(slot.name, slot.label, what, cited, make, reads=dict.fromkeys(cited, "*")))
    with stage_work(run, "tokens", len(units)) as work:
        refs = work.build(units)
    return [replace(slot, ref=ref) for slot, ref in zip(corpus, refs, strict=True)]


def _encode(corpus: Path, tokenizer: Path, threads: int, build: Build, progress: UnitProgress) -> Facts:
    return encode_slot(corpus, tokenizer, build.out, threads, progress)
