"""Which tokenizer, how large, trained on what. Every field changes the ids, so each is part of the artifact's key."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data.errors import TextmillError

SMALLEST_VOCABULARY = 512  # ids, when the size follows from the corpus
LARGEST_VOCABULARY = 32_768


class TokenizerError(TextmillError):
    """A tokenizer that cannot be made, loaded or used as asked."""


class TokenizerConfig(BaseModel):
    """How text becomes ids.

    `bpe` is trained on the training shards, `characters` takes its alphabet from them, `gpt2` is the published
    vocabulary of GPT-2, and `artifact` pins a tokenizer that was made before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["bpe", "characters", "gpt2", "artifact"] = Field(
        "bpe",
        description="bpe: byte-level BPE of its own with GPT-4's split pattern; characters: one id per character; "
        "gpt2: GPT-2's 50,257 ids; artifact: the tokenizer named by `artifact`.",
    )
    vocab_size: int | None = Field(
        None,
        ge=257,
        le=1_000_000,
        description="Ids of a bpe tokenizer, with the 256 bytes and <|endoftext|> among them; "
        "null: 2^round(log2(S / 1000)) for S bytes of training text, within 512 and 32768.",
    )
    sample_bytes: int = Field(
        100_000_000,
        ge=1_000,
        description="UTF-8 bytes of training text that BPE is trained on, at most; spread evenly over the text.",
    )
    sample_weights: dict[str, float] = Field(
        default_factory=dict,
        description="By source name, a factor on how much of it BPE is trained on: 2 takes twice as large a part as "
        "1, which holds for sources not named; 0 leaves a source out.",
    )
    artifact: str | None = Field(
        None, description="With kind artifact: the tokenizer to use, as `textmill ls` names it."
    )

    @model_validator(mode="after")
    def _check(self) -> "TokenizerConfig":
        if self.kind == "artifact" and not self.artifact:
            raise ValueError("kind is 'artifact', but `artifact` names none: `textmill ls tokenizer` lists them")
        if self.kind != "artifact" and self.artifact is not None:
            raise ValueError(f"`artifact` is {self.artifact!r}, but kind is {self.kind!r}: set kind to 'artifact'")
        if self.kind != "bpe" and self.vocab_size is not None:
            raise ValueError(
                f"vocab_size is {self.vocab_size}, but only kind 'bpe' has a size to choose, and kind is "
                f"{self.kind!r}: set vocab_size to null"
            )
        wrong = {name: weight for name, weight in self.sample_weights.items() if not 0 <= weight < math.inf}
        if wrong:
            raise ValueError(f"sample_weights must be finite and at least 0, but here are {wrong}")
        return self


def resolve_vocab_size(train_bytes: int) -> int:
    """Ids, `<|endoftext|>` included, for `train_bytes` UTF-8 bytes of training text: about one per kilobyte."""
    if train_bytes <= SMALLEST_VOCABULARY * 1000:
        return SMALLEST_VOCABULARY
    return int(min(LARGEST_VOCABULARY, 2 ** round(math.log2(train_bytes / 1000))))
