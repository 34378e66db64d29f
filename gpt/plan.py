"""From a recipe's model and training to numbers: formulas for what is left open, refusals of what cannot work.

The formulas are starting values from published scaling results; they depend on counts alone (never on a device), so
the same recipe and corpus give the same plan everywhere. Reads no arrays.
"""

import math
from dataclasses import replace

from gpt.config import ModelConfig, TrainingConfig
from gpt.errors import GPTError
from gpt.rates import (
    Rates,
    adamw_rate,
    adamw_weight_decay,
    decay_share,
    dropout,
    muon_rate,
    muon_rates,
    muon_weight_decay,
    warmup_share,
)

DEFAULT_LAYERS = 4
EXACT_BIGRAM = 1024  # ids up to which a bigram model holds the whole table
BIGRAM_RANK = 256  # of larger tables
# A table of pairs is not bound by its parameters. Tiny Shakespeare by characters (66 ids, 4,096 tokens a step; counting
# gives 2.485 nats per token): 300 steps at 0.03 gave 2.487, at 0.003 2.503, 25 steps (12 tokens a parameter) 3.435.
BIGRAM_TOKENS = 150  # a parameter
BIGRAM_RATE = 0.03


def resolve(
    model: ModelConfig,
    training: TrainingConfig,
    vocab_size: int,
    train_tokens: int,
    validation_tokens: int = 0,
    train_bytes: int | None = None,
) -> tuple[ModelConfig, TrainingConfig]:
    """Fill in every None and check the whole against the corpus.

    vocab_size         ids of the tokenizer
    train_tokens       unique training tokens, all sources together
    validation_tokens  tokens of the validation split, 0 when there is none
    train_bytes        UTF-8 bytes of the training text; 4 per token if not given
    returns            the two configs without any None
    raises             GPTError for combinations that cannot work, naming both values and a remedy
    """
    if model.vocab_size not in (None, vocab_size):
        raise GPTError(f"model.vocab_size is {model.vocab_size}, but the tokenizer has {vocab_size} ids: leave it out.")
    if train_tokens < 3:
        raise GPTError(f"The training split has {train_tokens} tokens, too few to train on: add text to the sources.")
    size = train_bytes if train_bytes is not None else 4 * train_tokens
    try:
        shape = resolve_shape(model, vocab_size, train_tokens, size)
    except ValueError as error:
        raise GPTError(f"model: {error}") from None
    if shape.context + 1 > train_tokens:
        raise GPTError(
            f"model.context is {shape.context} tokens, but the training split has only {train_tokens}: "
            f"set model.context to at most {train_tokens - 1}, or add text to the sources."
        )
    try:
        resolved = _resolve_training(training, shape, train_tokens, validation_tokens, size)
    except ValueError as error:
        raise GPTError(f"training: {error}") from None
    if shape.dropout is None:
        epochs = resolved.steps * resolved.batch_size * shape.context / train_tokens
        shape = replace(shape, dropout=dropout(matrix_parameters(shape), train_tokens, epochs))
    return shape, resolved


def rope_theta_for(context: int) -> float:
    """Base of the rotary positions, by formula."""
    return 1e4 if context <= 1024 else 1e5


def matrix_parameters(model: ModelConfig) -> int:
    """Parameters that work on every token, N of the formulas: block matrices and output head."""
    gated = 2 if model.preset == "gpt2" else 3
    block = 4 * model.width * model.width + gated * model.width * model.feed_forward
    return model.layers * block + model.padded_vocab * model.width


def longest_training(train_tokens: int, train_bytes: int) -> int:
    """Tokens after which text has been repeated enough: small corpora bear more of it."""
    return (28 if train_bytes < 2_000_000 else 16) * train_tokens


def batch_sequences(tokens: float, context: int, least: int = 16) -> int:
    """Sequences of a batch for a training of so many tokens, `least` or more: twice the law of arXiv 2503.04715."""
    batch_tokens = 2 ** round(math.log2(max(1.0, 1.16 * tokens**0.571)))
    return max(1, round(_clip(batch_tokens, least * context, 2**19) / context))


def resolve_shape(model: ModelConfig, vocab_size: int, train_tokens: int, train_bytes: int) -> ModelConfig:
    """Everything of the model but the dropout; raises ValueError when no such model can be built."""
    modern, bigram = model.preset == "modern", model.preset == "bigram"
    layers = model.layers
    if layers is None:
        layers = 0 if bigram else DEFAULT_LAYERS
    width = model.width
    if width is None:
        width = _bigram_width(vocab_size) if bigram else 64 * layers
    heads = 0 if bigram else model.heads
    if heads is None:
        head_width = 128 if modern and width >= 512 else 64 if width >= 192 else 32
        heads = max(1, width // head_width)
        while width % heads or (modern and width // heads % 2):
            heads -= 1
            if not heads:
                raise ValueError(f"width is {width}, which no number of heads divides into even parts: make it even.")
    context = model.context
    if context is None:
        context = 256 if train_bytes < 2_000_000 else 512 if train_bytes < 16_000_000 else 1024
        context = max(2, min(context, train_tokens // 4))  # never longer than a small corpus allows
    feed_forward = 0 if bigram else model.feed_forward
    if feed_forward is None:
        feed_forward = -(-8 * width // (3 * 128)) * 128 if modern else 4 * width
    tied = model.tied
    if tied is None:
        # Narrow models want a head of their own: at 4 x 128 with 2,048 ids, after 976 steps of 8 x 128 tokens, untied
        # gave 1.73 bits per byte and tied 1.92 (one seed).
        tied = model.preset == "gpt2" or (modern and width >= 256 and vocab_size > 3 * layers * width)
    rope_theta = model.rope_theta
    if rope_theta is None:
        rope_theta = rope_theta_for(context)
    return replace(
        model,
        layers=layers,
        width=width,
        heads=heads,
        feed_forward=feed_forward,
        context=context,
        tied=tied,
        rope_theta=rope_theta,
        vocab_size=vocab_size,
    )


def _bigram_width(vocab_size: int) -> int:
    """The vocabulary where that is small: then the logits can be any (V, V) table. Else the rank of that table."""
    return max(8, vocab_size) if vocab_size <= EXACT_BIGRAM else min(vocab_size, BIGRAM_RANK)


def _resolve_training(
    training: TrainingConfig, model: ModelConfig, train_tokens: int, validation_tokens: int, train_bytes: int
) -> TrainingConfig:
    parameters = matrix_parameters(model)
    per_parameter = BIGRAM_TOKENS if model.preset == "bigram" else 12
    goal = min(per_parameter * parameters, longest_training(train_tokens, train_bytes))
    if training.steps is not None and training.batch_size is not None:
        goal = training.steps * training.batch_size * model.context
    batch_size = training.batch_size
    if batch_size is None:
        batch_size = batch_sequences(goal, model.context)
    steps = training.steps
    if steps is None:
        steps = max(1, round(goal / (batch_size * model.context)))
    tokens = steps * batch_size * model.context
    epochs = tokens / train_tokens
    optimizer = training.optimizer or ("muon" if model.preset == "modern" else "adamw")
    muon, batch_tokens = optimizer == "muon", batch_size * model.context
    peak = training.learning_rate
    if peak is None:
        peak = muon_rate(batch_tokens) if muon else adamw_rate(parameters, tokens)
        peak = BIGRAM_RATE if model.preset == "bigram" else peak
    rates = muon_rates(peak, model.width, model.tied) if muon else Rates(peak, peak, peak, peak)
    warmup = training.warmup_share
    if warmup is None:
        warmup = warmup_share(muon, steps)
    decay = training.decay_share
    if decay is None:
        decay = min(decay_share(muon, batch_tokens, epochs), 1 - warmup)
    weight_decay = training.weight_decay
    if weight_decay is None:
        weight_decay = (
            muon_weight_decay(parameters, train_tokens) if muon else adamw_weight_decay(parameters, train_tokens)
        )
    decay_end = training.weight_decay_final_share
    if decay_end is None:
        decay_end = 0.0 if epochs <= 4 else 1.0
    # text seen up to four times is worth nearly as much as fresh (arXiv 2305.16264), so nothing overfits before, and a
    # long run on fresh text improves too slowly for four evaluations in a row to say anything
    repeats = epochs >= 4 and validation_tokens > 0
    in_parts = training.stop_at is not None and training.stop_at < steps
    guard = training.guard if training.guard is not None else repeats and not in_parts
    ema = training.ema if training.ema is not None else 0.15 if repeats else 0.0
    every = training.evaluation_every if training.evaluation_every is not None else max(1, -(-steps // 40))
    sample = training.evaluation_tokens
    if sample is None:
        # a validation token costs two forward passes, a training token the like of three; the average of the weights is
        # scored, too, and a masked model hides each token of a window once, in seven passes
        evaluations, passes = -(-steps // every), (2 if ema else 1) * (7 if model.masked else 1)
        sample = max(8192 // (7 if model.masked else 1), int(0.02 * tokens * 1.5 / evaluations / passes))
        sample = min(sample, max(1, validation_tokens)) if validation_tokens else sample
    return replace(
        training,
        steps=steps,
        stop_at=training.stop_at if training.stop_at is not None else steps,
        batch_size=batch_size,
        micro_batch=training.micro_batch if training.micro_batch is not None else batch_size,
        optimizer=optimizer,
        learning_rate=peak,
        embedding_rate=rates.embeddings if training.embedding_rate is None else training.embedding_rate,
        head_rate=rates.heads if training.head_rate is None else training.head_rate,
        gain_rate=rates.gains if training.gain_rate is None else training.gain_rate,
        warmup_share=warmup,
        decay_share=decay,
        weight_decay=weight_decay,
        weight_decay_final_share=decay_end,
        beta1=training.beta1 if training.beta1 is not None else 0.8 if muon else 0.9,
        epsilon=training.epsilon if training.epsilon is not None else 1e-10 if muon else 1e-8,
        evaluation_every=every,
        evaluation_tokens=sample,
        guard=guard,
        ema=ema,
    )


def _clip(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))
