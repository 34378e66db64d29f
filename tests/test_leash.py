"""A run on a pool of processes is ended: they leave with it, soon, and what they have begun is gone on with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from data.store import Store
from tests.kill_harness import wait_until_gone

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def start(starting_server, tmp_path):
    def begin(how):
        starting_server.wait()
        environment = os.environ | {"PREFECT_API_URL": starting_server.api, "PREFECT_HOME": str(starting_server.home)}
        argv = [sys.executable, "-m", "tests.leash_toys", how, str(tmp_path / "store")]
        with (tmp_path / f"{how}.log").open("wb") as log:
            return subprocess.Popen(argv, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True)

    return begin


def begun(root):
    return sorted((root / "work").glob("plan-*/keep/half"))


@pytest.mark.parametrize(
    ("how", "number", "to_group"),
    [
        ("deaf", signal.SIGTERM, False),
        pytest.param("asking", signal.SIGTERM, False, marks=pytest.mark.long),
        pytest.param("deaf", signal.SIGTERM, True, marks=pytest.mark.long),
        pytest.param("deaf", signal.SIGINT, True, marks=pytest.mark.long),
        pytest.param("deaf", signal.SIGKILL, False, marks=pytest.mark.long),
    ],
)
def test_processes_leave_with_their_run(start, tmp_path, how, number, to_group):
    run, root = start(how), tmp_path / "store"
    deadline = time.monotonic() + 120
    while len(begun(root)) < 2 and time.monotonic() < deadline:
        assert run.poll() is None, (tmp_path / f"{how}.log").read_text()
        time.sleep(0.1)
    processes = {run.pid, *(one.pid for one in psutil.Process(run.pid).children(recursive=True))}
    assert len(processes) >= 3
    told = time.monotonic()
    (os.killpg if to_group else os.kill)(run.pid, number)
    run.wait(60)
    assert wait_until_gone(processes, 30) == set()
    took = time.monotonic() - told
    print(f"{how} {number.name}: gone after {took:.1f} s")
    assert took < 20, "under 5 s on a machine with nothing else to do"
    assert len(begun(root)) == 2 and not list(Store(root).manifests())
    if how == "deaf" and not to_group:
        assert start("ending").wait(120) == 0, (tmp_path / "ending.log").read_text()
        assert [manifest.name for manifest in Store(root).manifests("plan")] == ["u0", "u1"]
        assert list((root / "work").iterdir()) == []
