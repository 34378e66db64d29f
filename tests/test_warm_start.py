"""When a training cannot begin with the champion's weights, and with which numbers it begins otherwise."""

from dataclasses import asdict

import pytest

from data.corpus import SplitConfig
from data.facts import Facts
from data.forgetting.taint import mark
from data.store import Store
from data.tokenizers.config import TokenizerConfig
from gpt.config import ModelConfig, TrainingConfig
from tasks.registry import identity
from tasks.retrain_config import RetrainConfig
from tasks.warm_start import gentler, why_from_scratch

SHAPE = ModelConfig(layers=2, width=32, heads=2, context=64, dropout=0.0, vocab_size=300)
TOKENIZER = TokenizerConfig(vocab_size=300)


class Champion:
    """A store with a model, and what it was made from."""

    def __init__(self, root):
        self.store = Store(root)
        shards = self.put("corpus", {"split": SplitConfig().model_dump(mode="json")})
        self.tokenizer = self.put("tokenizer", TOKENIZER.model_dump(mode="json") | {"shards": {"books": 1}})
        self.tokens = self.put("tokens", {}, shards, self.tokenizer)
        self.ref = self.put("model", {"model": asdict(SHAPE)}, self.tokens, self.tokenizer)

    def put(self, stage, config, *inputs):
        def make(build):
            (build.out / "payload").write_text(stage)
            return Facts()

        return self.store.build(identity(stage, config, {}), "toy", make, inputs)

    def why(self, tokenizer=TOKENIZER, split=None, **model):
        wanted = ModelConfig(**({"layers": 2, "width": 32} | model))
        return why_from_scratch(self.store, self.ref, wanted, tokenizer, split or SplitConfig())


@pytest.fixture
def champion(tmp_path):
    return Champion(tmp_path)


def test_the_same_settings_begin_warm(champion):
    assert champion.why() is None
    assert champion.why(layers=None, width=None) is None, "what is open is taken from the champion"
    assert champion.why(context=128, dropout=0.1) is None, "which may differ"
    assert champion.why(TokenizerConfig(kind="artifact", artifact=str(champion.tokenizer))) is None


def test_other_settings_begin_from_scratch_and_are_named(champion):
    assert champion.why(layers=4) == "model.layers was 2 and is 4"
    assert champion.why(TokenizerConfig(vocab_size=512)) == "tokenizer.vocab_size was 300 and is 512"
    assert "tokenizer.kind was 'bpe' and is 'gpt2'" in champion.why(TokenizerConfig(kind="gpt2"))
    assert champion.why(split=SplitConfig(validation_share=0.1)) == "split.validation_share was 0.05 and is 0.1"
    other = champion.put("tokenizer", {"kind": "characters"})
    pinned = TokenizerConfig(kind="artifact", artifact=str(other))
    assert champion.why(pinned) == f"tokenizer.artifact is {other}, and the champion's is {champion.tokenizer}"


def test_what_is_gone_or_was_forgotten_is_no_beginning(champion):
    champion.store.remove(champion.tokens)
    assert champion.why(split=SplitConfig(validation_share=0.1)) is None, "how its text was split is not known any more"
    champion.store.remove(champion.tokenizer)
    assert champion.why() == "the champion's tokenizer is gone"
    mark(champion.store, [champion.ref], "2026-01-01", "a test")
    assert champion.why() == "the champion learnt from text that was taken down since"


def test_a_warm_start_is_shorter_and_gentler():
    given = TrainingConfig(batch_size=8, stop_at=50)
    resolved = TrainingConfig(
        steps=200, stop_at=50, batch_size=8, learning_rate=0.02, embedding_rate=0.4, decay_share=0.7
    )
    made = gentler(given, resolved, RetrainConfig(steps_share=0.25, rate_share=0.5))
    assert made == TrainingConfig(steps=50, batch_size=8, learning_rate=0.01, embedding_rate=0.2), "the rest stays open"
