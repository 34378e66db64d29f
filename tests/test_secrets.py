import pytest
from prefect.blocks.system import Secret
from prefect.testing.utilities import prefect_test_harness

from data.sources import secrets
from data.sources.base import SourceError
from tasks.secrets import ask_prefect_too


@pytest.fixture(scope="module", autouse=True)
def prefect_server():
    with prefect_test_harness(server_startup_timeout=120):
        yield


def test_the_environment_goes_first_then_prefects_blocks(monkeypatch):
    ask_prefect_too()
    ask_prefect_too()  # once is enough
    Secret(value="from the block").save("mill-token")
    assert secrets.secret("MILL_TOKEN") == "from the block"
    monkeypatch.setenv("MILL_TOKEN", " from the environment\n")
    assert secrets.secret("MILL_TOKEN") == "from the environment"


def test_a_secret_that_is_nowhere_is_named_with_both_places(monkeypatch):
    monkeypatch.setenv("OTHER_TOKEN", " ")
    with pytest.raises(SourceError, match=r"OTHER_TOKEN is not set.* environment variable OTHER_TOKEN, .*other-token"):
        secrets.secret("OTHER_TOKEN")
