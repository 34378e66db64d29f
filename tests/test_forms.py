"""Forms that are checked once: nothing is checked twice, and nothing wrong gets by."""

import jsonschema
import prefect.types._datetime
import pytest
from prefect.utilities.schema_tools import validation

from flows import forms
from flows.pipeline import pipeline
from flows.training import training

RULES = (jsonschema.Draft202012Validator, validation._VALIDATOR)


@pytest.fixture
def checked(monkeypatch):
    """What both validators are given to check, one after the other."""
    seen = []
    for validator in RULES:
        real = validator.check_schema

        def check(schema, *arguments, real=real, **settings):
            seen.append(schema)
            real(schema, *arguments, **settings)

        monkeypatch.setattr(validator, "check_schema", staticmethod(check))
    zones = prefect.types._datetime.available_timezones
    monkeypatch.setattr(prefect.types._datetime, "available_timezones", zones)
    forms.check_once()
    return seen


def test_both_check_by_the_same_rules():
    assert RULES[0].META_SCHEMA == RULES[1].META_SCHEMA
    assert RULES[0].FORMAT_CHECKER is RULES[1].FORMAT_CHECKER


def test_a_definition_is_checked_once_in_whatever_form_it_stands(checked):
    first, second = (flow.parameters.model_dump() for flow in (pipeline, training))
    assert first != second and first["definitions"]["Recipe"] == second["definitions"]["Recipe"]
    jsonschema.Draft202012Validator.check_schema(first)
    assert first["definitions"]["Recipe"] in checked
    before = len(checked)
    assert before == 1 + len(first["definitions"])
    validation.is_valid_schema(first, preprocess=False)
    assert len(checked) == before
    validation.is_valid_schema(second, preprocess=False)
    assert len(checked) == before + 1, "its top alone is new"


@pytest.mark.parametrize("place", ["$defs", "definitions"])
def test_a_wrong_definition_is_refused_each_time(checked, place):
    wrong = {"type": "object", place: {"Good": {"type": "string"}, "Bad": {"properties": {"a": {"type": "strong"}}}}}
    for _ in range(2):
        with pytest.raises(jsonschema.SchemaError, match="strong"):
            jsonschema.Draft202012Validator.check_schema(wrong)
        with pytest.raises(ValueError, match="strong"):
            validation.is_valid_schema(wrong)
    with pytest.raises(jsonschema.SchemaError):
        jsonschema.Draft202012Validator.check_schema({"type": "object", place: ["no", "definitions"]})
    with pytest.raises(jsonschema.SchemaError):
        jsonschema.Draft202012Validator.check_schema({"type": 3, place: {}})


def test_parameters_are_always_checked(checked):
    text = {"type": "string"}
    form = {"type": "object", "properties": {"a": {"$ref": "#/definitions/A"}}, "definitions": {"A": text}}
    for _ in range(2):
        assert validation.is_valid({"a": "b"}, form)
        assert not validation.is_valid({"a": 1}, form)
        jsonschema.validate({"a": "b"}, form)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"a": 1}, form)


def test_a_time_zone_is_known_and_none_is_made_up(checked):
    assert "Europe/Berlin" in prefect.types._datetime.get_timezones()
    assert "Europe/Bärlin" not in prefect.types._datetime.get_timezones()
    assert prefect.types._datetime.available_timezones.cache_info().hits == 1
