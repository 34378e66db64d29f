"""Whether a training can begin with the champion's weights, and with which numbers. Knows nothing of gates."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from data.corpus import SplitConfig
from data.forgetting.taint import is_tainted
from data.manifest import ArtifactRef
from data.store import Store
from data.tokenizers.config import TokenizerConfig
from gpt.config import ModelConfig, TrainingConfig
from gpt.start import MAY_DIFFER
from tasks.comparing import tokenizer_of
from tasks.retrain_config import RetrainConfig

RATES = ("learning_rate", "embedding_rate", "head_rate", "gain_rate")


def why_from_scratch(
    store: Store, champion: ArtifactRef, model: ModelConfig, tokenizer: TokenizerConfig, split: SplitConfig
) -> str | None:
    """Why a training by these settings cannot begin with the champion's weights; None when it can."""
    if is_tainted(store, champion):
        return "the champion learnt from text that was taken down since"
    theirs = tokenizer_of(store, champion)
    if theirs is None:
        return "the champion's tokenizer is gone"
    pinned = tokenizer.kind == "artifact"
    if pinned and store.resolve(tokenizer.artifact or "").key != theirs.key:
        return f"tokenizer.artifact is {tokenizer.artifact}, and the champion's is {theirs}"
    manifest = store.manifest(champion)
    had: Mapping[str, Any] = store.manifest(theirs).recipe.config
    wanted = {} if pinned else tokenizer.model_dump(mode="json")
    changed = _changed("tokenizer", had, wanted if had.get("kind") != "gpt2" else {"kind": tokenizer.kind})
    may_differ = MAY_DIFFER if model.preset == "modern" else MAY_DIFFER[:1]
    shape = {name: value for name, value in asdict(model).items() if value is not None and name not in may_differ}
    changed += _changed("model", manifest.recipe.config["model"], shape)
    changed += _changed("split", _split_of(store, champion), split.model_dump(mode="json"))
    return ", ".join(changed[:3]) or None


def gentler(given: TrainingConfig, resolved: TrainingConfig, config: RetrainConfig) -> TrainingConfig:
    """The training of a warm start: what the recipe gives, with fewer steps and lower rates than a plan from scratch.

    given     the recipe's, which leaves open what follows from the number of steps
    resolved  the plan from scratch
    """
    rates = {name: getattr(resolved, name) for name in RATES}
    scaled = {name: rate * config.rate_share for name, rate in rates.items() if rate is not None}
    steps = max(1, round((resolved.steps or 1) * config.steps_share))
    return replace(given, steps=steps, stop_at=None, **scaled)


def _changed(group: str, had: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Settings that both have, with different values."""
    both = [name for name in wanted if name in had and had[name] != wanted[name]]
    return [f"{group}.{name} was {had[name]!r} and is {wanted[name]!r}" for name in both]


def _split_of(store: Store, model: ArtifactRef) -> Mapping[str, Any]:
    """How the text was split that a model learnt from; {} where its shards are gone."""
    keys = [text.rpartition("-")[2] for text in store.manifest(model).inputs if text.startswith("tokens/")]
    for tokens in store.find("tokens", keys).values():
        shards = [text.rpartition("-")[2] for text in store.manifest(tokens).inputs if text.startswith("corpus/")]
        for ref in store.find("corpus", shards).values():
            found: Mapping[str, Any] = store.manifest(ref).recipe.config["split"]
            return found
    return {}
