"""The order of test files, and a Prefect server for those that run flows."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import pytest
from filelock import FileLock

# So that no worker is alone with them at the end, nor waits for the database that the other one makes.
LONGEST_FIRST = ("test_prefect_server.py", "test_gpt_train.py", "test_kill.py", "test_growth.py")
QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def prefect(*arguments):
    return [sys.executable, "-m", "prefect", *arguments]


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory):
    """Makes homes of Prefect whose database is there: it takes a first start a quarter of a minute to make one."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    made = shared / "prefect-database"

    def home(folder):
        with FileLock(shared / "prefect-database.lock"):
            if not made.exists():
                with tempfile.TemporaryDirectory() as first:
                    environment = os.environ | QUIET | {"PREFECT_HOME": first}
                    subprocess.run(prefect("server", "database", "upgrade", "-y"), env=environment, check=True)
                    shutil.copytree(first, made)
        return shutil.copytree(made, folder)

    return home


class Server:
    """A Prefect server without the background services, which no test of flows needs; `api` is its address."""

    def __init__(self, home):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.home, self.api = home, f"http://127.0.0.1:{port}/api"
        environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        command = prefect("server", "start", "--no-services", "--log-level", "ERROR", "--port", str(port))
        with home.with_suffix(".log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environment | QUIET | {"PREFECT_HOME": str(home)}, stdout=log, stderr=log
            )

    def wait(self):
        """Returns when it answers."""
        deadline = time.monotonic() + 400
        while True:
            try:
                urllib.request.urlopen(f"{self.api}/health", timeout=5).close()
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)


@pytest.fixture(scope="session")
def starting_server(tmp_path_factory, prefect_home):
    """A server that may not answer yet; one for all files of a worker."""
    server = Server(prefect_home(tmp_path_factory.mktemp("prefect") / "home"))
    yield server
    server.process.terminate()
    server.process.wait(30)
