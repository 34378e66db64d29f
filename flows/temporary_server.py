"""Prefect's temporary server, tied to the process that uses it: where that one is killed, no server stays behind."""

import os
import subprocess
import sys
from typing import Any

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import get_current_settings

from tasks.runtime import PROJECT_ROOT

ENVIRONMENT = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


class TiedServer(SubprocessASGIServer):
    """A temporary server with a guard beside it, which ends the server once nobody holds the guard's pipe any more."""

    guard: "subprocess.Popen[bytes] | None" = None

    def _run_uvicorn_command(self) -> "subprocess.Popen[Any]":
        process = self._start()
        self._dismiss_guard()
        self.guard = subprocess.Popen(
            ["/bin/sh", "-c", f"read _; kill {process.pid}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # out of reach of Ctrl-C
        )
        return process

    def _start(self) -> "subprocess.Popen[Any]":
        """What Prefect starts, with the application of `flows.server`."""
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(PROJECT_ROOT), "--factory"]
        command += ["flows.server:create_app", "--host", "127.0.0.1", "--port", str(self.port)]
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        return subprocess.Popen(
            [*command, "--log-level", "error", "--lifespan", "on"], env={**os.environ, **ENVIRONMENT, **settings}
        )

    def stop(self) -> None:
        super().stop()
        self._dismiss_guard()

    def _dismiss_guard(self) -> None:
        if self.guard is not None:
            self.guard.kill()
            self.guard.communicate()
            self.guard = None


def tie_temporary_server() -> None:
    """Let Prefect's clients in this process use a `TiedServer` where they start a server of their own."""
    SubprocessASGIServer._instances.setdefault(None, TiedServer())
