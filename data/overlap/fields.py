"""An item of a benchmark as a line of JSON has it, and the texts at its fields. Knows no benchmark."""

import json
from collections.abc import Sequence
from typing import Any

from data.errors import TextmillError


class UnusableBenchmarkError(TextmillError):
    """A file of benchmark items that cannot be read as the recipe says."""


def parse_item(content: str, where: str) -> dict[str, Any]:
    """The object of one line. Raises UnusableBenchmarkError for anything else; `where` begins what that says."""
    try:
        item = json.loads(content)
    except ValueError as error:
        raise UnusableBenchmarkError(f"In {where}: {error}. One JSON object belongs on every line.") from error
    if not isinstance(item, dict):
        raise UnusableBenchmarkError(f"In {where}: a {type(item).__name__} where one JSON object belongs.")
    return item


def texts_at(item: dict[str, Any], field: str, where: str, nulls: bool = True) -> list[str]:
    """The texts at a field, dots leading into objects: one, or those of a list; none where it is null.

    Raises UnusableBenchmarkError where there is no such field, or what it holds is no text; without `nulls` also where
    it, or one of a list, is null, so that the places of the others are what they are.
    """
    return _values(item, field.split("."), field, where, nulls)


def _values(item: Any, steps: Sequence[str], field: str, where: str, nulls: bool) -> list[str]:
    """The texts of a field: one, or those of a list; none where it is null, if that is allowed."""
    if item is None and nulls:
        return []
    if isinstance(item, list):
        return [value for one in item for value in _values(one, steps, field, where, nulls)]
    if steps and item is not None:
        if not isinstance(item, dict) or steps[0] not in item:
            known = ", ".join(item) if isinstance(item, dict) else "none"
            raise UnusableBenchmarkError(f"In {where}: there is no field {field!r}; known there: {known}.")
        return _values(item[steps[0]], steps[1:], field, where, nulls)
    if isinstance(item, str):
        return [item]
    raise UnusableBenchmarkError(f"In {where}: the field {field!r} holds {json.dumps(item)[:80]}, which is no text.")
