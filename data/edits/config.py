"""Which edits are made to a document: each is off unless the user, or a profile, says so.

Named in the order in which they are made. What an edit does in detail stands in its module.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

RULES = 1  # raised by hand when the same text is edited in another way; enters the key where anything is edited

Symbols = Literal["pictographs", "boxes"]


class EditConfig(BaseModel):
    """What is taken out of, or mended in, each document before it is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    invisible: bool = Field(
        False,
        description="Take out soft hyphens and characters without width (U+200B, U+2060, U+FEFF), and joiners (U+200C, "
        "U+200D) outside of scripts and emoji that need them.",
    )
    html_leftovers: bool = Field(
        False,
        description="Replace entities (`&amp;`, `&nbsp;`, `&#39;`) by what they stand for and take out stray tags, "
        "not in code nor in text about HTML.",
    )
    running_heads: bool = Field(
        False, description="Take out titles that come again at page breaks, with or without the page number."
    )
    page_numbers: bool = Field(False, description="Take out lines that hold nothing but a page number.")
    hyphenation: bool = Field(
        False, description="Join words that were cut at line ends; hyphens that belong to a word stay."
    )
    max_repeated_lines: int | None = Field(
        None,
        ge=1,
        description="How often a line may come in a document; of one that comes more often only the first stays, if it "
        "is no verse, code or table.",
    )
    repeated_line: int = Field(
        20, ge=1, description="Shortest line that can be repeated too often, in characters without those around it."
    )
    urls: Literal["keep", "remove", "placeholder"] = Field(
        "keep", description="What becomes of web addresses; the placeholder is `<URL>`."
    )
    remove_symbols: tuple[Symbols, ...] = Field(
        (), description="Signs taken out: pictographs (emoji, dingbats) and boxes (box drawing, blocks)."
    )
    lower_case: bool = Field(False, description="Make all letters lower-case.")

    @field_validator("remove_symbols")
    @classmethod
    def _in_one_order(cls, symbols: tuple[Symbols, ...]) -> tuple[Symbols, ...]:
        return tuple(sorted(set(symbols)))

    @property
    def is_on(self) -> bool:
        """Whether anything is edited."""
        return bool(self.identity())

    def identity(self) -> dict[str, Any]:
        """What of these settings changes documents, JSON-able; empty where nothing is edited.

        Edits that are off are not named, so that new ones change no key.
        """
        chosen = self.model_dump(mode="json", exclude_defaults=True)
        if self.max_repeated_lines is None:
            chosen.pop("repeated_line", None)
        else:
            chosen["repeated_line"] = self.repeated_line
        return chosen and {**chosen, "rules": RULES}
