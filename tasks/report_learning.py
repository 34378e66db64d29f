"""How a model learned: its loss curves, and what it wrote along the way and at its best.

None of it is part of an identity; any of it may be missing, and then the report does without. Knows nothing of pages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.manifest import ArtifactRef
from data.store import Store
from data.verification import OBSERVED
from tasks.prompts import written
from tasks.report_facts import Made, read_json, read_lines

COMPLETIONS_FILE = "completions.json"
MAX_ATTEMPTS = 4  # columns of samples side by side, the last of them by the published model

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Curve:
    """Values over steps; both tuples have one length, steps ascend."""

    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)


@dataclass(frozen=True)
class Curves:
    """How training went. Losses in nats per token; `best_step` is that of the published weights, None if unknown."""

    train: Curve = Curve()
    validation: Curve = Curve()
    bits_per_byte: Curve = Curve()
    best_step: int | None = None


@dataclass(frozen=True)
class Attempt:
    """What a model wrote after a prompt; of a prompt with gaps, the whole text with them filled in."""

    label: str  # e.g. `Step 100`
    text: str


@dataclass(frozen=True)
class PromptSamples:
    """One prompt and what the model made of it as it learned."""

    prompt: str
    attempts: tuple[Attempt, ...]

    @property
    def beginning(self) -> str:
        """What stands before each attempt's text."""
        return written(self.prompt, "")


def read_curves(store: Store, model: ArtifactRef) -> Curves:
    """Loss curves of a model, empty ones where it left no metrics."""
    lines = list(read_lines(_observed_file(store, model, "metrics.jsonl")))
    best = store.manifest(model).counts.get("best_step")
    return Curves(
        _curve(lines, "train", "loss"),
        _curve(lines, "evaluation", "val_loss"),
        _curve(lines, "evaluation", "val_bpb"),
        None if best is None else int(best),
    )


def _curve(lines: Sequence[Mapping[str, Any]], kind: str, field: str) -> Curve:
    points = [
        (int(line["step"]), float(line[field]))
        for line in lines
        if line.get("kind") == kind and line.get(field) is not None
    ]
    return Curve(tuple(step for step, _ in points), tuple(value for _, value in points))


def read_completions(store: Store, samples: ArtifactRef) -> dict[str, str]:
    """{prompt: what the published model wrote after it}, the first completion of each prompt."""
    found: dict[str, str] = {}
    for one in read_json(store.path(samples) / COMPLETIONS_FILE)["completions"]:
        found.setdefault(one["prompt_text"], one["text"])
    return found


def read_samples(store: Store, made: Made, decode: Decode) -> list[PromptSamples]:
    """What the model wrote at its first step, on the way and at its best, prompt by prompt.

    The model's manifest names the prompts that it was given along the way; a model reused with other prompts has no
    attempts for those.
    """
    completions = read_completions(store, made.samples)
    prompts = store.manifest(made.model).details.get("prompts", list(completions))
    earlier: dict[str, dict[int, str]] = {prompt: {} for prompt in completions}
    for line in read_lines(_observed_file(store, made.model, "samples.jsonl")):
        if line["prompt"] < len(prompts) and prompts[line["prompt"]] in earlier:
            earlier[prompts[line["prompt"]]][line["step"]] = decode(line["ids"])
    return [
        PromptSamples(
            prompt,
            (
                *(Attempt(f"Step {step:,}", earlier[prompt][step]) for step in _spread(sorted(earlier[prompt]))),
                Attempt("Best weights", text),
            ),
        )
        for prompt, text in completions.items()
    ]


def _spread(steps: Sequence[int]) -> list[int]:
    """The first step and some between it and the last, evenly spread; the last is left to the published model."""
    room = MAX_ATTEMPTS - 1
    candidates = list(steps[:-1]) or list(steps)
    if len(candidates) <= room:
        return candidates
    return [candidates[round(i * (len(candidates) - 1) / (room - 1))] for i in range(room)]


def _observed_file(store: Store, ref: ArtifactRef, name: str) -> Path:
    """Where a model's artifact has a file about its training: at its top, or below `observed`."""
    folder = store.path(ref)
    return folder / name if (folder / name).exists() else folder / OBSERVED / name
