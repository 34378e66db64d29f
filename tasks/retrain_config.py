"""The group `retrain` of a recipe: when and how a model is trained again, and what lets it replace the champion."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RetrainConfig(BaseModel):
    """How a model is trained again as its text grows, and when it replaces the one before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Literal["warm", "scratch"] = Field(
        "warm",
        description="Where a training begins: warm from the champion's weights, with its tokenizer; scratch anew, with "
        "a tokenizer of the whole text.",
    )
    rate_share: float = Field(
        0.5, gt=0, le=1, description="Highest learning rates of a warm start, as a share of those from scratch."
    )
    steps_share: float = Field(0.5, gt=0, le=1, description="Steps of a warm start, as a share of those from scratch.")
    margin: float = Field(
        0.01,
        ge=0,
        description="By how many bits per byte the new model may be worse on the text of a source: the upper end of "
        "the 95% interval of the difference must not lie above.",
    )
    min_passages: int = Field(
        30, ge=2, description="Held-out passages below which a source is reported and not judged."
    )
    resamples: int = Field(2000, ge=100, le=100_000, description="Draws of the bootstrap over documents.")
    seed: int = Field(0, ge=0, description="Seed of these draws, and of the places for the memorisation test.")
    memorisation_samples: int = Field(
        200,
        ge=0,
        le=10_000,
        description="Places of its training text that a model is tested at for going on verbatim; 0: it is not tested.",
    )
    memorisation_margin: float = Field(
        0.02,
        ge=0,
        le=1,
        description="By how much the share gone on with verbatim may exceed the champion's: the new model is kept out "
        "when the lower end of the 95% interval of the difference lies above. The fewer samples, the wider it is.",
    )
    benchmark_margin: float = Field(
        0.01,
        ge=0,
        le=1,
        description="By how much the length-normalised accuracy on a benchmark may lie below the champion's, as a "
        "share: the new model is kept out when the whole 95% interval of the difference lies further below.",
    )
    min_items: int = Field(100, ge=2, description="Items below which a benchmark is reported and not judged.")
