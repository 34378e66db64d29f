"""The guard of the temporary server, with a sleeping process in the server's place; the whole is in the kill tests."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import subprocess, sys
from prefect.server.api.server import SubprocessASGIServer
from flows.temporary_server import TiedServer, tie_temporary_server
SubprocessASGIServer._run_uvicorn_command = lambda self: subprocess.Popen(["sleep", "100"])
tie_temporary_server()
server = SubprocessASGIServer()
assert isinstance(server, TiedServer) and server is SubprocessASGIServer()
server.server_process = server._run_uvicorn_command()
print(server.server_process.pid, server.guard.pid, flush=True)
if sys.argv[1] == "stop":
    server.stop()
    assert server.guard is None
else:
    sys.stdin.read()
"""


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes through /proc")
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_no_server_outlives_the_process_that_started_it(end):
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    line = program.stdout.readline()
    pids = [int(pid) for pid in line.split()]
    assert len(pids) == 2
    if end == "kill":
        assert all(is_running(pid) for pid in pids)
        os.kill(program.pid, signal.SIGKILL)
    program.communicate()
    deadline = time.monotonic() + 60
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "the server or its guard is still there"
        time.sleep(0.05)
