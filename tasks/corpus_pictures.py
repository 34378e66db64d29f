"""The way of a text into the corpus as a picture: a waterfall of documents and one of characters, rule by rule.

Only whoever draws imports this: matplotlib takes a second to load.
"""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tasks.corpus_facts import OWN_STEPS, CorpusFacts, TextFlow
from tasks.pictures import COLOURS, DOTS_PER_INCH, Colours, Theme, png_of

WIDTH, ROW_HEIGHT, FRAME_HEIGHT = 9.6, 0.42, 1.2  # inches
MAX_RULES = 9  # rows of rules of cleaning; further ones share a row
MAX_SOURCES = 4  # with colours of their own; further ones share one
_SOURCES: dict[Theme, tuple[str, ...]] = {
    "light": ("#b4441a", "#8fa3b8", "#44624f", "#d3a531", "#735a80"),
    "dark": ("#f0875a", "#71869b", "#8fbf9f", "#e5c060", "#b99ac8"),
}
_OTHER_RULES, _OTHER_SOURCES = "other rules", "other sources"

Rows = list[tuple[str, list[int]]]
"""What each step took, by source; the first row is what was read."""


def draw_waterfall(facts: CorpusFacts, theme: Theme) -> bytes:
    """Documents and characters read, what each rule took of them, and what is kept, by source, as PNG."""
    colours = COLOURS[theme]
    sources = _grouped(facts.sources)
    names = [step.name for step in facts.all.steps]
    own = [name for name in names if name in OWN_STEPS]
    rules = sorted([*[name for name in names if name not in own][:MAX_RULES], *own], key=names.index)
    documents, characters = (waterfall_rows(sources, rules, what) for what in ("documents", "characters"))
    height = FRAME_HEIGHT + ROW_HEIGHT * len(documents)
    figure = Figure((WIDTH, height), dpi=DOTS_PER_INCH, layout="constrained", facecolor=colours.page)
    left, right = figure.subplots(1, 2, sharey=True)
    _waterfall(left, "Documents", documents, theme, colours)
    _waterfall(right, "Characters", characters, theme, colours)
    if len(sources) > 1:
        handles = [Patch(color=_SOURCES[theme][number], label=name) for number, (name, _) in enumerate(sources)]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(sources),
                      labelcolor=colours.ink, facecolor=colours.page, edgecolor="none", fontsize=11)  # fmt: skip
    return png_of(figure)


def waterfall_rows(sources: Sequence[tuple[str, Sequence[TextFlow]]], rules: Sequence[str], what: str) -> Rows:
    """Rows of a waterfall.

    sources  groups of sources that share a colour
    rules    with a row of their own
    what     `documents` or `characters`

    What the first row holds is what all others hold together, the last of which is what is kept.
    """
    kept: list[Callable[[TextFlow], int]] = [lambda flow: flow.documents_kept, lambda flow: flow.characters_kept]
    read: list[Callable[[TextFlow], int]] = [lambda flow: flow.documents_in, lambda flow: flow.characters_in]
    at = ("documents", "characters").index(what)

    def took(flow: TextFlow, wanted: Callable[[str], bool]) -> int:
        return sum(int(getattr(step, what)) for step in flow.steps if wanted(step.name))

    def row(of: Callable[[TextFlow], int]) -> list[int]:
        return [sum(map(of, flows)) for _, flows in sources]

    rows = [("read", row(read[at]))]
    rows += [(rule, row(lambda flow, rule=rule: took(flow, lambda name: name == rule))) for rule in rules]  # type: ignore[misc]
    others = row(lambda flow: took(flow, lambda name: name not in rules))
    if any(others) or any(step.name not in rules for _, flows in sources for flow in flows for step in flow.steps):
        rows.append((_OTHER_RULES, others))
    return [*rows, ("kept", row(kept[at]))]


def _grouped(sources: Sequence[TextFlow]) -> list[tuple[str, list[TextFlow]]]:
    """The sources with the most text one by one, all others together."""
    ordered = sorted(sources, key=lambda flow: -flow.characters_in)
    groups = [(_short(flow.name), [flow]) for flow in ordered[:MAX_SOURCES]]
    rest = ordered[MAX_SOURCES:]
    return [*groups, (_OTHER_SOURCES, rest)] if rest else groups


def _waterfall(axes: Axes, title: str, rows: Rows, theme: Theme, colours: Colours) -> None:
    whole = max(1, sum(rows[0][1]))
    left = sum(rows[0][1])
    for place, (name, parts) in enumerate(rows):
        total = sum(parts)
        ends = name in ("read", "kept")
        start = 0 if ends else left - total
        for number, part in enumerate(parts):
            axes.barh(place, part, left=start, height=0.68, color=_SOURCES[theme][number])
            start += part
        beyond = max(start, start - total)
        left -= 0 if ends else total
        sign = "" if ends or not total else "\u2212" if total > 0 else "+"
        axes.text(beyond + 0.015 * whole, place, sign + _plain(abs(total)), va="center", color=colours.ink, fontsize=10)
    axes.set_title(title, fontsize=13, color=colours.ink, loc="left")
    axes.set_yticks(range(len(rows)), [_short(name).replace("_", " ") for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.2 * whole)  # there is room for numbers beyond the bars
    axes.set_facecolor(colours.page)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    axes.tick_params(labelsize=10.5, colors=colours.ink, length=0, pad=6)
    axes.grid(axis="x", color=colours.faint, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _plain(value: float) -> str:
    """A count in few characters: 950, 12.3k, 4.56M, 1.2G."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{value:,.0f}"


def _short(name: str) -> str:
    """A name that fits; a dollar sign would begin mathematics."""
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in name).replace("$", r"\$")
    return shown if len(shown) <= 34 else f"{shown[:33]}…"
