"""The dial: what it decides against the tables of the guide and hand-worked numbers, what it leaves alone, refusals."""

import json
import subprocess
import sys

import pytest

from gpt.config import ModelConfig, TrainingConfig
from gpt.errors import GPTError
from gpt.model import GPT, parameter_count
from gpt.origins import formulas, numbers
from gpt.plan import resolve
from gpt.sizing import Corpus, PlanConfig, Speed, all_parameters, effective_tokens, flops_per_token, round_down, size

CPU, GPU = Speed("cpu", "two cores", 110e9), Speed("cuda", "H200", 989e12)
PLAYS = Corpus(66, 1_050_000, 56_000, 1_050_000)  # a megabyte, by characters
TEN = Corpus(8192, 2_500_000, 100_000, 10_000_000)
HUNDRED = Corpus(32768, 24_000_000, 1_000_000, 95_000_000)
THOUSAND = Corpus(32768, 240_000_000, 2_000_000, 1_000_000_000)


def planned(dial: PlanConfig, corpus: Corpus, speed: Speed | None = None, model=None, training=None):
    sized = size(dial, model or ModelConfig(), training or TrainingConfig(), corpus, speed)
    return *resolve(sized.model, sized.training, *corpus), sized.reasons


@pytest.mark.parametrize(
    ("corpus", "minutes", "layers", "most_epochs", "steps"),
    [
        (PLAYS, 60, 6, 28, 1700),  # any budget: the cap holds
        (TEN, 1, 6, 16, 1200),
        (HUNDRED, 60, 16, 16, 5800),
        (THOUSAND, 60, 12, 7, 6300),
    ],
)
def test_minutes_on_a_gpu_give_the_plans_of_the_guide(corpus, minutes, layers, most_epochs, steps):
    model, training, _ = planned(PlanConfig(minutes=minutes), corpus, GPU)
    assert (model.layers, model.width) == (layers, 64 * layers)
    tokens = training.steps * training.batch_size * model.context
    assert tokens <= most_epochs * corpus.train_tokens and training.steps == pytest.approx(steps, rel=0.1)
    assert tokens * flops_per_token(model) <= 60 * minutes * 989e12 * min(0.4, 0.03 * layers)


def test_minutes_on_a_cpu_start_at_4_layers_of_128_and_fill_the_time():
    model, training, reasons = planned(PlanConfig(minutes=5), PLAYS, CPU)
    assert (model.layers, model.width, model.context) == (4, 128, 128)
    # by hand: 4 x (4 x 128^2 + 3 x 128 x 384) + 128 x 128 of the head, 6 FLOPs each; 12 x 4 x 128 x 128 of attention
    assert flops_per_token(model) == 6 * (851_968 + 16_384) + 786_432
    work = training.steps * training.batch_size * 128 * flops_per_token(model)
    assert 0.9 < work / (300 * 110e9) <= 1
    assert reasons["training.steps"] == "by the dial: minutes 5, at 110 GFLOP/s"
    deeper, _, _ = planned(PlanConfig(minutes=240), PLAYS, CPU)
    assert deeper.layers > 4 and deeper.width == 32 * deeper.layers and deeper.context == 256
    tiny, _, _ = planned(PlanConfig(minutes=240), Corpus(512, 60_000, 5_000, 150_000), CPU)
    assert tiny.layers == 4  # so little text


def test_more_minutes_never_give_less():
    for corpus in (PLAYS, TEN, HUNDRED):
        for speed in (CPU, GPU):
            plans = [planned(PlanConfig(minutes=minutes), corpus, speed) for minutes in (0.1, 1, 5, 30, 120, 600)]
            layers = [model.layers for model, _, _ in plans]
            assert layers == sorted(layers)


@pytest.mark.parametrize("wanted", ["300k", "1M", "10M", "124M"])
def test_parameters_are_met_and_counted_like_the_model(wanted):
    dial = PlanConfig(parameters=wanted)
    model, _, reasons = planned(dial, Corpus(512, 10**6, 10**4, 4 * 10**6))
    assert all_parameters(model) == pytest.approx(dial.parameters, rel=0.15)
    assert reasons.keys() == {"model.layers", "model.width"}
    if dial.parameters <= 10**7:
        assert all_parameters(model) == pytest.approx(parameter_count(GPT(model)), rel=0.01)


def test_what_is_set_by_hand_wins():
    by_hand = ModelConfig(width=192, context=64)
    model, training, reasons = planned(
        PlanConfig(minutes=5), PLAYS, CPU, by_hand, TrainingConfig(batch_size=12, learning_rate=0.02)
    )
    assert (model.width, model.context, training.batch_size, training.learning_rate) == (192, 64, 12, 0.02)
    assert reasons.keys() == {"model.layers", "training.steps"}
    model, training, _ = planned(PlanConfig(minutes=5), PLAYS, CPU, None, TrainingConfig(steps=77))
    assert training.steps == 77
    model, _, _ = planned(PlanConfig(depth=8), PLAYS)
    assert (model.layers, model.width) == (8, 512)


@pytest.mark.parametrize(
    ("dial", "model", "training", "words"),
    [
        ({"depth": 6}, {"layers": 4}, {}, r"depth 6, .* model.layers \(4\)"),
        ({"minutes": 5}, {"layers": 4}, {"steps": 10}, r"minutes 5, .* model.layers \(4\), training.steps \(10\)"),
        ({"parameters": "1M"}, {"layers": 4, "width": 64}, {}, r"parameters 1,000,000, .* model.width \(64\)"),
        ({"minutes": 5}, {"heads": 131}, {}, "heads is 131 and width is"),  # no such width is tried
    ],
)
def test_a_dial_without_anything_to_decide_is_refused(dial, model, training, words):
    with pytest.raises(GPTError, match=words):
        planned(PlanConfig(**dial), PLAYS, CPU, ModelConfig(**model), TrainingConfig(**training))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"depth": 6, "minutes": 5}, r"\{'depth': 6, 'minutes': 5\}, .* only one of"),
        ({"parameters": "ten"}, "parameters is 'ten', .* 10M"),
        ({"parameters": "1.2.3M"}, "10M"),
        ({"parameters": 10}, "at least 1000"),
        ({"minutes": 0}, "minutes is 0"),
        ({"depth": 0}, "depth is 0"),
    ],
)
def test_a_wrong_dial_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        PlanConfig(**fields)


def test_what_the_minutes_do_not_agree_with_is_named():
    with pytest.raises(GPTError, match=r"the dial is minutes 1: stop_at is 90000000 and steps is"):
        size(PlanConfig(minutes=1), ModelConfig(), TrainingConfig(stop_at=90_000_000), PLAYS, CPU)


def test_texts_of_counts():
    assert [PlanConfig(parameters=text).parameters for text in ("10M", "1.5m", "800k", "1B", "1234", 5000)] == [
        10_000_000, 1_500_000, 800_000, 10**9, 1234, 5000,
    ]  # fmt: skip


def test_repeated_text_is_worth_what_its_paper_says():
    assert effective_tokens(1000, 0.5) == 500
    assert effective_tokens(1000, 4) / 1000 == pytest.approx(3.7, abs=0.05)
    assert effective_tokens(1000, 16) / 1000 == pytest.approx(10.6, abs=0.1)


def test_two_figures():
    assert [round_down(number) for number in (7.9, 99.9, 123, 5678.9, 1.09e11)] == [7, 99, 120, 5600, 100_000_000_000]


def test_every_number_says_where_it_came_from():
    given = ModelConfig(width=64, preset="modern")
    model, _ = resolve(given, TrainingConfig(), 300, 10_000)
    said = {one.name: one for one in numbers("model", given, model, {"model.layers": "by the dial: depth 4"})}
    assert list(said) == [f"model.{name}" for name in vars(model)]
    assert (said["model.width"].value, said["model.width"].origin) == (64, "set by hand")
    assert said["model.preset"].origin == "the default"
    assert said["model.layers"].origin == "by the dial: depth 4"
    formula = "0.05 log2(epochs) from 50 epochs x parameters per token of text on, else 0"
    assert said["model.dropout"].origin == f"by formula: {formula}"
    # a field without a formula in its docstring would leave its number unexplained
    for config in (ModelConfig, TrainingConfig):
        left_open = {name for name, value in vars(config()).items() if value is None}
        assert left_open - formulas(config).keys() <= {"vocab_size"}


def test_calibration_writes_a_speed_that_a_plan_takes(tmp_path):
    job = tmp_path / "JOB.json"
    job.write_text(json.dumps({"out": str(tmp_path), "runtime": {"device": "cpu", "threads": 1}}))
    subprocess.run([sys.executable, "-m", "gpt.calibrate", str(job)], check=True, capture_output=True)
    speed = Speed(**json.loads((tmp_path / "speed.json").read_text()))
    assert speed.device == "cpu" and 1e8 < speed.flops < 1e13 and speed.in_training(4) == speed.flops
