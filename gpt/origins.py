"""Where every number of a plan came from, in words: by hand, by the dial, by formula, or the default.

The formulas are told as the fields' own docstrings in `gpt.config` tell them, so that there is one place for them.
"""

import ast
import dataclasses
import inspect
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

BY_HAND = "set by hand"
DEFAULT = "the default"


class Number(NamedTuple):
    """One number of a plan: dotted name, value, and where it came from."""

    name: str
    value: Any
    origin: str


def numbers(group: str, given: Any, resolved: Any, reasons: Mapping[str, str]) -> list[Number]:
    """Every field of a resolved config.

    group    "model" or "training", the first part of the names
    given    the config as the recipe has it, None where it leaves a number open
    reasons  what is known better, by dotted name, for fields that were left open or became another value
    """
    texts = formulas(type(resolved))
    found = []
    for field in dataclasses.fields(resolved):
        name, value, wanted = f"{group}.{field.name}", getattr(resolved, field.name), getattr(given, field.name)
        if wanted is None or wanted != value:
            origin = reasons.get(name) or (f"by formula: {texts[field.name]}" if field.name in texts else "by formula")
        else:
            origin = DEFAULT if wanted == field.default else BY_HAND
        found.append(Number(name, value, origin))
    return found


@cache
def formulas(config: type) -> dict[str, str]:
    """What follows "by formula" in the docstring of each field of a config that has one; {} without its source."""
    try:
        (body,) = ast.parse(inspect.getsource(config)).body
    except OSError:
        return {}
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            said = re.search(
                r"by formula,? (.+?)(?:\.\s|\.$|$)", " ".join(str(text.value.value).split()), re.IGNORECASE
            )
            if said and isinstance(field.target, ast.Name):
                found[field.target.id] = said[1]
    return found
