"""Curves as pictures: PNG files of one size, in a light and a dark version. Knows curves, not where they come from.

Only whoever draws imports this: matplotlib takes a second to load.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from tasks.report_learning import Curve, Curves

INCHES = (6.4, 4.0)
DOTS_PER_INCH = 160  # a picture is 1024 x 640 pixels, sharp at half that size
MANY_POINTS = 60  # from here on a line needs no dots

Theme = Literal["light", "dark"]


@dataclass(frozen=True)
class Colours:
    """Of one theme; the two lines differ in lightness as well, for those who see colours otherwise."""

    page: str
    ink: str
    faint: str
    train: str
    validation: str


COLOURS: dict[Theme, Colours] = {
    "light": Colours("#ffffff", "#1f2328", "#d5d9de", "#8fa3b8", "#b4441a"),
    "dark": Colours("#161a1f", "#e6e9ed", "#363d45", "#71869b", "#f0875a"),
}


def draw_loss(curves: Curves, theme: Theme) -> bytes:
    """Training and validation loss over steps, as PNG; the step of the published weights is marked."""
    colours = COLOURS[theme]
    figure, axes = _canvas("Loss (nats per token)", colours)
    _line(axes, curves.train, "training", colours.train, 1.4)
    _line(axes, curves.validation, "validation", colours.validation, 2.0)
    _mark_best(axes, curves.validation, curves.best_step, colours)
    return _png(figure, axes, colours)


def draw_bits_per_byte(curves: Curves, whole: Sequence[float] | None, theme: Theme) -> bytes:
    """Validation bits per byte over steps, as PNG.

    whole  the score on the whole validation split and its interval (value, low, high), drawn as a band
    """
    colours = COLOURS[theme]
    figure, axes = _canvas("Bits per byte", colours)
    if whole is not None:
        value, low, high = whole
        axes.axhspan(low, high, color=colours.train, alpha=0.25, linewidth=0, label="95% interval, whole split")
        axes.axhline(value, color=colours.train, linewidth=1.4, label="best weights, whole split")
    _line(axes, curves.bits_per_byte, "validation sample", colours.validation, 2.0)
    _mark_best(axes, curves.bits_per_byte, curves.best_step, colours)
    return _png(figure, axes, colours)


def _canvas(label: str, colours: Colours) -> tuple[Figure, Axes]:
    figure = Figure(INCHES, dpi=DOTS_PER_INCH, layout="constrained", facecolor=colours.page)
    axes = figure.add_subplot(facecolor=colours.page)
    axes.set_xlabel("Step", fontsize=13, color=colours.ink)
    axes.set_ylabel(label, fontsize=13, color=colours.ink)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.tick_params(labelsize=12, colors=colours.ink, length=0, pad=6)
    axes.grid(axis="y", color=colours.faint, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(colours.faint)
    return figure, axes


def _line(axes: Axes, curve: Curve, label: str, colour: str, width: float) -> None:
    if curve:
        dotted = len(curve.steps) == 1 or (width >= 2 and len(curve.steps) < MANY_POINTS)
        marker = "o" if dotted else None
        axes.plot(curve.steps, curve.values, label=label, color=colour, linewidth=width, marker=marker, markersize=3.5)


def _mark_best(axes: Axes, curve: Curve, best: int | None, colours: Colours) -> None:
    """A ring around the point of the published weights; its numbers go to the legend, clear of every curve."""
    if best is not None and best in curve.steps:
        value = curve.values[curve.steps.index(best)]
        axes.plot([best], [value], "o", label=f"best: {value:.3f} at step {best:,}", color=colours.page, markersize=9,
                  markeredgecolor=colours.validation, markeredgewidth=2.2, zorder=5)  # fmt: skip


def _png(figure: Figure, axes: Axes, colours: Colours) -> bytes:
    if axes.get_legend_handles_labels()[1]:
        legend = axes.legend(fontsize=12, labelcolor=colours.ink, loc="best", framealpha=1, edgecolor="none")
        legend.get_frame().set_facecolor(colours.page)
    return png_of(figure)


def png_of(figure: Figure) -> bytes:
    """A figure as PNG, the same bytes each time."""
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
