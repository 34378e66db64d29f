"""`python -m flows.deploy POOL [--when-told]`: work pool and deployments of prefect.yaml, on PREFECT_API_URL's server,
and the automations of `flows.ops`.

The same as `prefect work-pool create POOL --type process --overwrite`, `prefect deploy --all` and `textmill ops
install`, but without loss of what was set up on the server (flows/schedules.py), in one process, and with the form of a
flow made and checked once (flows/forms.py): Prefect makes and checks it twice for each deployment, and reads the
certificates anew for each of some ninety clients, which takes most of the time. With `--when-told` it begins at the end
of its input, all that it needs imported: a server that is being started with it is up by then.
"""

import importlib
import ssl
import sys
from functools import cache
from operator import attrgetter

import prefect.cli.deploy._core
import prefect.deployments.runner
from prefect.cli import app
from prefect.client.orchestration import get_client

from flows import forms
from flows.ops import install
from flows.recipes import load_deployments
from flows.schedules import keep_schedules, read_schedules


def main() -> None:
    """Exit code 0, or that of the command that failed."""
    forms.check_once()
    ssl.create_default_context = cache(ssl.create_default_context)  # type: ignore[assignment]
    for theirs in (prefect.cli.deploy._core, prefect.deployments.runner):
        theirs.parameter_schema = attrgetter("parameters")  # type: ignore[attr-defined]
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--when-told"]):
        sys.exit("usage: python -m flows.deploy POOL [--when-told]")
    pool = sys.argv[1]
    for module in {one["entrypoint"].rpartition(".")[0] for one in load_deployments()}:
        importlib.import_module(module)
    if sys.argv[2:]:
        sys.stdin.read()
    with get_client(sync_client=True) as client:
        before = read_schedules(client)
        _run("work-pool", "create", pool, "--type", "process", "--overwrite")
        _run("--no-prompt", "deploy", "--all")
        keep_schedules(client, before)
    install()


def _run(*arguments: str) -> None:
    sys.argv = ["prefect", *arguments]
    try:
        app()
    except SystemExit as ended:
        if ended.code:
            raise


if __name__ == "__main__":
    main()
