"""Measured values beside their goals, as a table for the terminal and for a page."""

from collections.abc import Sequence
from dataclasses import dataclass

COLUMNS = ("task", "measured", "MFU", "pass", "excellent", "verdict", "remark")


@dataclass(frozen=True)
class Row:
    """One line: a value in `unit` (None: no value) and what it should be; with `lower` less is better.

    `missed` says that there is no value because the goal was out of reach.
    """

    task: str
    value: float | None
    unit: str
    mfu: float | None = None
    goal: float | None = None
    excellent: float | None = None
    lower: bool = False
    missed: bool = False
    remark: str = ""

    @property
    def verdict(self) -> str:
        """ "excellent", "pass" or "missed"; empty where there is no goal or nothing was measured."""
        if self.missed:
            return "missed"
        if self.value is None or self.goal is None:
            return ""
        for name, bound in (("excellent", self.excellent), ("pass", self.goal)):
            if bound is not None and (self.value <= bound if self.lower else self.value >= bound):
                return name
        return "missed"

    def cells(self) -> list[str]:
        """The texts of the columns."""
        return [
            self.task,
            "-" if self.value is None else _number(self.value, self.unit),
            "" if self.mfu is None else f"{self.mfu:.1%}",
            "" if self.goal is None else _number(self.goal, self.unit),
            "" if self.excellent is None else _number(self.excellent, self.unit),
            self.verdict,
            self.remark,
        ]


def as_text(rows: Sequence[Row]) -> str:
    """Columns of even width."""
    lines = [list(COLUMNS), *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_markdown(rows: Sequence[Row]) -> str:
    """A table of a Markdown page."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"
