"""The table of a plan: what the numbers come to, and counts that agree with those of the model."""

import pytest

from gpt.config import ModelConfig, TrainingConfig
from gpt.model import GPT, parameter_count
from gpt.plan import resolve
from gpt.sizing import Corpus, PlanConfig, Speed, all_parameters, effective_tokens, size
from tasks.plan_table import outlook, rows
from tests.gpt_toys import VARIANTS

BOOK = Corpus(vocab_size=2048, train_tokens=700_000, validation_tokens=50_000, train_bytes=2_200_000)
TWO_CORES = Speed("cpu", "CPU, 2 threads", 1e11)


def sized(dial):
    found = size(PlanConfig(**dial), ModelConfig(), TrainingConfig(), BOOK, TWO_CORES)
    return resolve(found.model, found.training, *BOOK)


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_counted_as_they_are_published(name):
    assert all_parameters(VARIANTS[name]) == parameter_count(GPT(VARIANTS[name]))


def test_the_table_begins_with_what_the_numbers_come_to():
    shape, training = sized({"depth": 4})
    told = {name: (value, remark) for name, value, remark in outlook(shape, training, BOOK, None)}
    tokens = training.steps * training.batch_size * shape.context
    assert told["tokens seen"][0] == f"{tokens:,}" and told["epochs"][0] == f"{tokens / 700_000:.2f}"
    assert "is worth" in told["epochs"][1] and effective_tokens(100, 4) == pytest.approx(372, abs=3)
    short = outlook(*sized({"minutes": 0.2}), BOOK, TWO_CORES)
    assert short[-1] in [("time", f"{s} s", "at 100 GFLOP/s: CPU, 2 threads") for s in (11, 12)]
    content = {"outlook": short, "numbers": [{"name": "training.steps", "value": 12_345, "origin": "x"}]}
    assert rows(content)[-1] == ("training.steps", "12,345", "x") and rows(content)[0][0] == "parameters"
