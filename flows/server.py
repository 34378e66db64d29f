"""`python -m flows.server start ...`: Prefect's own `prefect server ...`, which remembers the forms it has checked,
collects its garbage where that keeps nobody waiting, and asks nobody for lists that it brings along."""

import sys
from typing import Any

from flows.garbage import collect_aside


def keep_registry_local() -> None:
    """Have the lists of pools and blocks read from Prefect's own files.

    Whenever a work pool is written, the server would first ask for newer ones on the web. An address that cannot be
    asked leads it to the files that it brings along.
    """
    from prefect.server.api.collections import KNOWN_VIEWS

    for view in KNOWN_VIEWS:
        KNOWN_VIEWS[view] = f"file:{view}"


def create_app() -> Any:
    """The application of a temporary server, for uvicorn."""
    from prefect.server.api.server import create_app as create

    collect_aside()
    return create()


def main() -> None:
    """What `prefect server` does with these arguments; the exit code is its own."""
    from prefect.cli import app

    from flows import forms

    collect_aside()
    forms.check_once()
    keep_registry_local()
    sys.argv = ["prefect", "server", *sys.argv[1:]]
    app()


if __name__ == "__main__":
    main()
