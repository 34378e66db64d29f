"""Going on from a model: with the plan that its run is a part of, or beyond a finished one by a stated schedule."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from data.errors import TextmillError
from data.manifest import ArtifactRef, Manifest, differences, key_in
from gpt.config import ModelConfig, SamplingConfig, TrainingConfig
from tasks.beginning import find_model, from_finished, from_part, stop_of
from tasks.run import Run
from tasks.slots import Slot
from tasks.training import Arrays, capped, resolve_plan, train_planned

RATE_SHARE = 0.5


@dataclass(frozen=True)
class Continuation:
    """`steps` more from `model`; `rate_share` is for a finished run alone, None: RATE_SHARE."""

    model: ArtifactRef
    steps: int
    rate_share: float | None = None


def continue_training(
    run: Run,
    wanted: Continuation,
    arrays: Arrays,
    prompts: Sequence[str],
    sampling: SamplingConfig,
    name: str,
    settings: tuple[ModelConfig, TrainingConfig] | None = None,
) -> ArtifactRef:
    """Train `wanted.steps` more steps, on arrays that must be those that the model was trained on.

    A model of an unfinished plan (`training.stop_at` below `training.steps`) goes on with that plan, and ends as one
    run of so many steps would have. A finished one is extended: the learning rate rises again, to `rate_share` of the
    plan's highest, and falls over all of the added steps. With `settings`, a recipe's plan, the model must have been
    trained by it. Raises TextmillError for what cannot be.
    """
    manifest = run.store.manifest(wanted.model)
    shape = ModelConfig(**manifest.recipe.config["model"])
    plan = TrainingConfig(**manifest.recipe.config["training"])
    has_caps = any(arrays.max_epochs.values())
    arrays = capped(run, arrays, shape, _first_plan(run, manifest) if has_caps else plan)
    _refuse_other_arrays(manifest, arrays)
    if settings is not None:
        _refuse_other_settings(manifest, *settings)
    done, planned = stop_of(manifest), plan.steps or 0
    if wanted.steps < 1:
        raise TextmillError(f"steps is {wanted.steps}, but at least 1 must be added to {wanted.model}.")
    if done == planned:
        share = RATE_SHARE if wanted.rate_share is None else wanted.rate_share
        if not 0 < share <= 1:
            raise TextmillError(f"rate_share is {share:g}, but it must be above 0 and at most 1.")
        plan, beginning = _extension(run, arrays, shape, plan, wanted.steps), from_finished(run, wanted.model, share)
    else:
        _refuse_other_schedule(wanted, done, planned)
        plan, beginning = replace(plan, stop_at=done + wanted.steps), from_part(run, wanted.model)
    return train_planned(run, arrays, shape, plan, prompts, sampling, name, beginning)


def trained_arrays(run: Run, model: ArtifactRef) -> Arrays:
    """The arrays that a model was trained on, from its manifest. Raises TextmillError when one is gone."""
    manifest = run.store.manifest(model)
    for stage in ("tokens", "tokenizer"):
        run.use_keys(stage, [key_in(text) for text in manifest.inputs if text.startswith(f"{stage}/")])
    refs, gone = [], []
    for text in manifest.inputs:
        try:
            refs.append(run.store.resolve(text))
        except TextmillError:
            gone.append(text)
    slots = {ref.digest: ref for ref in refs if ref.stage == "tokens"}
    entries = manifest.recipe.config["arrays"]
    tokenizer = next((ref for ref in refs if ref.stage == "tokenizer"), None)
    changed = [digest[:12] for entry in entries for digest in entry["tokens"] if digest not in slots]
    if changed or tokenizer is None:
        missing = ", ".join(gone or changed)
        raise TextmillError(f"{model} cannot go on: of what it was trained on, {missing} is gone or changed.")
    labels = [slots[entry["tokens"][0]].name.rpartition("-")[0] if entry["tokens"] else "" for entry in entries]
    if labels != sorted(set(labels)):
        labels = [f"{number:04d}-{label}" for number, label in enumerate(labels)]
    made = [
        Slot(label, number, "", f"{label} {number + 1}/{len(entry['tokens'])}", slots[digest])
        for label, entry in zip(labels, entries, strict=True)
        for number, digest in enumerate(entry["tokens"])
    ]
    return Arrays(made, {label: entry["weight"] for label, entry in zip(labels, entries, strict=True)}, tokenizer)


def named_continuation(run: Run, model: str | None, steps: int | None, rate_share: float | None) -> Continuation | None:
    """What a command or a deployment asks for, None if nothing. Raises TextmillError when a part of it is missing."""
    if model is None and steps is None and rate_share is None:
        return None
    if model is None or steps is None:
        given = f"continue_from is {model or 'missing'}, steps is {steps or 'missing'}"
        raise TextmillError(f"{given}: say which model goes on, and for how many steps.")
    return Continuation(find_model(run, model), steps, rate_share)


def _first_plan(run: Run, manifest: Manifest) -> TrainingConfig:
    """The plan whose length has capped the weights of a model: of an extension, that of the run it goes back to."""
    while "extends" in manifest.recipe.inputs:
        base = next(text for text in manifest.inputs if text.startswith("model/"))
        try:
            manifest = run.store.manifest(run.store.resolve(base))
        except TextmillError:
            raise TextmillError(
                f"{manifest.ref} extends {base}, which is gone, so nobody can say how far max_epochs held its sources "
                f"back: use `textmill train --continue`, which takes the weights that it was trained with."
            ) from None
    return TrainingConfig(**manifest.recipe.config["training"])


def _extension(run: Run, arrays: Arrays, shape: ModelConfig, plan: TrainingConfig, steps: int) -> TrainingConfig:
    """A plan of `steps` like `plan`: warm-up and validation by formula for so many, then falling to the end."""
    opened = replace(plan, steps=steps, stop_at=None, warmup_share=None, decay_share=None, evaluation_every=None)
    resolved = resolve_plan(run, arrays, shape, opened)[1]
    return replace(resolved, decay_share=1 - (resolved.warmup_share or 0))


def _refuse_other_schedule(wanted: Continuation, done: int, planned: int) -> None:
    if wanted.rate_share is not None:
        raise TextmillError(
            f"rate_share is {wanted.rate_share:g}, but {wanted.model} is at step {done} of a plan of {planned}, which "
            f"sets the rate: leave it out."
        )
    if done + wanted.steps > planned:
        raise TextmillError(
            f"{wanted.model} is at step {done} of a plan of {planned}, so {planned - done} steps are left, and "
            f"{wanted.steps} were asked for: finish the plan first, then extend it."
        )


def _refuse_other_arrays(manifest: Manifest, arrays: Arrays) -> None:
    trained = manifest.recipe
    if trained.inputs["tokenizer"] != arrays.tokenizer.digest:
        raise TextmillError(
            f"{manifest.ref} was trained with tokenizer {_short(trained.inputs['tokenizer'])}, and this corpus has "
            f"{_short(arrays.tokenizer.digest)}: to other ids its weights mean nothing. Pin the older one "
            "(tokenizer.kind: artifact), or train anew."
        )
    _refuse(
        manifest,
        differences(trained.config["arrays"], arrays.recipe(), "arrays"),
        "`textmill train --continue` goes on with the data that it had; to train on other text, begin a new run with "
        "its weights (init_from).",
    )


def _refuse_other_settings(manifest: Manifest, shape: ModelConfig, plan: TrainingConfig) -> None:
    trained = manifest.recipe.config
    found = differences(trained["model"], asdict(shape), "model")
    if "extends" not in manifest.recipe.inputs:
        found += differences(trained["training"], asdict(plan), "training")
    _refuse(
        manifest,
        [one for one in found if one[0] != "training.stop_at"],
        "Set the recipe's values to these, or use `textmill train --continue`, which takes no recipe.",
    )


def _refuse(manifest: Manifest, found: list[tuple[str, Any, Any]], remedy: str) -> None:
    if found:
        shown = "; ".join(f"{at} was {_short(old)} and is {_short(new)}" for at, old, new in found[:3])
        raise TextmillError(f"{manifest.ref} cannot go on like this: {shown}. {remedy}")


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_short(one) for one in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_short(one)}' for name, one in value.items())}}}"
    return value[:12] if isinstance(value, str) else "absent" if value is None else str(value)
