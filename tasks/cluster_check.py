"""Whether the workers of a Dask cluster can build what this process would, asked before the first unit goes there."""

import logging
import platform
import time
import unicodedata
import urllib.request
import uuid
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_API_URL

from data.errors import TextmillError
from data.files import make_folder

log = logging.getLogger(__name__)

WAIT = 120  # seconds for the first worker of a cluster to come
ASKED = 5  # times that the workers of a cluster are asked what they have, should one die meanwhile
BEARING = (  # what runs in workers, and what they write depends on
    "textmill", "prefect", "numpy", "pyarrow", "tokenizers", "tiktoken", "gigatoken",
    "regex", "ftfy", "trafilatura", "py3langid", "lxml", "xxhash",
)  # fmt: skip


def check_cluster(client: Any, store: Path) -> int:
    """The threads of a cluster whose workers all see the store and the server, and have the same libraries as we.

    Raises TextmillError naming the worker that does not, with both values.
    """
    probe = store / "work" / f"probe-{uuid.uuid4().hex[:8]}"
    make_folder(probe.parent)
    probe.touch()
    try:
        answers = ask_workers(client, probe)
    finally:
        probe.unlink(missing_ok=True)
    ours = describe_worker(str(probe.parent), None) | {"server": ""}
    for worker, theirs in sorted(answers.items()):
        if theirs["store"] != "seen":
            raise TextmillError(
                f"The Dask worker {worker} does not see the store {store}: put it on a file system that all workers "
                "mount under that path, and set TEXTMILL_STORE to it (of a store in a bucket, TEXTMILL_CACHE)."
            )
        if theirs["server"]:
            raise TextmillError(
                f"The Dask worker {worker} cannot reach Prefect's server at {PREFECT_API_URL.value()} "
                f"({theirs['server']}): start the server with --host 0.0.0.0, and set PREFECT_API_URL to an address "
                "that all workers reach."
            )
        for name, mine in ours.items():
            if name not in ("store", "server") and theirs[name] != mine:
                raise TextmillError(
                    f"The Dask worker {worker} has {name} {theirs[name]}, but here it is {mine}, and what they write "
                    "may differ: install the same constraints.txt there."
                )
    return sum(client.ncores().values())


def ask_workers(client: Any, probe: Path) -> dict[str, dict[str, str]]:
    """{worker: what it has}. One that dies meanwhile is survived: the rest, or what comes instead, is asked."""
    scheduler = client.scheduler.address
    for number in range(1, ASKED + 1):
        try:
            client.wait_for_workers(1, timeout=WAIT)
        except TimeoutError as error:
            raise TextmillError(
                f"No worker came to the Dask scheduler {scheduler} within {WAIT} s: start one with "
                f"`dask worker {scheduler} --nthreads 1`."
            ) from error
        try:
            answers: dict[str, dict[str, str]] = client.run(describe_worker, str(probe), PREFECT_API_URL.value())
        except OSError as error:
            trouble = error
        else:
            if answers:
                return answers
            trouble = OSError("none is left")
        log.warning("A Dask worker died while it was asked what it has (%d of %d): %s", number, ASKED, trouble)
        time.sleep(1)
    raise TextmillError(
        f"The workers of the Dask scheduler {scheduler} die while they are asked what they have ({trouble}): look into "
        "their logs, give them more memory, then run again."
    )


def describe_worker(probe: str, api: str | None) -> dict[str, str]:
    """What the process that calls it has: libraries, and whether it sees a file and reaches a server ("": yes)."""
    found = {"python": platform.python_version(), "unicode": unicodedata.unidata_version}
    for name in BEARING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    try:
        found["store"] = "seen" if Path(probe).exists() else "not seen"
    except OSError:  # it may not be looked into
        found["store"] = "not seen"
    found["server"] = ""
    if api is not None:
        try:
            urllib.request.urlopen(f"{api}/health", timeout=10).close()
        except OSError as error:
            found["server"] = str(error)
    return found
