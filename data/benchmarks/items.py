"""Items of multiple-choice benchmarks, from JSON lines to the texts that a model is asked about. Knows no model.

A line that is no usable item is left out and named, never guessed at. With `form: hellaswag` the context is the label
of the activity, a colon, `ctx_a` and `ctx_b`, which then begins with a capital and goes on in lower case; and of
contexts and endings that come from wikiHow ` [title]` becomes a full stop, other marks in brackets go, and two spaces
become one. So do lm-evaluation-harness (lm_eval/tasks/hellaswag/utils.py) and, by it, most published figures; the
scripts that score `ctx` and `endings` as they are (karpathy/llm.c, dev/data/hellaswag.py) are met by `form: plain`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.benchmarks.config import BenchmarkItemsConfig
from data.digests import text_digest
from data.manifest import canonical_json
from data.overlap.fields import UnusableBenchmarkError, parse_item, texts_at

MOST_NAMED = 5  # lines left out that a note tells of


@dataclass(frozen=True)
class Item:
    """A question: which of `endings`, each begun with a space, follows `context`? `label` counts from 0."""

    context: str
    endings: tuple[str, ...]
    label: int


@dataclass(frozen=True)
class Items:
    """The usable items of a benchmark, and what was said of each line left out, in the order of the file."""

    name: str
    items: tuple[Item, ...]
    left_out: tuple[str, ...]

    def digest(self) -> str:
        """Tells apart what models are asked; neither names nor places enter."""
        return text_digest(canonical_json([[one.context, list(one.endings), one.label] for one in self.items]))

    def note(self) -> str | None:
        """What a report must say of lines left out; None where there are none."""
        if not self.left_out:
            return None
        shown = "; ".join(self.left_out[:MOST_NAMED])
        more = len(self.left_out) - MOST_NAMED
        lines = "line was" if len(self.left_out) == 1 else "lines were"
        return f"{len(self.left_out):,} {lines} left out as no usable item: {shown}" + (
            f"; and {more:,} more." if more > 0 else ""
        )


def read_items(path: Path, name: str, config: BenchmarkItemsConfig) -> Items:
    """The items of a file. Raises UnusableBenchmarkError where it cannot be read or holds no usable item."""
    items: list[Item] = []
    left_out: list[str] = []
    try:
        with path.open("rb") as file:
            for line, content in enumerate(file, 1):
                if not content.strip():
                    continue
                try:
                    items.append(_item(content.decode("utf-8-sig" if line == 1 else "utf-8"), config))
                except (UnusableBenchmarkError, UnicodeDecodeError) as error:
                    left_out.append(f"line {line:,}: {_reason(error)}")
    except OSError as error:
        raise UnusableBenchmarkError(
            f"The benchmark {name!r} cannot be read from {path}: {error.strerror or error}. Correct "
            f"evaluation.benchmarks.{name}.path, or leave the benchmark out."
        ) from error
    if not items:
        why = (
            f"all {len(left_out):,} lines were left out, the first because: {left_out[0]}"
            if left_out
            else "it is empty"
        )
        raise UnusableBenchmarkError(
            f"The benchmark {name!r} has no usable item in {path}: {why} Correct evaluation.benchmarks.{name}."
        )
    return Items(name, tuple(_spread(items, config.max_items)), tuple(left_out))


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"no UTF-8 at byte {error.start}."
    return str(error).removeprefix("In it: ").split(". One JSON object")[0].rstrip(".") + "."


def _spread(items: Sequence[Item], most: int | None) -> Sequence[Item]:
    if most is None or len(items) <= most:
        return items
    return [items[place * len(items) // most] for place in range(most)]


def _item(content: str, config: BenchmarkItemsConfig) -> Item:
    item = parse_item(content, "it")
    endings = [text for field in config.endings for text in texts_at(item, field, "it", nulls=False)]
    if config.form == "hellaswag":
        first, second, activity = (
            " ".join(texts_at(item, field, "it")) for field in ("ctx_a", "ctx_b", "activity_label")
        )
        context = _without_brackets(f"{activity}: {first} {second.capitalize()}")
        endings = [_without_brackets(ending) for ending in endings]
    else:
        context = " ".join(text for field in config.context for text in texts_at(item, field, "it", nulls=False))
    context, endings = context.strip(), [ending.strip() for ending in endings]
    if len(endings) < 2:
        raise UnusableBenchmarkError(f"it has {len(endings)} endings, but at least 2 are needed")
    if "" in endings:
        raise UnusableBenchmarkError(f"its ending {endings.index('') + config.first_label} is empty")
    for text in (context, *endings):
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise UnusableBenchmarkError("it holds a lone surrogate, which is no text")
    return Item(context, tuple(endings), _label(item, len(endings), config))


def _label(item: dict[str, Any], endings: int, config: BenchmarkItemsConfig) -> int:
    """The number of the right ending from 0. Test sets without answers have an empty text there."""
    *parents, last = config.label.split(".")
    at: Any = item
    for part in parents:
        at = at.get(part) if isinstance(at, dict) else None
    if not isinstance(at, dict) or last not in at:
        raise UnusableBenchmarkError(f"there is no field {config.label!r}")
    value = at[last]
    number = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value - config.first_label
    elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}", value.strip()):
        number = int(value) - config.first_label
    elif isinstance(value, str) and re.fullmatch(r"[A-Za-z]", value.strip()):
        number = ord(value.strip().upper()) - ord("A")
    if number is None or not 0 <= number < endings:
        last_label = endings - 1 + config.first_label
        raise UnusableBenchmarkError(
            f"{config.label} is {str(value)[:40]!r}, which is none of its endings {config.first_label} to {last_label}"
        )
    return number


def _without_brackets(text: str) -> str:
    """Text without the marks that wikiHow's pages left in HellaSwag."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")
