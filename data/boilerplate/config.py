"""What boilerplate is: settings that change tables of lines, lists of frequent lines, and texts without them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

RULES = 1  # raised by hand when the same line is hashed, counted or taken out in another way; enters all keys


class LinesConfig(BaseModel):
    """Lines that come in many documents, such as those of menus and notices: the first documents keep them.

    CCNet (Wenzek et al. 2020, arXiv:1911.00359) keeps a line only where it comes first. Llama 3 (2024,
    arXiv:2407.21783, section 3.1.1) takes out lines that come more than six times in 30 million documents; the default
    is that six, over all documents of a corpus. FineWeb (Penedo et al. 2024, arXiv:2406.17557) found that
    models get worse when every line is left only once: be sparing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: Literal["line", "paragraph"] = Field(
        "line",
        description="What is counted and taken out: lines, or paragraphs (lines without a blank one between them, "
        "wherever they are broken), which suit text with wrapped lines.",
    )
    max_occurrences: int = Field(
        6, ge=1, le=1_000_000_000, description="Documents, in the order of slots, that keep a line; later ones lose it."
    )
    min_characters: int = Field(
        20, ge=1, le=1_000_000, description="Letters of the shortest line (or paragraph) that is counted and taken out."
    )

    def counting_identity(self) -> dict[str, Any]:
        """What of these settings changes tables of lines, JSON-able; the number of occurrences acts later."""
        return {**self.model_dump(mode="json", exclude={"max_occurrences"}), "rules": RULES}
