"""What a stage reports about the payload it has just written. Knows nothing of stores or tasks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Progress = Callable[[float, float, str], None]
"""Called as progress(done, total, unit); cheap enough to call a few times a second."""


TO_ASK_AGAIN = "to_ask_again"
"""The count, of a raw slot, of items that a server failed to give; a later run asks for them again."""


def no_progress(done: float, total: float, unit: str) -> None:
    """The progress callback of somebody who does not watch."""


def counted(number: int, thing: str) -> str:
    """`1 file`, `2 files`, `1,200 files`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


@dataclass
class Facts:
    """Observed while building; the store writes them into the manifest, outside of every key.

    counts    numbers worth adding up over slots (documents, characters, tokens, drops by reason)
    licences  licences of the text in the payload, without repeats
    notes     warnings, one sentence each, that the report must show
    details   anything JSON-able that a reader of the manifest wants besides
    """

    counts: dict[str, int | float] = field(default_factory=dict)
    licences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
