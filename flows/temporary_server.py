"""Prefect's temporary server, tied to the process that uses it: where that one is killed, no server stays behind."""

import subprocess
from typing import Any

from prefect.server.api.server import SubprocessASGIServer


class TiedServer(SubprocessASGIServer):
    """A temporary server with a guard beside it, which ends the server once nobody holds the guard's pipe any more."""

    guard: "subprocess.Popen[bytes] | None" = None

    def _run_uvicorn_command(self) -> "subprocess.Popen[Any]":
        process = super()._run_uvicorn_command()
        self._dismiss_guard()
        self.guard = subprocess.Popen(
            ["/bin/sh", "-c", f"read _; kill {process.pid}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # out of reach of Ctrl-C
        )
        return process

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
