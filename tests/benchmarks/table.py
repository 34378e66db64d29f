"""One way to print figures: median, spread, and the goal beside it."""

import statistics
from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    """The median of at least one value."""
    return statistics.median(values)


def print_table(title: str, rows: Sequence[tuple[str, Sequence[float], str, str]]) -> None:
    """Print rows of (what, values of all runs, unit, goal in words) with median, smallest and largest."""
    print(f"\n{title}")
    print(f"  {'':<52}{'median':>10}{'min':>10}{'max':>10}  {'unit':<8}goal")
    for what, values, unit, goal in rows:
        numbers = "".join(f"{number:>10.3g}" for number in (median(values), min(values), max(values)))
        print(f"  {what:<52}{numbers}  {unit:<8}{goal}", flush=True)
