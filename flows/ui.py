"""The command `ui`: Prefect's server, the deployments of prefect.yaml and a worker, together in one terminal."""

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Annotated, NoReturn

import typer

from data.errors import TextmillError
from flows.postgres import Postgres, database_url, folder_beside
from flows.recipe import RecipeError
from flows.settings import home_of, prepare_prefect
from tasks.runtime import PROJECT_ROOT

POOL = "local"
DATABASE_SETTING = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
SERVER_START = 180.0  # seconds; the first start creates the database
OPEN = (
    "whoever reaches it can start runs here. Set PREFECT_SERVER_API_AUTH_STRING to user:password, or leave --host out "
    "and put a proxy with a login before it (docs/operations.md)."
)
GRACE = 40.0  # seconds for worker and server to leave before they are killed; a trainer gets 25 of them to save


def ui(
    port: Annotated[int, typer.Option(help="Port of server and pages.")] = 4200,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback is open to others.")
    ] = "127.0.0.1",
    database: Annotated[
        str | None,
        typer.Option(
            metavar="local|URL",
            help="PostgreSQL: `local` starts one beside Prefect's folder. Left out: "
            "PREFECT_SERVER_DATABASE_CONNECTION_URL, else SQLite.",
        ),
    ] = None,
) -> None:
    """Start server, worker and deployments; Ctrl-C stops them all."""
    if not 1 <= port <= 65535:
        raise RecipeError(f"--port is {port}, but it must be between 1 and 65535.")
    _require_free(host, port)
    environment = dict(os.environ)
    prepare_prefect(environment)
    postgres = Postgres(folder_beside(home_of(environment))) if database == "local" else None
    if given := postgres.url if postgres else database or environment.get(DATABASE_SETTING):
        environment[DATABASE_SETTING] = database_url(given)
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    environment |= {"PREFECT_API_URL": f"{address}/api", "PREFECT_UI_API_URL": "/api"}
    if login := environment.get("PREFECT_SERVER_API_AUTH_STRING"):  # what the server asks, our own commands answer
        environment.setdefault("PREFECT_API_AUTH_STRING", login)
    elif not _is_loopback(host):
        print(f"{host} is open to other machines: {OPEN}", file=sys.stderr)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    children: list[subprocess.Popen[bytes]] = []

    def start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module, *arguments]
        child = subprocess.Popen(
            command, env=environment, cwd=PROJECT_ROOT, start_new_session=True, preexec_fn=_heed_interrupts
        )
        children.append(child)
        return child

    try:
        if postgres:
            print(f"Starting PostgreSQL on {postgres.data}...", flush=True)
            postgres.start()
        print("Starting the server...", flush=True)
        server = start("flows.server", "start", "--host", host, "--port", str(port))
        deploying = _prepare_deploying(environment)
        children.append(deploying)
        _wait_until_healthy(f"{address}/api/health", server)
        print("Writing the deployments of prefect.yaml...", flush=True)
        _deploy(deploying)
        worker = start("prefect", "worker", "start", "--pool", POOL)
        print(_welcome(address), flush=True)
        _wait_for_any(server, worker, postgres)
    except KeyboardInterrupt:
        print("\nStopping worker and server...", flush=True)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave children behind
        for child in reversed(children):
            _stop(child)
        if postgres:
            postgres.stop()


def _prepare_deploying(environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The command that writes deployments: it imports all it needs, seconds' worth, and waits to be told to begin."""
    command = [sys.executable, "-m", "flows.deploy", POOL, "--when-told"]
    return subprocess.Popen(
        command,
        env=environment,
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_heed_interrupts,
    )


def _deploy(prepared: subprocess.Popen[bytes]) -> None:
    said = prepared.communicate()[0].decode()
    if prepared.returncode:
        print(said, file=sys.stderr)
        raise TextmillError(
            f"The deployments of prefect.yaml could not be written: `python -m flows.deploy {POOL}` ended with exit "
            f"code {prepared.returncode}{'; what Prefect said is above' if said.strip() else ''}."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise TextmillError(
                f"Cannot listen on {host}:{port}: {error.strerror}. Stop what listens there, or choose another port "
                f"(make ui PORT={port + 1 if port < 65535 else 4201})."
            ) from error


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SERVER_START
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise TextmillError(f"Prefect's server ended with exit code {server.returncode}; see its output above.")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise TextmillError(f"Prefect's server did not answer at {url} within {SERVER_START:.0f} s; see its output above.")


def _wait_for_any(
    server: subprocess.Popen[bytes], worker: subprocess.Popen[bytes], postgres: Postgres | None
) -> NoReturn:
    """Raises TextmillError when server or worker has ended; a database that has is started again."""
    while True:
        for name, child in (("server", server), ("worker", worker)):
            if child.poll() is not None:
                raise TextmillError(f"Prefect's {name} ended with exit code {child.returncode}; see its output above.")
        if postgres and postgres.ended():
            print("PostgreSQL has ended: starting it again...", flush=True)
            postgres.start()
        time.sleep(0.5)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ask a child's process group to leave (a worker cancels its runs, trainers save), then make it."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if child.poll() is None:
            os.killpg(child.pid, number)
            try:
                child.wait(GRACE)
            except subprocess.TimeoutExpired:
                continue
            return


def _heed_interrupts() -> None:
    """What a script starts in the background ignores SIGINT and so would its children, whom `_stop` asks with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _welcome(address: str) -> str:
    return f"""
Textmill is up. Open {address} in a browser, or in another terminal:

  export PREFECT_API_URL={address}/api
  {sys.prefix}/bin/prefect deployment run pipeline/python-docs --watch

Ctrl-C stops server and worker."""
