"""The group `evaluation` of a recipe: how a model is scored, on held-out text and on benchmarks."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from data.benchmarks.config import BenchmarkItemsConfig
from data.errors import TextmillError
from data.overlap.config import DecontaminationConfig, Name
from gpt.config import EvaluationConfig

Benchmarks = Mapping[str, BenchmarkItemsConfig]  # by name, each with path or url


class EvaluationRecipe(BaseModel):
    """How a model is scored: on held-out text, and on the benchmarks that are named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resamples: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Draws of as many passages as there are, with replacement, for the 95% interval of bits per byte.",
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of the draws.")
    benchmarks: dict[Name, BenchmarkItemsConfig] = Field(
        default_factory=dict,
        description="Multiple-choice benchmarks by a name of your choice; of each `path`, or `url` with `sha256`, of a "
        "file with one JSON object per line (neither: the file that decontamination.benchmarks has under that name); "
        "`form` plain or hellaswag; the fields `context` (list), `endings` (list) and `label`, with `first_label` 0 or "
        "1; and `max_items`.",
    )

    def config(self) -> EvaluationConfig:
        return EvaluationConfig(self.resamples, self.seed)

    def placed(self, decontamination: DecontaminationConfig | None) -> Benchmarks:
        """The benchmarks, each with its path or url. Raises TextmillError for one that has none."""
        named = decontamination.benchmarks if decontamination else {}
        found = {}
        for name, one in sorted(self.benchmarks.items()):
            if one.path is None and one.url is None:
                if name not in named:
                    raise TextmillError(
                        f"evaluation.benchmarks.{name} has neither path nor url, and decontamination.benchmarks has no "
                        f"{name}: give one of them."
                    )
                one = one.model_copy(update={"path": named[name].path})
            found[name] = one
        return found
