"""Two machines that share nothing but a bucket: what the one has made, the other one reuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kill_harness import STAGES, recipe, write_texts
from tests.s3_server import KEY_ID, SECRET

ROOT = Path(__file__).parents[1]


class Machine:
    """A folder with a home, a Prefect and a cache of its own; `run` is the command line there."""

    def __init__(self, folder, url, prefect_home):
        self.folder, self.url = folder, url
        folder.mkdir()
        prefect_home(folder / "prefect")

    def run(self, *arguments):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        own = {"HOME": self.folder, "PREFECT_HOME": self.folder / "prefect", "TEXTMILL_CACHE": self.folder / "cache"}
        environment |= {name: str(path) for name, path in own.items()}
        environment |= {"TEXTMILL_STORE": self.url, "PYTHONPATH": str(ROOT)}
        environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "400"
        done = subprocess.run(
            [sys.executable, "-m", "flows", *arguments],
            capture_output=True, text=True, cwd=self.folder, env=environment, timeout=600,
        )  # fmt: skip
        assert not [secret for secret in (SECRET, KEY_ID) if secret in done.stdout + done.stderr]
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fetched(self):
        """Names of the artifacts of which it has a copy."""
        caches = self.folder.glob("cache/*/cache/*/*")
        return {f"{path.parent.name}/{path.name}" for path in caches}


@pytest.mark.long
def test_two_machines_share_one_store(s3, tmp_path, prefect_home):
    url = f"s3://{s3.bucket()}/mill"
    write_texts(tmp_path / "texts")
    one, two = (Machine(tmp_path / name, url, prefect_home) for name in ("one", "two"))
    values = {name: value for name, value in recipe(tmp_path).items() if name not in ("name", "sources")}
    settings = [f"--set={name}={json.dumps(value)}" for name, value in values.items()]
    command = ["run", "folder", "--path", str(tmp_path / "texts"), "--json", "--set=sources.folder.slot_bytes=10000"]
    first = json.loads(one.run(*command, *settings).splitlines()[-1])
    assert first["store"] == url
    assert not any(first["cached"].values())

    second = json.loads(two.run(*command, *settings).splitlines()[-1])
    assert list(second["cached"]) == list(STAGES)
    assert all(second["cached"].values())
    assert second["artifacts"] == first["artifacts"]
    assert second["metrics"] == first["metrics"]
    assert {name.partition("/")[0] for name in two.fetched()}.isdisjoint(
        {"raw", "documents", "corpus", "tokens", "model"}
    )

    refs = [ref for refs in first["artifacts"].values() for ref in refs]
    assert sorted(line.split()[-1] for line in two.run("ls").splitlines()) == sorted(refs)
    (model,) = first["artifacts"]["model"]
    assert f"at       {url}/payload/model/" in two.run("show", model)
    assert "are the same artifact" in two.run("why", model, model)
    assert f"{len(refs)} artifacts verified" in two.run("verify")
    assert two.run("generate", "--prompt", "The", "--count", "1").strip()
    two.run("forget", "--document", "1.txt")
    again = json.loads(one.run(*command, *settings).splitlines()[-1])
    assert not again["cached"]["documents"]
    left = [ref for ref in first["artifacts"]["raw"] + first["artifacts"]["documents"] if ref in one.fetched()]
    assert set(left) <= set(again["artifacts"]["raw"] + again["artifacts"]["documents"])  # its copies are gone, too

    secrets = [SECRET.encode(), KEY_ID.encode()]
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.suffix != ".so":
            assert not [secret for secret in secrets if secret in path.read_bytes()], path
