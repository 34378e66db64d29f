"""`python -m flows.server start ...`: Prefect's own `prefect server ...`, which remembers the forms it has checked and
asks nobody for lists that it brings along."""

import sys

from prefect.cli import app
from prefect.server.api.collections import KNOWN_VIEWS

from flows.forms import check_forms_once


def keep_registry_local() -> None:
    """Have the lists of pools and blocks read from Prefect's own files.

    Whenever a work pool is written, the server would first ask for newer ones on the web. An address that cannot be
    asked leads it to the files that it brings along.
    """
    for view in KNOWN_VIEWS:
        KNOWN_VIEWS[view] = f"file:{view}"


def main() -> None:
    """What `prefect server` does with these arguments; the exit code is its own."""
    check_forms_once()
    keep_registry_local()
    sys.argv = ["prefect", "server", *sys.argv[1:]]
    app()


if __name__ == "__main__":
    main()
