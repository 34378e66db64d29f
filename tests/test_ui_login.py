"""`textmill ui` for more than one: a login, and a word where it is open to others."""

import time
import urllib.error

import pytest

from flows.doctor import server
from flows.ui import _is_loopback
from tests.test_prefect_server import Textmill

LOGIN = "me:marked-password"


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
    ],
)
def test_what_is_open_to_other_machines(host, local):
    assert _is_loopback(host) is local


@pytest.mark.long
def test_a_login_is_asked_of_all_and_our_own_commands_have_it(tmp_path, prefect_home, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", LOGIN)
    prefect_home(tmp_path / "prefect")
    up = Textmill(tmp_path)
    try:
        up.wait_until_up()
        with pytest.raises(urllib.error.HTTPError) as refused:
            up.ask("work_pools/local")
        assert refused.value.code == 401
        asked = {"PREFECT_API_URL": up.environment["PREFECT_API_URL"]}
        [found] = server.check_server(asked, ["local"])
        assert found.level == "fail" and "wants a login" in found.what

        def worker():
            found = server.check_server(asked | {"PREFECT_API_AUTH_STRING": LOGIN}, ["local"])
            return {one.check: one.level for one in found}.get("worker of local")

        deadline = time.monotonic() + 120
        while worker() != "ok":
            assert time.monotonic() < deadline, "the worker is one of our own commands"
            time.sleep(1)
    finally:
        up.stop()
    assert "marked-password" not in up.log.read_text()
