"""The guard of the temporary server, with a sleeping process in the server's place; the whole is in the kill tests."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import subprocess, sys
from prefect.server.api.server import SubprocessASGIServer
from flows.temporary_server import TiedServer, tie_temporary_server
TiedServer._start = lambda self: subprocess.Popen(["sleep", "100"])
tie_temporary_server()
server = SubprocessASGIServer()
assert isinstance(server, TiedServer) and server is SubprocessASGIServer()
while True:
    server.server_process = server._run_uvicorn_command()
    print(server.server_process.pid, server.guard.pid, flush=True)
    sys.stdin.readline()
    server.stop()
    assert server.guard is None
"""


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "the server or its guard is still there"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes through /proc")
def test_no_server_outlives_its_use_or_the_process_that_started_it():
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=Path(__file__).parents[1],
    )
    stopped = [int(pid) for pid in program.stdout.readline().split()]
    assert len(stopped) == 2 and all(is_running(pid) for pid in stopped)
    program.stdin.write("stop\n")
    wait_until_gone(stopped)
    orphaned = [int(pid) for pid in program.stdout.readline().split()]
    assert len(orphaned) == 2 and all(is_running(pid) for pid in orphaned)
    program.kill()
    program.communicate()
    wait_until_gone(orphaned)
