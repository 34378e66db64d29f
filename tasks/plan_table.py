"""A plan as people read it: what it comes to, every number and where it came from. Knows no stage and no store."""

from collections.abc import Mapping
from typing import Any

from gpt.config import ModelConfig, TrainingConfig
from gpt.sizing import USUAL_CPU_RATE, Corpus, Speed, all_parameters, effective_tokens, flops_per_token


def rows(content: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The table of a plan, as texts: name, value, where it came from; first what it comes to, then every number."""
    said = [(number["name"], _shown(number["value"]), number["origin"]) for number in content["numbers"]]
    return [*((name, value, remark) for name, value, remark in content["outlook"]), *said]


def outlook(
    model: ModelConfig, training: TrainingConfig, corpus: Corpus, speed: Speed | None
) -> list[tuple[str, str, str]]:
    """What resolved numbers come to: name, value as text, remark."""
    tokens = (training.steps or 0) * (training.batch_size or 0) * (model.context or 0)
    epochs = tokens / corpus.train_tokens
    count = all_parameters(model)
    work = tokens * flops_per_token(model)
    rate = speed.in_training(model.layers or 0) if speed else USUAL_CPU_RATE
    where = speed.name if speed else "two CPU cores, as a rule"
    worth = effective_tokens(corpus.train_tokens, epochs)
    repeated = (
        f"repeated text is worth {worth:,.0f} fresh tokens (arXiv 2305.16264)" if epochs > 1 else "times all text"
    )
    return [
        ("parameters", f"{count:,}", f"{count / corpus.train_tokens:.3g} per token of text"),
        ("text", f"{corpus.train_tokens:,} tokens", f"{corpus.train_bytes:,} bytes of training text"),
        ("tokens seen", f"{tokens:,}", "steps x batch_size x context"),
        ("epochs", f"{epochs:.2f}", repeated),
        ("work", f"{work:.2g} FLOPs", "6 per parameter and token, and 12 x layers x width x context"),
        ("time", _duration(work / rate), f"at {rate / 1e9:,.0f} GFLOP/s: {where}"),
    ]  # fmt: skip


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}" if value >= 10_000 else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"
