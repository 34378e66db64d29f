"""What may be gone on from, on the tasks floor: by which weights, and what is refused. Nothing is trained here."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from data.errors import TextmillError
from data.facts import Facts
from data.manifest import ArtifactRef
from gpt.config import ModelConfig, SamplingConfig, TrainingConfig
from gpt.plan import resolve
from tasks import beginning, continuing, training
from tasks.beginning import find_model, shape_from, weights_folder
from tasks.continuing import Continuation, continue_training, named_continuation, trained_arrays
from tasks.mixing import capped_weights
from tasks.registry import identity
from tasks.run import Run
from tasks.runtime import Runtime
from tasks.slots import Slot
from tasks.training import Arrays

TOKENS = {"books": 1_000, "notes": 9_000}
CAPS = {"books": 2.0, "notes": None}
STEPS, BATCH, CONTEXT = 40, 4, 16
SHAPE, PLAN = resolve(
    ModelConfig(layers=1, width=16, heads=1, context=CONTEXT),
    TrainingConfig(steps=STEPS, batch_size=BATCH),
    300,
    sum(TOKENS.values()),
)


class Toy:
    """A store with token arrays, and models that say that they were trained on them."""

    def __init__(self, folder):
        self.run = Run("toy", Runtime(store=str(folder)))
        self.tokenizer = self.put("tokenizer", "toy", {})
        refs = {name: self.put("tokens", f"{name}-0000", {"of": name}, count) for name, count in TOKENS.items()}
        slots = [Slot(name, 0, "", f"{name} 1/1", ref) for name, ref in refs.items()]
        self.arrays = Arrays(slots, {"books": 3.0, "notes": 1.0}, self.tokenizer)

    def put(self, stage, name, config, count=0, inputs=None, cited=()) -> ArtifactRef:
        def make(build):
            (build.out / "payload.txt").write_text(f"{stage} {name} {config} {inputs}")
            if stage == "model":
                (build.out / "state").mkdir()
                (build.out / "state" / "state.json").write_text("{}")
            return Facts({"train_tokens": count, "train_bytes": 4 * count, "validation_tokens": 0})

        return self.run.store.build(identity(stage, config, inputs or {}), name, make, cited)

    def model(self, arrays, plan=PLAN, extends=None) -> ArtifactRef:
        config = {"model": asdict(SHAPE), "training": asdict(plan), "arrays": arrays.recipe()}
        inputs = arrays.inputs() | ({"extends": extends.digest} if extends else {})
        cited = (*arrays.refs(), *([extends] if extends else []))
        return self.put("model", "toy", config | ({"rate_share": 0.5} if extends else {}), 0, inputs, cited)

    def go_on(self, model, steps, arrays=None, rate_share=None, settings=None):
        wanted = Continuation(model, steps, rate_share)
        return continue_training(
            self.run, wanted, arrays or self.arrays, [""], SamplingConfig(), "toy", settings=settings
        )


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Training is left out: what it would have been given is returned in its place."""
    monkeypatch.setattr(training, "load_tokenizer", lambda path: SimpleNamespace(vocab_size=300))
    monkeypatch.setattr(continuing, "train_planned", lambda run, arrays, shape, plan, *rest: (arrays, plan, rest[-1]))
    return Toy(tmp_path)


def test_an_extension_is_extended_with_the_weights_that_its_first_plan_was_capped_with(toy):
    free = toy.arrays
    capped = replace(free, max_epochs=CAPS)
    drawn = STEPS * BATCH * CONTEXT
    assert drawn * 0.75 < 2 * TOKENS["books"] < 3 * drawn * 0.75  # no cap binds in the first plan, in a longer it does
    first = toy.model(free)
    longer = replace(PLAN, steps=3 * STEPS, stop_at=3 * STEPS)
    second = toy.model(free, longer, extends=first)
    third = toy.model(free, longer, extends=second)
    for model in (first, second, third):
        arrays, plan, beginning = toy.go_on(model, 7, capped)
        assert arrays.weights == free.weights and plan.steps == plan.stop_at == 7
        assert beginning.start["extends"].startswith(str(toy.run.store.path(model)))
    bound = capped_weights(free.weights, CAPS, TOKENS, 3 * drawn)
    whole = toy.model(replace(free, weights=bound), longer)
    assert bound != free.weights and toy.go_on(whole, 7, capped)[0].weights == bound


def test_an_extension_whose_first_run_is_gone_says_how_to_go_on(toy):
    first = toy.model(toy.arrays)
    second = toy.model(toy.arrays, extends=first)
    toy.run.store.remove(first)
    with pytest.raises(TextmillError, match=rf"{second} extends {first}, which is gone.*textmill train --continue"):
        toy.go_on(second, 5, replace(toy.arrays, max_epochs=CAPS))
    assert toy.go_on(second, 5)[1].steps == 5  # without caps nobody has to know
    assert toy.go_on(second, 5, trained_arrays(toy.run, second))[1].steps == 5


def test_a_part_goes_on_with_its_plan_and_a_finished_run_by_a_schedule_of_its_own(toy):
    part = toy.model(toy.arrays, replace(PLAN, stop_at=10))
    _, plan, beginning = toy.go_on(part, 30)
    assert plan == PLAN and "continue_from" in beginning.start and beginning.refs == (part,)
    _, plan, beginning = toy.go_on(toy.model(toy.arrays), 9)
    assert beginning.start["rate_share"] == 0.5 and plan.decay_share == 1 - plan.warmup_share
    assert toy.go_on(toy.model(toy.arrays), 9, rate_share=1.0)[2].config == {"rate_share": 1.0}


def test_what_cannot_go_on_is_refused_with_both_values(toy):
    done = toy.model(toy.arrays)
    part = toy.model(toy.arrays, replace(PLAN, stop_at=10))
    other_tokens = toy.put("tokens", "notes-0000", {"of": "others"}, 9_000)
    slots = [toy.arrays.slots[0], replace(toy.arrays.slots[1], ref=other_tokens)]
    old, new = toy.arrays.slots[1].ref.digest[:12], other_tokens.digest[:12]
    with pytest.raises(TextmillError, match=rf"arrays\[1\]\.tokens\[0\] was {old} and is {new}.*init_from"):
        toy.go_on(done, 5, replace(toy.arrays, slots=slots))
    with pytest.raises(TextmillError, match=r"arrays\[0\]\.weight was 3\.0 and is 5\.0"):
        toy.go_on(done, 5, replace(toy.arrays, weights={"books": 5.0, "notes": 1.0}))
    other = toy.put("tokenizer", "other", {"kind": "other"})
    wanted = rf"tokenizer {toy.tokenizer.digest[:12]}, and this corpus has {other.digest[:12]}.*Pin the older one"
    with pytest.raises(TextmillError, match=wanted):
        toy.go_on(done, 5, replace(toy.arrays, tokenizer=other))
    settings = replace(SHAPE, dropout=0.5), replace(PLAN, learning_rate=0.5)
    with pytest.raises(TextmillError, match=r"model\.dropout was 0\.0 and is 0\.5; training\.learning_rate was"):
        toy.go_on(part, 5, settings=settings)
    assert toy.go_on(part, 5, settings=(SHAPE, PLAN))[1].stop_at == 15  # where the recipe's run would end is no matter
    with pytest.raises(TextmillError, match=rf"rate_share is 0\.3, but {part} is at step 10 of a plan of 40"):
        toy.go_on(part, 5, rate_share=0.3)
    with pytest.raises(TextmillError, match="at step 10 of a plan of 40, so 30 steps are left, and 31 were asked for"):
        toy.go_on(part, 31)
    with pytest.raises(TextmillError, match="steps is 0, but at least 1"):
        toy.go_on(done, 0)
    with pytest.raises(TextmillError, match=r"rate_share is 1\.5, but it must be above 0"):
        toy.go_on(done, 5, rate_share=1.5)


def test_arrays_are_found_by_the_models_manifest_and_missed_by_name(toy):
    done = toy.model(toy.arrays)
    found = trained_arrays(toy.run, done)
    assert found.recipe() == toy.arrays.recipe() and found.tokenizer == toy.tokenizer
    gone = toy.arrays.slots[0].ref
    toy.run.store.remove(gone)
    with pytest.raises(TextmillError, match=rf"{done} cannot go on.*tokens/books-0000-{gone.key}"):
        trained_arrays(toy.run, done)


def test_half_a_wish_is_refused(toy):
    done = toy.model(toy.arrays)
    assert named_continuation(toy.run, None, None, None) is None
    assert named_continuation(toy.run, str(done), 5, None) == Continuation(done, 5)
    for model, steps in ((None, 5), (str(done), None)):
        with pytest.raises(TextmillError, match="say which model goes on, and for how many steps"):
            named_continuation(toy.run, model, steps, None)
    with pytest.raises(TextmillError, match="is no model"):
        find_model(toy.run, str(toy.tokenizer))


def test_gpt2s_weights_want_gpt2s_ids(toy, tmp_path, monkeypatch):
    folder = tmp_path / "gpt2"
    folder.mkdir()
    sizes = {"vocab_size": 300, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"} | sizes))
    assert weights_folder(toy.run, str(folder)) == (folder, None)

    def shape(kind, **fields):
        tokenizer = SimpleNamespace(vocabulary=SimpleNamespace(kind=kind))
        monkeypatch.setattr(beginning, "load_tokenizer", lambda path: tokenizer)
        return shape_from(toy.run, folder, ModelConfig(**fields), toy.tokenizer)

    taken = shape("gpt2", preset="gpt2")
    assert (taken.layers, taken.width, taken.heads, taken.context, taken.bias) == (1, 16, 2, 16, True)
    with pytest.raises(TextmillError, match=r"this corpus has tokenizer\.kind 'bpe': set tokenizer\.kind=gpt2"):
        shape("bpe", preset="gpt2")
    with pytest.raises(TextmillError, match=r"no folder with model\.json or \(GPT-2's\) config\.json"):
        weights_folder(toy.run, str(tmp_path))
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "scale_attn_weights": False}))
    with pytest.raises(TextmillError, match="scale_attn_weights is False"):
        shape("gpt2", preset="gpt2")
