"""Prefect servers for tests, and what flows of the test's own process leave to be sent to them."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request


def prefect(*arguments):
    """The command line of a command of Prefect's."""
    return [sys.executable, "-m", "prefect", *arguments]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment_of(home):
    """The environment for a Prefect at `home`, whatever other one this machine has."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return others | {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


class Server:
    """A Prefect server without the background services, which no test of flows needs; `api` is its address."""

    def __init__(self, home, **settings):
        port = free_port()
        self.home, self.api = home, f"http://127.0.0.1:{port}/api"
        command = prefect("server", "start", "--no-services", "--log-level", "ERROR", "--port", str(port))
        with home.with_suffix(".log").open("wb") as log:
            self.process = subprocess.Popen(command, env=environment_of(home) | settings, stdout=log, stderr=log)

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

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def send_what_waits():
    """Send the logs and events of this process's flows: to be done before their server stops, or it takes minutes."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all()
    EventsWorker.drain_all()
