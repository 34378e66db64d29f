"""From one dial and a corpus to the size of a model and the length of its training.

`size` fills in what the dial decides and nothing else; `gpt.plan.resolve` fills in the rest by formula, and whatever is
set by hand stays. Thresholds are starting values: tokens per parameter and the speed of GPUs as in the training guides
of nanochat (github.com/karpathy/nanochat), the cap on parameters and epochs as used for repeated text by slowrun
(github.com/qlabs-eng/slowrun). Pure arithmetic: no arrays, no torch.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

from gpt.config import ModelConfig, TrainingConfig, require, require_range
from gpt.errors import GPTError
from gpt.plan import batch_sequences, longest_training, matrix_parameters, resolve_shape

SMALL_TEXT = 200_000  # bytes of text below which nothing deeper than 4 layers is planned
CAPPED_DEPTH = 6  # of which the parameters are never too many
PARAMETERS_PER_TOKEN = 10  # of unique text, at most, in deeper models
GPU_TOKENS_PER_PARAMETER = 12
CPU_TOKENS_PER_PARAMETER = 4  # at 4 x 128 even 90 s on two cores, two tokens per parameter, beat smaller models
CPU_TRAINING_SHARE = 0.6  # of the matmul rate, in training: 0.5 to 0.67 seen at 4 x 128 to 12 x 384 on two cores
USUAL_CPU_RATE = 110e9  # FLOP/s in training on two cores, for estimates of time where nothing was timed
CPU_WIDTH_PER_LAYER, GPU_WIDTH_PER_LAYER = 32, 64
DEPTHS = range(2, 65, 2)
SHORT_CPU_PLAN = 1e14  # FLOPs, a quarter of an hour on two cores, below which the context is 128 tokens, else 256


@dataclass(frozen=True)
class PlanConfig:
    """One dial from which size of model and length of training follow; at most one of the three. None is none.

    What it decides enters the model's key, the dial itself does not.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "use_attribute_docstrings": True}

    depth: int | None = None
    """Transformer blocks, 1 to 1000; width, batch and steps follow."""
    parameters: int | str | None = None
    """Parameters of the whole model, at least 1000, also as text: 10M, 1.5M, 800k, 1B; layers and width follow."""
    minutes: float | None = None
    """Minutes of training on the machine that makes the plan, above 0 and at most 100000; all else follows."""

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        require(len(given) <= 1, "the dial", given, "only one of depth, parameters and minutes: set the others to null")
        require_range(self, "depth", 1, 1000)
        object.__setattr__(self, "parameters", read_count("parameters", self.parameters))
        require_range(self, "parameters", 1000)
        minutes = self.minutes
        require(minutes is None or 0 < minutes <= 100_000, "minutes", minutes, "above 0 and at most 100000")

    def __str__(self) -> str:
        return next(
            (f"{name} {value:,}".removesuffix(".0") for name, value in vars(self).items() if value is not None), "none"
        )


class Corpus(NamedTuple):
    """What a plan depends on: counts of tokens, UTF-8 bytes of the training text, ids of the tokenizer."""

    vocab_size: int
    train_tokens: int
    validation_tokens: int
    train_bytes: int


class Speed(NamedTuple):
    """What `minutes` count on: `flops` per second, on a CPU in training, on a GPU at its bfloat16 peak."""

    device: str  # "cpu" or "cuda"
    name: str
    flops: float

    def in_training(self, depth: int) -> float:
        """FLOPs per second that a model of so many layers will use; deeper ones fill a GPU better."""
        return self.flops if self.device == "cpu" else self.flops * min(0.40, 0.03 * depth)


class Sized(NamedTuple):
    """The configs with what the dial decides, and for each such number, by dotted name, in words how."""

    model: ModelConfig
    training: TrainingConfig
    reasons: dict[str, str]


def read_count(field: str, value: int | str | None) -> int | None:
    """A number, also written as 10M; raises ValueError for any other text."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"([0-9.]+)\s*([kKmMgGbB]?)", value.strip())
    units = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
    try:
        assert found is not None
        return round(float(found[1]) * units[found[2].lower()])
    except (AssertionError, ValueError):
        raise ValueError(f"{field} is {value!r}, but it must be a number such as 10M, 800k or 1500000.") from None


def size(dial: PlanConfig, model: ModelConfig, training: TrainingConfig, corpus: Corpus, speed: Speed | None) -> Sized:
    """Fill in what the dial decides.

    speed    needed for `minutes`
    raises   GPTError when all that the dial could decide is set by hand
    """
    if str(dial) == "none":
        return Sized(model, training, {})
    if model.preset not in ("modern", "gpt2"):
        raise GPTError(f"plan: the dial is {dial}, but preset {model.preset!r} has no size to choose: leave it out.")
    if dial.minutes is not None:
        _require_open(dial, {"model.layers": model.layers, "training.steps": training.steps})
        assert speed is not None
        try:
            return _by_minutes(dial, model, training, corpus, speed)
        except ValueError as error:
            raise GPTError(f"plan: the dial is {dial}: {error}") from None
    if dial.depth is not None:
        _require_open(dial, {"model.layers": model.layers})
        return Sized(replace(model, layers=dial.depth), training, {"model.layers": f"by the dial: {dial}"})
    _require_open(dial, {"model.layers": model.layers, "model.width": model.width})
    return _by_parameters(dial, model, training, corpus)


def all_parameters(model: ModelConfig) -> int:
    """Parameters of a resolved model as they are published: tables without padding, gains, biases and positions."""
    tables = model.table_rows * model.width * (1 if model.tied else 2)
    padded_head = model.padded_vocab * model.width
    count = matrix_parameters(model) - padded_head + tables
    gains = 2 * model.layers + 1  # of norms, as long as the stream
    if model.preset == "gpt2":
        biases = model.layers * (5 * model.width + model.feed_forward) + gains * model.width
        return count + (gains + model.context) * model.width + (biases if model.bias else 0)
    per_head = model.width // model.heads if model.heads else 0
    return count + gains * model.width + 2 * model.layers * per_head


def flops_per_token(model: ModelConfig) -> int:
    """Of forward and backward pass: 6 per parameter, and 12 x layers x width x context for attention."""
    return 6 * matrix_parameters(model) + 12 * model.layers * model.width * model.context


def effective_tokens(unique: int, epochs: float) -> float:
    """What repeated text is worth in fresh tokens (arXiv 2305.16264): 3.7 times the text at 4 epochs, 10.6 at 16."""
    worth = 15.39
    return unique * (epochs if epochs <= 1 else 1 + worth * (1 - math.exp(-(epochs - 1) / worth)))


def _require_open(dial: PlanConfig, fields: dict[str, int | None]) -> None:
    if all(value is not None for value in fields.values()):
        shown = ", ".join(f"{name} ({value})" for name, value in fields.items())
        raise GPTError(
            f"plan: the dial is {dial}, but what it decides is set by hand: {shown}. Set one of them to null, or leave "
            f"the dial out."
        )


def _possible(model: ModelConfig, sizes: Iterable[tuple[int, int]], corpus: Corpus) -> list[ModelConfig]:
    """Models of these layers and widths, those left out that cannot be; GPTError when none can."""
    found, problem = [], None
    for layers, width in sizes:
        try:
            sized = replace(model, layers=layers, width=width)
            found.append(resolve_shape(sized, corpus.vocab_size, corpus.train_tokens, corpus.train_bytes))
        except ValueError as error:
            problem = error
    if not found:
        raise GPTError(f"model: {problem}")
    return found


def _by_parameters(dial: PlanConfig, model: ModelConfig, training: TrainingConfig, corpus: Corpus) -> Sized:
    """The layers and width whose model is nearest, with a mild liking for the usual shape."""

    def distance(candidate: ModelConfig) -> float:
        count = all_parameters(candidate)
        usual = GPU_WIDTH_PER_LAYER * candidate.layers
        return abs(math.log(count / dial.parameters)) + 0.1 * abs(math.log(candidate.width / usual))

    sizes = []
    for depth in [model.layers] if model.layers is not None else range(1, 65):
        step = 64 if depth >= 8 else 32
        widths = range(max(step, 40 * depth // step * step), 96 * depth + step, step)
        if model.width is not None:
            widths = [model.width]
        elif model.layers is not None:
            widths = range(step, 65536, step)
        sizes += [(depth, width) for width in widths]
    shape = min(_possible(model, sizes, corpus), key=distance)
    chosen = replace(model, layers=shape.layers, width=shape.width)
    open_fields = [name for name in ("layers", "width") if getattr(model, name) is None]
    return Sized(chosen, training, {f"model.{name}": f"by the dial: {dial}" for name in open_fields})


def _by_minutes(dial: PlanConfig, model: ModelConfig, training: TrainingConfig, corpus: Corpus, speed: Speed) -> Sized:
    """The deepest model that sees enough tokens in the time, and as many steps as the time pays for."""
    on_cpu = speed.device == "cpu"
    seconds = 60 * dial.minutes
    by_dial = f"by the dial: {dial}"
    reasons: dict[str, str] = {}
    if model.context is None and on_cpu:
        context = 128 if speed.flops * seconds < SHORT_CPU_PLAN else 256
        model = replace(model, context=max(2, min(context, corpus.train_tokens // 4)))
        reasons["model.context"] = f"{by_dial}: 128 for short plans on a CPU, else 256"
    per_layer = CPU_WIDTH_PER_LAYER if on_cpu else GPU_WIDTH_PER_LAYER
    per_parameter = CPU_TOKENS_PER_PARAMETER if on_cpu else GPU_TOKENS_PER_PARAMETER
    most_tokens = longest_training(corpus.train_tokens, corpus.train_bytes)
    often = f"all text {most_tokens // corpus.train_tokens} times"

    def affordable(shape: ModelConfig) -> float:
        return seconds * speed.in_training(shape.layers) / flops_per_token(shape)

    def is_fed(shape: ModelConfig) -> bool:
        return affordable(shape) >= min(per_parameter * matrix_parameters(shape), most_tokens)

    depths = [model.layers] if model.layers is not None else DEPTHS
    sizes = [(depth, model.width if model.width is not None else per_layer * depth) for depth in depths]
    candidates = _possible(model, sizes, corpus)
    cap = _most_parameters(candidates, corpus)
    least = 4 if on_cpu else 2
    shape = max(
        (one for one in candidates if one.layers <= least or (matrix_parameters(one) <= cap and is_fed(one))),
        key=lambda one: one.layers,
        default=candidates[0],
    )
    if model.layers is None:
        reasons["model.layers"] = f"{by_dial}: the deepest that sees {per_parameter} tokens per parameter, or {often}"
    if model.width is None:
        reasons["model.width"] = f"{by_dial}: {per_layer} x layers"
    model = replace(model, layers=shape.layers, width=shape.width)
    if training.steps is not None:
        return Sized(model, training, reasons)
    tokens = min(affordable(shape), most_tokens)
    if training.batch_size is None:
        batch = batch_sequences(tokens / 2, shape.context, 8) if on_cpu else batch_sequences(tokens, shape.context)
        training = replace(training, batch_size=batch)
        at = "at half of the tokens on a CPU" if on_cpu else "at the tokens to be seen"
        reasons["training.batch_size"] = (
            f"by formula: tokens in a batch are a power of two near 1.16 x tokens^0.571, {at}"
        )
    steps = max(1, round_down(tokens / (training.batch_size * shape.context)))
    rate = f"at {speed.in_training(shape.layers) / 1e9:,.0f} GFLOP/s"
    reasons["training.steps"] = (
        f"{by_dial}, {rate}" if tokens < most_tokens else f"by formula: {often}, which is enough"
    )
    return Sized(model, replace(training, steps=steps), reasons)


def round_down(number: float) -> int:
    """A whole number of two figures and zeros, so that a slightly different timing gives the same plan more often."""
    if number < 100:
        return int(number)
    unit = 10 ** (int(math.log10(number)) - 1)
    return int(number // unit * unit)


def _most_parameters(candidates: list[ModelConfig], corpus: Corpus) -> float:
    sizes = {shape.layers: matrix_parameters(shape) for shape in candidates}
    if corpus.train_bytes < SMALL_TEXT:
        return max((count for depth, count in sizes.items() if depth <= 4), default=math.inf)
    never_too_many = max((count for depth, count in sizes.items() if depth <= CAPPED_DEPTH), default=math.inf)
    return max(never_too_many, PARAMETERS_PER_TOKEN * corpus.train_tokens)
