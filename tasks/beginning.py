"""What a training begins from, as the model stage sees it: weights or a state out of an earlier model.

Says what of it enters RUN.json, the key and the lineage; the rules are those of `gpt.start`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from data.errors import TextmillError
from data.manifest import ArtifactRef, Identity, Manifest
from data.tokenizers.load import load_tokenizer
from gpt.config import ModelConfig
from gpt.errors import GPTError
from gpt.start import STATE, holds_model, is_gpt2, refuse_other_model, shaped_like, state_digest, weights_digest
from tasks.champions import resolve
from tasks.run import Run
from tasks.runtime import PROJECT_ROOT

DIARIES = ("metrics.jsonl", "samples.jsonl")


@dataclass(frozen=True)
class Beginning:
    """By default the weights that the seed gives.

    start   entry of RUN.json
    config  what of it enters the identity's config
    inputs  digests by role, for the identity
    refs    artifacts that it comes from
    diary   where the metrics and samples of an earlier part of the same plan lie
    """

    start: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    refs: tuple[ArtifactRef, ...] = ()
    diary: Path | None = None


def weights_folder(run: Run, init_from: str) -> tuple[Path, ArtifactRef | None]:
    """Where the weights that a recipe's `init_from` names lie: a model artifact, or a folder that holds a model."""
    folder = PROJECT_ROOT / Path(init_from).expanduser()
    if not init_from.startswith("model/") and holds_model(folder):
        return folder, None
    try:
        ref = find_model(run, init_from)
    except TextmillError as error:
        raise TextmillError(
            f"init_from is {init_from!r}: no folder with model.json or (GPT-2's) config.json, and in the store: {error}"
        ) from None
    return run.store.path(ref), ref


def shape_from(run: Run, folder: Path, model: ModelConfig, tokenizer: ArtifactRef) -> ModelConfig:
    """`model` with what it leaves open as the one in `folder` has it. Raises TextmillError when that has other ids."""
    kind = load_tokenizer(run.store.path(tokenizer)).vocabulary.kind
    if is_gpt2(folder) and kind != "gpt2":
        raise TextmillError(
            f"init_from is {folder}, with GPT-2's weights, which know the ids of its tokenizer alone, and this corpus "
            f"has tokenizer.kind {kind!r}: set tokenizer.kind=gpt2."
        )
    try:
        return shaped_like(model, folder)
    except GPTError as error:
        raise TextmillError(str(error)) from error


def from_weights(
    run: Run, folder: Path, ref: ArtifactRef | None, model: ModelConfig, tokenizer: ArtifactRef
) -> Beginning:
    """Begin a new plan with the weights in `folder`. Raises TextmillError when they do not fit model or tokenizer."""
    try:
        refuse_other_model(folder, model, tokenizer.digest)
        digest = run.store.manifest(ref).files["model.safetensors"].sha256 if ref else weights_digest(folder)
    except GPTError as error:
        raise TextmillError(str(error)) from error
    start = {"init_from": str(folder), "init_digest": digest}
    return Beginning(start, inputs={"init_from": digest}, refs=(ref,) if ref else ())


def from_part(run: Run, part: ArtifactRef) -> Beginning:
    """Go on with the plan of which `part` is the result so far; what that began from stays in the identity."""
    manifest, folder = run.store.manifest(part), run.store.path(part)
    start: dict[str, Any] = {"continue_from": str(folder / STATE)}
    began = {role: str(d) for role, d in manifest.recipe.inputs.items() if role in ("init_from", "extends")}
    if "init_from" in began:
        start["init_digest"] = began["init_from"]
    config = {}
    if "extends" in began:
        config = {"rate_share": manifest.recipe.config["rate_share"]}
        start |= {"extends_digest": began["extends"], **config}
    return Beginning(start, config, began, (part,), folder / "observed")


def from_finished(run: Run, model: ArtifactRef, rate_share: float) -> Beginning:
    """Extend the finished run that made `model`. Raises TextmillError when its state was not kept."""
    state = run.store.path(model) / STATE
    try:
        digest = state_digest(state)
    except GPTError as error:
        raise TextmillError(str(error)) from error
    config = {"rate_share": rate_share}
    start = {"extends": str(state), "extends_digest": digest, **config}
    return Beginning(start, config, {"extends": digest}, (model,))


def earlier_part(run: Run, wanted: Identity) -> ArtifactRef | None:
    """The farthest published part of the plan that `wanted` is a later part of, if there is one."""
    end = wanted.config["training"]["stop_at"]
    parts: list[tuple[int, ArtifactRef]] = []
    for manifest in run.store.manifests("model"):
        reached = stop_of(manifest)
        if reached < end and _at(manifest.recipe, end) == wanted:
            parts.append((reached, manifest.ref))
    for _, part in sorted(parts, reverse=True):
        run.use(part)
        if run.store.find("model", [part.key]):
            return part
    return None


def stop_of(manifest: Manifest) -> int:
    """The step at which a model's run has ended."""
    training = manifest.recipe.config["training"]
    return int(training.get("stop_at", training["steps"]))


def find_model(run: Run, text: str) -> ArtifactRef:
    """The model artifact that `text` names. Raises TextmillError when it names none, or something else."""
    ref = resolve(run.store, text)
    if ref.stage != "model":
        raise TextmillError(f"{ref} is no model; `textmill ls model` lists them.")
    run.use(ref)
    return ref


def _at(identity: Identity, end: int) -> Identity:
    training = identity.config["training"] | {"stop_at": end}
    return replace(identity, config=identity.config | {"training": training})
