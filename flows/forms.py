"""Forms checked once: a flow's parameters as Prefect describes them, JSON Schema of some 50 kB.

Prefect, the server and its client alike, checks a whole form against the rules for forms with every deployment that is
written, two or three times, and with every run that is started; each check takes a quarter of a second. `check_once`
lets a process remember what it has checked, definition by definition: the forms of our flows differ in little but
their top, since a recipe is in each of them. Parameters are always checked.

It remembers the names of time zones, too: for each of some two hundred schedules that the deployments come with and the
server makes of them, Prefect would look through the folders of zones for whether there is the one it names.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any
from zoneinfo import available_timezones

import jsonschema
import prefect.types._datetime
from prefect.utilities.schema_tools import validation

_DEFINITIONS = ("$defs", "definitions")  # the rules hold for each definition by itself


def check_once() -> None:
    """From now on what equals a definition that was found in order is not checked again in this process."""
    in_order: set[str] = set()  # both check by the rules of Draft 2020-12
    for validator in (jsonschema.Draft202012Validator, validation._VALIDATOR):
        _remember(validator, in_order)
    theirs: Any = prefect.types._datetime
    theirs.available_timezones = cache(available_timezones)


def _remember(validator: Any, in_order: set[str]) -> None:
    check = validator.check_schema

    def check_new(schema: Any, *arguments: Any, **settings: Any) -> None:
        for part in _parts(schema):
            form = json.dumps(part, sort_keys=True, default=repr)
            if form not in in_order:
                check(part, *arguments, **settings)
                in_order.add(form)

    validator.check_schema = staticmethod(check_new)


def _parts(schema: Any) -> Iterator[Any]:
    """A form without its definitions, and each of these."""
    if not isinstance(schema, dict):
        yield schema
        return
    split = {name: schema[name] for name in _DEFINITIONS if isinstance(schema.get(name), dict)}
    yield schema | {name: {} for name in split}
    for definitions in split.values():
        yield from definitions.values()
