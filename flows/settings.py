"""Prefect's settings for this project, put into the environment before Prefect is imported; what is set stays.

Imports nothing of Prefect, so that a command can settle them first.
"""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from tasks.runtime import PROJECT_ROOT

DAY = 86_400  # seconds
DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # the first start creates the database
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "data,gpt",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    # in memory, a server that is killed would never free what its runs have taken of a concurrency limit
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # What the server forgets by itself: runs that ended long ago with their tasks, logs and cards; events sooner.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": f"{90 * DAY}",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P7D",
}
_OWN_HOME_UNLESS = ("PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")


def home_of(environment: Mapping[str, str]) -> Path:
    """Where Prefect, and so its database, lives: PREFECT_HOME, else the folder that Prefect takes by itself."""
    return Path(environment.get("PREFECT_HOME") or "~/.prefect").expanduser()


def prepare_prefect(environment: MutableMapping[str, str] = os.environ) -> None:
    """Settings for any process of ours that talks to Prefect.

    Prefect's database goes into the project (`.prefect/`), so that another Prefect on this machine neither sees our
    runs nor meets our database version; a user who has chosen a home or profile keeps it.
    """
    for name, value in DEFAULTS.items():
        environment.setdefault(name, value)
    if not any(name in environment for name in _OWN_HOME_UNLESS):
        environment["PREFECT_HOME"] = str(PROJECT_ROOT / ".prefect")


def quieten_prefect(environment: MutableMapping[str, str] = os.environ) -> None:
    """Keep Prefect's log lines off the terminal, where our own progress is shown; the run's page still has them all."""
    environment.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
