"""Markdown as Prefect's pages show it: tables, and strangers' text that stays text."""

import html
import re
from collections.abc import Collection, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: Collection[int] = ()) -> str:
    """A table; all columns but the first and those in `texts` (places, from 0) are numbers, set to the right."""
    ruler = ["---" if place in (0, *texts) else "---:" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ruler, *rows))


def plain(text: str) -> str:
    """Text that markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def code(text: str) -> str:
    """Text as code within a line."""
    fence = _fence(text, 1)
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def block(text: str) -> str:
    """Text in a block of its own, line by line as it is."""
    fence = _fence(text, 3)
    return f"{fence}text\n{text}\n{fence}"


def _fence(text: str, least: int) -> str:
    """Backticks, more than any run of them in the text."""
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    return "`" * max(least, longest + 1)
