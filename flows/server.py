"""`python -m flows.server start ...`: Prefect's own `prefect server ...`, which remembers the forms it has checked."""

import sys

from prefect.cli import app

from flows.forms import check_forms_once


def main() -> None:
    """What `prefect server` does with these arguments; the exit code is its own."""
    check_forms_once()
    sys.argv = ["prefect", "server", *sys.argv[1:]]
    app()


if __name__ == "__main__":
    main()
