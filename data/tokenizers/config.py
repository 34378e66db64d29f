"""Interim."""
import math
from typing import Literal
from pydantic import BaseModel, ConfigDict, Field


class TokenizerConfig(BaseModel):
    """How text becomes ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["bpe", "characters", "gpt2", "artifact"] = Field("bpe", description="Kind.")
    vocab_size: int | None = Field(None, description="Ids.")
    artifact: str | None = Field(None, description="Pinned artifact.")


def resolve_vocab_size(train_bytes: int) -> int:
    return max(512, min(32768, 2 ** round(math.log2(max(1, train_bytes) / 1000))))
