"""Bits per byte over the decisions of a registry, as a picture. Only whoever draws imports this: matplotlib is slow."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tasks.champions import Decision
from tasks.pictures import COLOURS, DOTS_PER_INCH, INCHES, Theme, png_of

Point = tuple[int, float]  # number of a decision, bits per byte


@dataclass(frozen=True)
class Points:
    """What is drawn; each pair of challenger and champion was scored on the same text, that of its decision."""

    promoted: Sequence[Point]
    kept: Sequence[Point]  # challengers that were not promoted
    before: Sequence[Point]  # the champions that they were compared with


def points_of(history: Sequence[Decision]) -> Points:
    """The scores of the decisions that were based on any."""
    found = Points([], [], [])
    for decision in history:
        value, before = decision.bits_per_byte
        if value is None:
            continue
        side = found.kept if decision.outcome == "kept" else found.promoted
        side.append((decision.number, value))  # type: ignore[attr-defined]
        if before is not None:
            found.before.append((decision.number, before))  # type: ignore[attr-defined]
    return found


def draw_decisions(history: Sequence[Decision], theme: Theme = "light") -> bytes:
    """The picture as PNG."""
    colours, points = COLOURS[theme], points_of(history)
    figure = Figure(INCHES, dpi=DOTS_PER_INCH, layout="constrained", facecolor=colours.page)
    axes = figure.add_subplot(facecolor=colours.page)
    axes.set_xlabel("Decision", fontsize=13, color=colours.ink)
    axes.set_ylabel("Bits per byte of frozen text", fontsize=13, color=colours.ink)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.tick_params(labelsize=12, colors=colours.ink, length=0, pad=6)
    axes.grid(axis="y", color=colours.faint, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(colours.faint)
    values = {**dict(points.promoted), **dict(points.kept)}
    for number, before in points.before:  # the two that were compared
        axes.plot([number, number], [before, values[number]], color=colours.faint, linewidth=2, zorder=1)
    for label, found, marker, colour in (
        ("champion before", points.before, "o", colours.train),
        ("challenger, promoted", points.promoted, "o", colours.validation),
        ("challenger, not promoted", points.kept, "x", colours.validation),
    ):
        if found:
            axes.plot(*zip(*found, strict=True), marker, label=label, color=colour, markersize=8, markeredgewidth=2.2)
    if points.promoted:
        axes.plot(*zip(*points.promoted, strict=True), color=colours.validation, linewidth=1.4, zorder=1)
    if axes.get_legend_handles_labels()[1]:
        figure.legend(fontsize=11, labelcolor=colours.ink, loc="outside upper center", ncols=3, frameon=False,
                      handletextpad=0.2, columnspacing=1.2)  # fmt: skip
    return png_of(figure)
