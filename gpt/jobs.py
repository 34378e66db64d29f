"""What the commands of this floor are asked to do: the contents of RUN.json, EVAL.json, SAMPLE.json and the like.

Whoever starts a command writes these as JSON; `gpt.jobfile` reads and checks them. Paths are taken as they are.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gpt.config import EvaluationConfig, ModelConfig, SamplingConfig, TrainingConfig, require, require_range
from gpt.start import Start

Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class ShardPaths:
    """One token array and its document offsets, both .npy."""

    tokens: Path
    documents: Path


@dataclass(frozen=True)
class SourceArrays:
    """The arrays of one source; `weight` is its share of every batch before normalising, 0 without training text."""

    train: tuple[ShardPaths, ...] = ()
    validation: tuple[ShardPaths, ...] = ()
    weight: float = 1.0

    def __post_init__(self) -> None:
        require(0 <= self.weight < float("inf"), "weight", self.weight, "at least 0")


@dataclass(frozen=True)
class Runtime:
    """What changes speed but never the meaning of a result."""

    device: Device = "auto"
    threads: int | None = None
    """CPU threads, at least 1; None leaves it to torch. Another number may change the last bits of a result."""
    checkpoint_seconds: float = 20.0
    """Time between two checkpoints, at least 0 (after every step)."""
    compile: bool = True
    """Whether to compile the training step; only done on CUDA."""
    track: Literal["wandb", "trackio"] | None = None
    """Service that also gets the numbers of the diary; its package must be installed."""
    logits_gib: float | None = None
    """Memory that the logits of a micro-batch may take at once in training, in GiB; more are computed in pieces.

    None means an eighth of a CUDA card's memory, elsewhere 1 GiB. Another number may change the last bits of a result.
    """

    micro_batch: int | None = None
    """Most sequences per pass where memory is shorter than training.micro_batch supposes, at least 1; the batch stays.

    Another number changes the last bits of a result, and what dropout draws.
    """

    def __post_init__(self) -> None:
        require_range(self, "micro_batch", 1)
        require_range(self, "threads", 1)
        require_range(self, "checkpoint_seconds", 0)
        require_range(self, "logits_gib", 0)


@dataclass(frozen=True)
class SamplePlan(SamplingConfig):
    """Continuations drawn while the model trains: of which prompts (ids), after which steps."""

    prompts: tuple[tuple[int, ...], ...] = ()
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class RunJob:
    """RUN.json: one training run, entirely resolved."""

    run_dir: Path
    model: ModelConfig
    training: TrainingConfig
    sources: dict[str, SourceArrays]
    token_bytes: Path
    eot_id: int
    tokenizer_digest: str
    data_digest: str
    start: Start = field(default_factory=Start)
    sampling: SamplePlan = field(default_factory=SamplePlan)
    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        for part in ("model", "training"):
            open_fields = [name for name, value in vars(getattr(self, part)).items() if value is None]
            if open_fields:
                raise ValueError(f"{part} is not resolved: {', '.join(open_fields)} left open. Use gpt.plan.resolve.")
        if not any(source.train for source in self.sources.values()):
            raise ValueError("sources name no training array; give at least one.")
        top = max((i for prompt in self.sampling.prompts for i in prompt), default=0)
        if top >= self.model.table_rows or min((i for p in self.sampling.prompts for i in p), default=0) < 0:
            raise ValueError(f"sampling.prompts hold an id outside of [0, {self.model.table_rows}).")

    def identity(self) -> dict[str, Any]:
        """Everything that determines the resulting bytes, as JSON; only the same identity continues a checkpoint."""
        return {
            "model": dataclasses.asdict(self.model),
            "training": dataclasses.asdict(self.training),
            "weights": [source.weight for source in self.sources.values()],
            "eot_id": self.eot_id,
            "tokenizer_digest": self.tokenizer_digest,
            "data_digest": self.data_digest,
            **self.start.identity(),
        }  # fmt: skip


@dataclass(frozen=True)
class EvaluationJob:
    """EVAL.json: score a trained model on the validation arrays of its sources."""

    model_dir: Path
    sources: dict[str, SourceArrays]
    token_bytes: Path
    eot_id: int
    out: Path
    runtime: Runtime = field(default_factory=Runtime)
    bootstrap: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(frozen=True, kw_only=True)
class SampleJob(SamplingConfig):
    """SAMPLE.json: `count` continuations of each prompt (ids), seeded seed, seed + 1, ..."""

    model_dir: Path
    prompts: tuple[tuple[int, ...], ...]
    eot_id: int
    out: Path
    count: int = 1
    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "count", 1)


@dataclass(frozen=True)
class MemorisationJob:
    """MEMORISE.json: test a trained model on the training arrays of its sources, at `samples` places.

    At each it reads a prefix of `prefix_bytes` UTF-8 bytes and must go on with the next `span_bytes`.
    """

    model_dir: Path
    sources: dict[str, SourceArrays]
    token_bytes: Path
    eot_id: int
    out: Path
    samples: int = 200
    seed: int = 0
    prefix_bytes: int = 100
    span_bytes: int = 50
    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        for name in ("samples", "prefix_bytes", "span_bytes"):
            require_range(self, name, 1)


@dataclass(frozen=True)
class ItemPaths:
    """The items of a multiple-choice benchmark as arrays, all .npy.

    tokens  (n,) ids, item by item: those of the context, then of each ending
    parts   (contexts and endings + 1,) int64: where each begins in `tokens`, and last n
    items   (items, 2) int64: how many endings, and which of them is right, from 0
    sizes   (endings,) int64: UTF-8 bytes of each ending
    """

    tokens: Path
    parts: Path
    items: Path
    sizes: Path


@dataclass(frozen=True)
class ChoicesJob:
    """CHOICES.json: which endings a trained model finds likeliest."""

    model_dir: Path
    items: ItemPaths
    out: Path
    runtime: Runtime = field(default_factory=Runtime)
