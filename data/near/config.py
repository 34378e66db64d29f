"""What near duplicates are: settings that change signatures, band tables and drop lists."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class NearConfig(BaseModel):
    """Near duplicates by MinHash: runs of words as sets, compared by their Jaccard similarity.

    Bands find candidates: two documents of similarity s share a band with probability 1 - (1 - s**rows)**bands, so
    14 x 8 finds 99% of the pairs at 0.85. All values of a signature then estimate the similarity, with a standard
    deviation of sqrt(s (1 - s) / values): 0.022 at 0.85 with 256, so that 1.3% of the pairs at 0.85 fall below 0.8.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shingle_words: int = Field(
        5, ge=1, le=50, description="Words in each run of words that is compared; a shorter document is one run."
    )
    bands: int = Field(14, ge=1, le=256, description="Bands; documents that agree in one of them are compared.")
    rows: int = Field(8, ge=1, le=64, description="Values of a signature in one band.")
    values: int = Field(
        256, ge=16, le=4096, description="Values of a signature, at least bands x rows; all of them are compared."
    )
    threshold: float = Field(
        0.8, ge=0.5, le=1, description="Estimated Jaccard similarity from which on the later document is dropped."
    )

    def signing_identity(self) -> dict[str, Any]:
        """What of these settings changes signatures and band tables, JSON-able; the threshold acts later."""
        return self.model_dump(mode="json", exclude={"threshold"})

    @model_validator(mode="after")
    def _bands_fit(self) -> "NearConfig":
        if self.bands * self.rows > self.values:
            raise ValueError(
                f"{self.bands} bands of {self.rows} rows need {self.bands * self.rows} values, and a signature has "
                f"{self.values}: raise values, or lower bands or rows."
            )
        return self
