"""One training on two machines: two network namespaces with an address each, joined by a virtual cable."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kill_harness import recipe, write_texts

ROOT = Path(__file__).parents[1]
FIRST, SECOND = "10.217.43.1", "10.217.43.2"
MEET = f"{FIRST}:29417"
PATIENCE = 500  # seconds, on a busy machine


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def machines():
    """The names of two namespaces that reach each other and nothing else."""
    names = [f"mill{os.getpid()}{side}" for side in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace can be made here: {error}")
    try:
        ip("link", "add", "cable0", "netns", names[0], "type", "veth", "peer", "name", "cable0", "netns", names[1])
        for name, address in zip(names, (FIRST, SECOND), strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable0")
            for device in ("lo", "cable0"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip, of iproute2")
def test_a_second_machine_joins_what_the_first_announces(machines, tmp_path):
    write_texts(tmp_path / "texts")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "TEXTMILL_STORE": str(tmp_path / "store"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "GLOO_SOCKET_IFNAME": "cable0",  # a name of this machine's own may not be known there
        "PYTHONPATH": str(ROOT),
    }
    settings = {name: value for name, value in recipe(tmp_path / "texts").items() if name != "name"}
    settings["sources"]["texts"]["kind"] = "folder"
    told = [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
    told += ["--runtime=nnodes=2", f"--runtime=rendezvous={MEET}", "--runtime=processes=1", "--device=cpu", "--json"]

    def start(machine, *arguments):
        command = ["ip", "netns", "exec", machine, sys.executable, "-m", *arguments]
        return subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    joining = ["--node=1", "--nnodes=2", f"--rendezvous={MEET}", "--processes=1", "--device=cpu"]
    second = start(machines[1], "tasks.join", *joining, f"--patience={PATIENCE}")
    first = start(machines[0], "flows", "run", "python-docs", *told)
    try:
        out, err = first.communicate(timeout=PATIENCE)
        assert first.returncode == 0, err[-3000:]
        joined, complaints = second.communicate(timeout=60)
        assert second.returncode == 0, complaints[-3000:]
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
    assert "Joining " in joined and "as machine 1 of 2" in joined
    [model] = json.loads(out.splitlines()[-1])["artifacts"]["model"]
    log = (tmp_path / "store" / model / "observed" / "train.log").read_text()
    assert "2 processes" in log
