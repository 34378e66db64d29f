"""What a run begins from: weights that its seed gives, those of an earlier model, or the state of an earlier run.

Three ways lead on from an earlier model. `init_from` takes its weights alone, for a new plan with fresh moments of the
optimizer. `continue_from` takes the whole state of a part of the same plan, and ends with the bytes that one run of the
whole plan would have. `extends` takes the whole state of a finished run and adds steps by a schedule of their own. Here
is said what each of them needs and refuses; imports no torch, so that it can be asked before a trainer is started.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpt.config import ModelConfig, require
from gpt.errors import GPTError
from gpt.files import digest
from gpt.gpt2_config import CONFIG_FILE, read_gpt2_config
from gpt.identity import refuse_other_identity
from gpt.jobfile import read_job, read_json

STATE = "state"  # folder of a published model that holds its run's last state
STATE_FILE = "state.json"
MODEL_FILE = "model.json"
MAY_DIFFER = ("dropout", "context")  # between a model and the one whose weights it begins with


@dataclass(frozen=True)
class Start:
    """What a run begins from; by default weights drawn by its seed. Digests belong to its identity, paths do not.

    init_from      folder of a model (model.json or GPT-2's config.json) whose weights it begins with
    init_digest    SHA-256 of those weights (`weights_digest`)
    continue_from  `state` folder that an earlier part of the same plan has published
    extends        `state` folder of the finished run that this one extends
    extends_digest SHA-256 of its state.json (`state_digest`), which holds those of all files beside it
    rate_share     of an extension: its highest learning rate as a share of the plan's, above 0, at most 1
    """

    init_from: Path | None = None
    init_digest: str = ""
    continue_from: Path | None = None
    extends: Path | None = None
    extends_digest: str = ""
    rate_share: float = 1.0

    def __post_init__(self) -> None:
        require(0 < self.rate_share <= 1, "rate_share", self.rate_share, "above 0 and at most 1")
        for folder, value in (("init_from", self.init_digest), ("extends", self.extends_digest)):
            if getattr(self, folder) is not None and not value:
                raise ValueError(f"{folder} is given without {folder.removesuffix('_from')}_digest: give both.")
            if value and getattr(self, folder) is None and self.continue_from is None:
                raise ValueError(f"{folder.removesuffix('_from')}_digest is given without {folder}: give both.")
        if self.init_digest and self.extends_digest:
            raise ValueError("init_from and extends are both given: an extended run has weights, leave init_from out.")
        if self.rate_share != 1 and not self.extends_digest:
            raise ValueError(f"rate_share is {self.rate_share}, but only a run that `extends` another takes one.")

    def identity(self) -> dict[str, Any]:
        """What of it determines the resulting bytes; empty when nothing is given."""
        content: dict[str, Any] = {}
        if self.init_digest:
            content["init_digest"] = self.init_digest
        if self.extends_digest:
            content |= {"extends_digest": self.extends_digest, "rate_share": self.rate_share}
        return {"start": content} if content else {}


def holds_model(folder: Path) -> bool:
    """Whether a folder says that it holds a model: one of this trainer, or one in Hugging Face's form."""
    return (folder / MODEL_FILE).is_file() or (folder / CONFIG_FILE).is_file()


def is_gpt2(folder: Path) -> bool:
    """Whether a model's folder holds GPT-2's weights in Hugging Face's form, and none of this trainer."""
    return not (folder / MODEL_FILE).is_file()


def weights_digest(folder: Path) -> str:
    """What identifies the weights of a model's folder, one file or shards. Raises GPTError when there are none."""
    path = folder / "model.safetensors"
    if path.is_file():
        return digest(path)
    shards = sorted(folder.glob("model-*.safetensors"))
    if not shards:
        raise GPTError(f"{folder} holds no model.safetensors: name the folder of a trained model.")
    return hashlib.sha256("\n".join(f"{shard.name} {digest(shard)}" for shard in shards).encode()).hexdigest()


def state_digest(state: Path) -> str:
    """What identifies the state of a finished run. Raises GPTError when there is none."""
    if not (state / STATE_FILE).is_file():
        raise GPTError(f"{state} holds no {STATE_FILE}: a run goes on only from a model that was published with it.")
    return digest(state / STATE_FILE)


def shaped_like(model: ModelConfig, folder: Path) -> ModelConfig:
    """What `model` leaves open of its shape, as the model in `folder` has it; biases if GPT-2's weights have them."""
    theirs = _config_in(folder)
    taken = {name for name, value in vars(model).items() if value is None} - {"dropout", "vocab_size"}
    if model.preset == theirs.preset == "gpt2":
        taken.add("bias")
    elif model.preset != theirs.preset:
        return model  # `refuse_other_model` says so
    try:
        return replace(model, **{name: getattr(theirs, name) for name in taken})
    except ValueError as error:
        raise GPTError(f"model, with what it leaves open as in {folder}: {error}") from None


def refuse_other_model(folder: Path, model: ModelConfig, tokenizer_digest: str) -> None:
    """Raise GPTError unless a model can begin with the weights in `folder`: equal shape, and the same tokenizer.

    Weights without a record of their tokenizer (no state beside them) are taken if the vocabulary has the same size.
    """
    state = folder / STATE / STATE_FILE
    known = read_json(state)["identity"].get("tokenizer_digest") if state.is_file() else None
    if known not in (None, tokenizer_digest):
        raise GPTError(
            f"The weights in {folder} were trained with tokenizer {known[:12]}, and this run's is "
            f"{tokenizer_digest[:12]}: to other ids they mean nothing. Pin the older tokenizer (tokenizer.kind: "
            f"artifact), or train without init_from."
        )
    theirs = _config_in(folder)
    may_differ = MAY_DIFFER if model.preset == "modern" else MAY_DIFFER[:1]
    differing = [
        f"model.{name} is {ours!r}, and there it is {getattr(theirs, name)!r}"
        for name, ours in vars(model).items()
        if ours != getattr(theirs, name) and name not in may_differ
    ]
    if model.preset != theirs.preset:
        differing = differing[:1]  # all else follows from it
    if differing:
        raise GPTError(
            f"The weights in {folder} do not fit this run's model: {'; '.join(differing)}. Set the same values, or "
            f"train without init_from."
        )


def refuse_other_plan(state: Path, identity: Mapping[str, Any]) -> None:
    """Raise GPTError unless `state` is of an earlier part of the run with this identity (`RunJob.identity`)."""
    saved = read_json(state / STATE_FILE)
    ours = _without_end(identity)
    refuse_other_identity(
        _without_end(saved["identity"]),
        ours,
        state,
        "A plan goes on with the data, tokenizer and settings that it began with: restore them, or begin a new run "
        "with these weights (init_from).",
    )
    end, plan_end = identity["training"]["stop_at"], _plan_end(saved)
    if saved["step"] == plan_end < end:
        raise GPTError(
            f"{state} is of step {saved['step']}, to which the guard has cut short its plan of {end}: there is nothing "
            f"left to go on with, extend it instead (extends)."
        )
    if saved["step"] >= end:
        raise GPTError(
            f"{state} is of step {saved['step']}, and this run ends at step {end}: set training.stop_at above "
            f"{saved['step']}, at most {identity['training']['steps']}."
        )


def refuse_other_base(state: Path, identity: Mapping[str, Any]) -> None:
    """Raise GPTError unless the run with this identity can extend the finished one whose last state this is."""
    saved = read_json(state / STATE_FILE)
    same = ("model", "weights", "eot_id", "tokenizer_digest", "data_digest")
    refuse_other_identity(
        {name: saved["identity"][name] for name in same},
        {name: identity[name] for name in same},
        state,
        "A run is extended on the data and tokenizer that it had: restore them, or begin a new run with these weights "
        "(init_from).",
    )
    planned = _plan_end(saved)
    if saved["step"] < planned:
        raise GPTError(
            f"{state} is of step {saved['step']} of a plan of {planned}: go on with that plan first (continue_from)."
        )


def _plan_end(saved: Mapping[str, Any]) -> int:
    """Where the plan of a saved state ends: as planned, or where the guard has cut it short."""
    cut = saved["state"].get("guard", {}).get("cut")
    return int(cut["steps"] if cut else saved["identity"]["training"]["steps"])


def _config_in(folder: Path) -> ModelConfig:
    if is_gpt2(folder):
        return read_gpt2_config(folder)
    return read_job(ModelConfig, folder / MODEL_FILE)


def _without_end(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {**identity, "training": {k: v for k, v in identity["training"].items() if k != "stop_at"}}
