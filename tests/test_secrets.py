"""Secrets by name; that Prefect's blocks are asked is shown on a real server, in tests/test_prefect_server.py."""

import pytest

from data.sources import secrets
from data.sources.base import SourceError


def test_the_environment_goes_first_then_the_other_places(monkeypatch):
    places = {"MILL_TOKEN": "from elsewhere"}
    monkeypatch.setattr(secrets, "elsewhere", [lambda name: None, places.get])
    assert secrets.secret("MILL_TOKEN") == "from elsewhere"
    monkeypatch.setenv("MILL_TOKEN", " from the environment\n")
    assert secrets.secret("MILL_TOKEN") == "from the environment"


@pytest.mark.parametrize("pasted", ["hf_abcDEF123", "Bearer abc", "", "a-b"])
def test_a_secret_in_the_place_of_its_name_is_not_shown(pasted):
    with pytest.raises(SourceError, match="which is not shown") as refusal:
        secrets.secret(pasted)
    assert not pasted or pasted not in str(refusal.value)


def test_a_secret_that_is_nowhere_is_named_with_both_places(monkeypatch):
    monkeypatch.setattr(secrets, "elsewhere", [])
    monkeypatch.setenv("OTHER_TOKEN", " ")
    with pytest.raises(SourceError, match=r"OTHER_TOKEN is not set.* environment variable OTHER_TOKEN, .*other-token"):
        secrets.secret("OTHER_TOKEN")
