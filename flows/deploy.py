"""`python -m flows.deploy POOL`: the work pool, and the deployments of prefect.yaml, on the server of PREFECT_API_URL.

The same as `prefect work-pool create POOL --type process --overwrite` and `prefect deploy --all`, but in one process,
and with the form of a flow made once: Prefect makes it twice for each deployment, which takes most of the time.
"""

import sys
from operator import attrgetter

import prefect.cli.deploy._core
import prefect.deployments.runner
from prefect.cli import app


def main() -> None:
    """Exit code 0, or that of the command that failed."""
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
