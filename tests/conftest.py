"""The order of test files, and a Prefect server for those that run flows."""

import os
import shutil
import subprocess
import sys

import pytest
from filelock import FileLock

from tests.kill_runs import kill_folder, kill_runner, undisturbed  # noqa: F401 - fixtures
from tests.prefect_servers import Server, environment_of, prefect, send_what_waits

# So that no worker is alone with them at the end, nor waits for the database that the other one makes.
LONGEST_FIRST = ("test_prefect_server.py", "test_gpt_train.py", "test_kill.py", "test_growth.py")

# Tests start many processes. Where Python is told to keep nothing, each would compile our modules anew, for 0.7 s.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory):
    """Makes homes of Prefect whose database is there: it takes a first start a quarter of a minute to make one."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    made, begun = shared / "prefect-home", shared / "prefect-home-begun"

    def home(folder):
        with FileLock(shared / "prefect-home.lock"):
            if not made.exists():
                shutil.rmtree(begun, ignore_errors=True)
                subprocess.run(prefect("server", "database", "upgrade", "-y"), env=environment_of(begun), check=True)
                begun.rename(made)
        return shutil.copytree(made, folder)

    return home


@pytest.fixture(scope="session")
def starting_server(tmp_path_factory, prefect_home):
    """A server that may not answer yet; one for all files of a worker."""
    server = Server(prefect_home(tmp_path_factory.mktemp("prefect") / "home"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def flow_server(starting_server):
    """The server for the flows that a file's tests run in their own process."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    starting_server.wait()
    with temporary_settings({PREFECT_API_URL: starting_server.api, PREFECT_HOME: starting_server.home}):
        yield
        send_what_waits()


@pytest.fixture(scope="session")
def s3_server():
    """moto's S3 server; one for all files of a worker."""
    pytest.importorskip("s3fs", reason="needs the extra s3")
    pytest.importorskip("moto", reason="needs the extra test")
    from tests.s3_server import S3Server

    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """The server, without mishaps, and the environment that finds it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    s3_server.set()
    return s3_server
