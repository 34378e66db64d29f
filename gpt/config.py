"""What a model and its training are made of, as plain frozen dataclasses.

In a recipe a field may be None, which means "by formula" (`gpt.plan` holds the formulas and the checks that need
the corpus); a resolved config holds no None. Knows neither files nor pydantic, although the floors above embed these
classes in pydantic models (`__pydantic_config__` is read there and means nothing here).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

Preset = Literal["modern", "gpt2", "bigram"]
Objective = Literal["causal", "masked"]
OptimizerName = Literal["muon", "adamw"]


def require(holds: bool, field: str, value: Any, rule: str) -> None:
    """Raise ValueError naming the field, its value and the rule it breaks, unless the rule holds."""
    if not holds:
        raise ValueError(f"{field} is {value}, but it must be {rule}.")


def require_range(config: Any, field: str, low: float, high: float | None = None) -> None:
    """Check that a number lies in [low, high]; None passes, as it means "by formula"."""
    value = getattr(config, field)
    if value is None:
        return
    if high is None:
        require(value >= low, field, value, f"at least {low:g}")
    else:
        require(low <= value <= high, field, value, f"between {low:g} and {high:g}")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model. Every field changes the output, so each belongs to the model's key."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "use_attribute_docstrings": True}

    preset: Preset = "modern"
    """`modern` (RMSNorm, rotary positions, normed queries and keys, SwiGLU), `gpt2` (as GPT-2 was) or `bigram` (no
    blocks: the next token from the last one alone; a baseline)."""
    objective: Objective = "causal"
    """`causal` (predicts the next token) or `masked` (fills in hidden tokens, seeing what stands on both sides); not
    for `bigram`."""
    layers: int | None = None
    """Transformer blocks, 1 to 1000; by formula 4, unless the plan's dial says another number. `bigram` has none: 0."""
    width: int | None = None
    """Size of the residual stream, 8 to 65536; by formula 64 x layers. `bigram`: the vocabulary up to 1024 ids, so that
    any table of pairs can be learnt, else 256."""
    heads: int | None = None
    """Attention heads, must divide the width; by formula width / 128, 64 or 32 (the wider, the larger). `bigram`: 0."""
    feed_forward: int | None = None
    """Hidden size of the feed-forward block; by formula 8/3 width rounded up to 128; `gpt2`: 4 x width, `bigram`: 0."""
    context: int | None = None
    """Tokens that the model sees at once, 2 to 1048576; by formula 256, 512 or 1024 with the corpus size."""
    dropout: float | None = None
    """Share of activations dropped on embedding and residual branches, 0 to 0.9; by formula 0.05 log2(epochs) from
    50 epochs x parameters per token of text on, else 0."""
    bias: bool = False
    """Biases in linear layers and norms; `gpt2` only, off unless GPT-2's own weights are loaded."""
    tied: bool | None = None
    """Whether the output head is the embedding table; always for `gpt2`, by formula not for `bigram`, else if width >=
    256 and vocab_size > 3 layers x width."""
    rope_theta: float | None = None
    """Base of the rotary positions, above 1; by formula 1e4 up to 1024 tokens of context, else 1e5; not for `gpt2`."""
    vocab_size: int | None = None
    """Ids of the tokenizer, 2 to 4194304; leave it out: the plan takes it from the tokenizer."""

    def __post_init__(self) -> None:
        known = get_args(Preset)
        require(self.preset in known, "preset", repr(self.preset), "one of " + ", ".join(map(repr, known)))
        known = get_args(Objective)
        require(self.objective in known, "objective", repr(self.objective), "one of " + ", ".join(map(repr, known)))
        if self.preset == "bigram":
            if self.objective != "causal":
                raise ValueError(
                    f"objective is {self.objective!r}, but preset 'bigram' sees no neighbours to fill a gap from: use "
                    f"preset 'modern' or 'gpt2', or leave objective out."
                )
            for field in ("layers", "heads", "feed_forward"):
                if getattr(self, field):
                    raise ValueError(
                        f"{field} is {getattr(self, field)}, but preset 'bigram' has no blocks: leave {field} out, or "
                        f"set it to 0."
                    )
        else:
            if self.layers == 0:
                raise ValueError(
                    f"layers is 0, but preset {self.preset!r} has at least 1: the model without layers is preset "
                    f"'bigram'."
                )
            require_range(self, "layers", 1, 1000)
            require_range(self, "heads", 1)
            require_range(self, "feed_forward", 1)
        require_range(self, "width", 8, 65536)
        require_range(self, "context", 2, 1048576)
        require_range(self, "dropout", 0, 0.9)
        require_range(self, "vocab_size", 2, 4194304)
        require(self.rope_theta is None or self.rope_theta > 1, "rope_theta", self.rope_theta, "above 1")
        require(not self.bias or self.preset == "gpt2", "bias", self.bias, f"false with preset {self.preset!r}")
        if self.preset == "gpt2" and self.tied is False:
            raise ValueError(
                "tied is false, but GPT-2 shares its head with the embedding: leave it out or set it true."
            )
        if self.width is not None and self.heads:
            if self.width % self.heads:
                raise ValueError(
                    f"heads is {self.heads} and width is {self.width}, but heads must divide width: "
                    f"change one of them, for example heads={_nearest_divisor(self.width, self.heads)}."
                )
            if self.preset == "modern" and self.width // self.heads % 2:
                raise ValueError(
                    f"width {self.width} over {self.heads} heads gives {self.width // self.heads} per head, but rotary "
                    f"positions need an even number: change width or heads."
                )

    @property
    def masked(self) -> bool:
        """Whether the model fills in hidden tokens; their id is `vocab_size`, one above those of the tokenizer."""
        return self.objective == "masked"

    @property
    def table_rows(self) -> int:
        """Ids that the model reads: the vocabulary, and the id of hidden tokens if it knows one."""
        assert self.vocab_size is not None
        return self.vocab_size + self.masked

    @property
    def padded_vocab(self) -> int:
        """Rows of the embedding table in training: `table_rows`, rounded up to a multiple of 64."""
        return -(-self.table_rows // 64) * 64


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained (warm-up, constant, linear decay). Each field belongs to the model's key."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "use_attribute_docstrings": True}

    steps: int | None = None
    """Updates of the weights, at least 1; by formula from the size of model and corpus."""
    stop_at: int | None = None
    """Step at which this run ends, 1 to steps; a later run goes on with the plan there. By formula steps."""
    batch_size: int | None = None
    """Sequences per update, each of the model's context length, at least 1; by formula from the tokens to be seen."""
    micro_batch: int | None = None
    """Sequences per forward pass, 1 to batch_size; gradients add up to the batch. By formula the whole batch."""
    optimizer: OptimizerName | None = None
    """`muon` (matrices of the blocks by Muon, all else by AdamW) or `adamw`; by formula for `modern` muon, else
    adamw."""
    learning_rate: float | None = None
    """Peak learning rate, above 0, at most 1, of the blocks' matrices with muon, of all with adamw; by formula
    with muon from the tokens of a batch, with adamw from parameters and tokens seen, for `bigram` 0.03."""
    embedding_rate: float | None = None
    """Peak rate of embeddings, above 0, at most 100; by formula in proportion to learning_rate."""
    head_rate: float | None = None
    """Peak rate of an untied output head, above 0, at most 100; by formula in proportion to learning_rate."""
    gain_rate: float | None = None
    """Peak rate of gains and biases, above 0, at most 100; by formula in proportion to learning_rate."""
    warmup_share: float | None = None
    """Share of the steps in which the rate rises from 0, 0 to 1; by formula 2%, with muon at most 40 steps, with adamw
    at least 100 (and at most a quarter)."""
    decay_share: float | None = None
    """Share of the steps, at the end, in which the rate falls linearly, 0 to 1; by formula 0.65, small batches of
    muon's 0.7; 0.4 over 4 epochs."""
    final_rate_share: float = 0.05
    """The last learning rate as a share of the peak, 0 to 1."""
    weight_decay: float | None = None
    """Decoupled weight decay of matrices (with muon those of the blocks), 0 to 10; by formula parameters / tokens, in
    [0.1, 3.2], with muon 0.3 + 0.17 parameters / tokens, in [0.2, 1.6]."""
    weight_decay_final_share: float | None = None
    """Weight decay at the last step as a share of the first, 0 to 1; by formula 0, or 1 over 4 epochs."""
    momentum: float = 0.95
    """Muon's memory of the gradient, 0.1 to below 1; 0.1 less at the beginning, 0.05 less at the end."""
    beta1: float | None = None
    """AdamW's memory of the gradient, 0 to below 1; by formula 0.9, beside muon 0.8."""
    beta2: float = 0.95
    """AdamW's memory of the squared gradient, 0 to below 1."""
    epsilon: float | None = None
    """Added to AdamW's denominator, above 0; by formula 1e-8, beside muon 1e-10."""
    clip: float = 1.0
    """Largest norm of the whole gradient, above 0; a longer one is scaled down."""
    seed: int = 1
    """Seed of initial weights, data order and dropout, 0 to 2^63 - 1."""
    evaluation_every: int | None = None
    """Steps between two validations, at least 1; by formula a fortieth of the steps. The last step always is one."""
    evaluation_tokens: int | None = None
    """Tokens of the fixed validation sample, at least 1; by formula 2% of the training time in all, at least 8192,
    `masked` a seventh."""
    guard: bool | None = None
    """Whether a run ends early when validation stops improving: back to the best state, and decay from there; by
    formula from 4 epochs on, where there is validation text and stop_at is not below steps."""
    ema: float | None = None
    """Share that a moving average of the weights keeps of its past over one epoch, 0 to below 1; 0 has none. It is
    scored beside the weights, and the better of the two is kept; by formula 0.15 from 4 epochs on."""
    log_every: int = 10
    """Steps between two lines of metrics, at least 1."""

    def __post_init__(self) -> None:
        for field in (
            "steps",
            "stop_at",
            "batch_size",
            "micro_batch",
            "evaluation_every",
            "evaluation_tokens",
            "log_every",
        ):
            require_range(self, field, 1)
        for field in ("warmup_share", "decay_share", "final_rate_share", "weight_decay_final_share"):
            require_range(self, field, 0, 1)
        require_range(self, "weight_decay", 0, 10)
        require_range(self, "seed", 0, 2**63 - 1)
        require(self.optimizer in (None, "muon", "adamw"), "optimizer", repr(self.optimizer), "'muon' or 'adamw'")
        if self.steps is not None and self.stop_at is not None and self.stop_at > self.steps:
            raise ValueError(
                f"stop_at is {self.stop_at} and steps is {self.steps}, but a run ends within its plan: lower stop_at, "
                f"or raise steps."
            )
        if self.guard and self.steps is not None and self.stop_at is not None and self.stop_at < self.steps:
            raise ValueError(
                f"guard is true and stop_at {self.stop_at} is below steps {self.steps}, but a part of a plan cannot go "
                f"back into an earlier one: leave stop_at out, or set guard to false."
            )
        rate = self.learning_rate
        require(rate is None or 0 < rate <= 1, "learning_rate", rate, "above 0 and at most 1")
        for field in ("embedding_rate", "head_rate", "gain_rate"):
            rate = getattr(self, field)
            require(rate is None or 0 < rate <= 100, field, rate, "above 0 and at most 100")
        require(0.1 <= self.momentum < 1, "momentum", self.momentum, "at least 0.1 and below 1")
        require(self.beta1 is None or 0 <= self.beta1 < 1, "beta1", self.beta1, "at least 0 and below 1")
        require(0 <= self.beta2 < 1, "beta2", self.beta2, "at least 0 and below 1")
        require(self.ema is None or 0 <= self.ema < 1, "ema", self.ema, "at least 0 and below 1")
        require(self.epsilon is None or self.epsilon > 0, "epsilon", self.epsilon, "above 0")
        require(self.clip > 0, "clip", self.clip, "above 0")
        if self.warmup_share is not None and self.decay_share is not None and self.warmup_share + self.decay_share > 1:
            raise ValueError(
                f"warmup_share is {self.warmup_share} and decay_share is {self.decay_share}, but together they must "
                f"not exceed 1: lower one of them."
            )
        if self.batch_size is not None and self.micro_batch is not None and self.micro_batch > self.batch_size:
            raise ValueError(
                f"micro_batch is {self.micro_batch} and batch_size is {self.batch_size}, but a micro-batch is a part "
                f"of the batch: lower micro_batch or leave it out."
            )


@dataclass(frozen=True)
class SamplingConfig:
    """How continuations are drawn from a model."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "use_attribute_docstrings": True}

    tokens: int = 64
    """Longest continuation in tokens, at least 1; it ends earlier where the model ends the document."""
    temperature: float = 0.8
    """Divides the logits, 0 to 100; 0 always takes the likeliest token."""
    top_k: int = 50
    """Only the k likeliest tokens may be drawn; 0 means all."""
    top_p: float = 1.0
    """Only the likeliest tokens that together reach this probability may be drawn, above 0; 1 means all."""
    seed: int = 1
    """Seed of the draws, 0 to 2^63 - 1."""

    def __post_init__(self) -> None:
        require_range(self, "tokens", 1)
        require_range(self, "temperature", 0, 100)
        require_range(self, "top_k", 0)
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        require_range(self, "seed", 0, 2**63 - 1)


@dataclass(frozen=True)
class EvaluationConfig:
    """How the 95% interval of bits per byte is estimated: by bootstrap over passages."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "use_attribute_docstrings": True}

    resamples: int = 1000
    """Draws of as many passages as there are, with replacement, 1 to 100000."""
    seed: int = 0
    """Seed of the draws, 0 to 2^63 - 1."""

    def __post_init__(self) -> None:
        require_range(self, "resamples", 1, 100_000)
        require_range(self, "seed", 0, 2**63 - 1)


def _nearest_divisor(number: int, wanted: int) -> int:
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: (abs(d - wanted), d))
