"""`python -m flows.deploy POOL`: the work pool, and the deployments of prefect.yaml, on the server of PREFECT_API_URL.

The same as `prefect work-pool create POOL --type process --overwrite` and `prefect deploy --all`, but in one process,
and with the form of a flow made and checked once: Prefect makes and checks it twice for each deployment, and reads the
certificates anew for each of some ninety clients, which takes most of the time.
"""

import ssl
import sys
from functools import cache
from operator import attrgetter

import prefect.cli.deploy._core
import prefect.deployments.runner
from prefect.cli import app

from flows.forms import check_forms_once


def main() -> None:
    """Exit code 0, or that of the command that failed."""
    check_forms_once()
    ssl.create_default_context = cache(ssl.create_default_context)  # type: ignore[assignment]
    for module in (prefect.cli.deploy._core, prefect.deployments.runner):
        module.parameter_schema = attrgetter("parameters")  # type: ignore[attr-defined]
    if len(sys.argv) != 2:
        sys.exit("usage: python -m flows.deploy POOL")
    pool = sys.argv[1]
    _run("work-pool", "create", pool, "--type", "process", "--overwrite")
    _run("--no-prompt", "deploy", "--all")


def _run(*arguments: str) -> None:
    sys.argv = ["prefect", *arguments]
    try:
        app()
    except SystemExit as ended:
        if ended.code:
            raise


if __name__ == "__main__":
    main()
