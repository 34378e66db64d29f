"""From what is known of a run to one HTML page that needs nothing but itself. Reads no files and knows no store.

Everything on the page may come from strangers' text, so every value is escaped, invisible characters are made visible,
and long texts are cut; the page allows itself neither scripts nor anything from outside.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from data.scores import drawn
from tasks.corpus_facts import SCORES_SAY, CorpusFacts
from tasks.report_builds import Note, StageBuilds
from tasks.report_drops import Boilerplate, Drop
from tasks.report_facts import RunFacts
from tasks.report_learning import Curves, Decode, PromptSamples

MAX_CHARACTERS = 2_000  # of one text on the page
EXAMPLE_TOKENS = 24

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


def render(
    *,
    name: str,
    recipe: Mapping[str, Any],
    facts: RunFacts,
    corpus: CorpusFacts,
    model_counts: Mapping[str, int | float],
    device: str | None,
    curves: Curves,
    pictures: Mapping[str, Mapping[str, bytes]],
    samples: Sequence[PromptSamples],
    example_tokens: Sequence[str],
    drops: Sequence[Drop],
    boilerplate: Sequence[Boilerplate],
    notes: Sequence[Note],
    builds: Sequence[StageBuilds],
    versions: Sequence[tuple[str, str, str]],
    plan: Sequence[tuple[str, str, str]] = (),
) -> str:
    """The page as HTML.

    model_counts  what the trainer counted: seconds, tokens per second, training loss; any of it may be missing
    pictures      {"loss", "bits_per_byte" or "waterfall": {"light" or "dark": PNG}}
    versions      (program, version now, versions recorded by the cited builds)
    plan          (name, value, where it came from)
    """
    urls = {picture: {theme: data_url(png) for theme, png in themes.items()} for picture, themes in pictures.items()}
    return (
        _environment()
        .get_template("report.html")
        .render(
            name=name,
            recipe=json.dumps(recipe, indent=2, ensure_ascii=False),
            facts=facts,
            corpus=corpus,
            scores_say=SCORES_SAY,
            drawn=drawn,
            counts=model_counts,
            device=device,
            curves=curves,
            pictures=urls,
            samples=samples,
            example_tokens=example_tokens,
            drops=drops,
            boilerplate=boilerplate,
            notes=notes,
            builds=builds,
            versions=versions,
            plan=plan,
        )
    )


def data_url(png: bytes) -> str:
    """A picture as part of a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def example_tokens(decode: Decode, vocab_size: int) -> list[str]:
    """Some tokens, spread evenly over the vocabulary; what cannot be shown, like a part of a letter, is left out."""
    ids = sorted({round(i * (vocab_size - 1) / (EXAMPLE_TOKENS - 1)) for i in range(EXAMPLE_TOKENS)})
    return [text for text in (decode([i]) for i in ids) if "\ufffd" not in visible(text)]


def visible(text: Any, most: int = MAX_CHARACTERS) -> str:
    """Text fit to be shown: control and direction marks become the replacement sign, what is too long is cut."""
    shown = _UNSEEN.sub("\ufffd", str(text))
    return shown if len(shown) <= most else f"{shown[:most]}… ({len(shown) - most:,} more characters)"


def number(value: float | None) -> str:
    """A count, e.g. 1,234,567."""
    return "–" if value is None else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """A count in three figures, e.g. 1.23 million."""
    if value is None:
        return "–"
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {word}"
    return number(value)


def decimals(value: float | None, places: int = 3) -> str:
    """A measurement, e.g. 1.873."""
    return "–" if value is None else f"{value:,.{places}f}"


def byte_size(value: float | None) -> str:
    """A size in powers of ten, e.g. 1.94 MB."""
    if value is None:
        return "–"
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 1000 * size else f"{value / size:,.0f} {unit}"
    return f"{value:.0f} B"


def duration(seconds: float | None) -> str:
    """A time span, e.g. 2 min 5 s."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def token_text(text: str) -> str:
    """A token with its white space made visible."""
    return visible(text, 40).replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tasks"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters = (visible, number, compact, decimals, byte_size, duration, token_text)
    environment.filters.update({one.__name__: one for one in filters})
    return environment
