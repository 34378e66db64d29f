"""Forms checked once: a flow's parameters as Prefect describes them, JSON Schema of some 50 kB.

Prefect, the server and its client alike, checks a whole form against the rules for forms with every deployment that is
written, two or three times, and with every run that is started; each check takes a quarter of a second. There are three
forms, of three flows. `check_forms_once` lets a process remember which it has checked; parameters are always checked.
"""

import json
from typing import Any

import jsonschema
from prefect.utilities.schema_tools import validation


def check_forms_once() -> None:
    """From now on a form equal to one that was found in order is not checked again in this process."""
    for validator in (jsonschema.Draft202012Validator, validation._VALIDATOR):
        _remember(validator)


def _remember(validator: Any) -> None:
    check, in_order = validator.check_schema, set()

    def check_once(schema: Any, *arguments: Any, **settings: Any) -> None:
        form = json.dumps(schema, sort_keys=True, default=repr)
        if form not in in_order:
            check(schema, *arguments, **settings)
            in_order.add(form)

    validator.check_schema = staticmethod(check_once)
