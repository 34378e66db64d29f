"""Textmill under a real Prefect: server, worker and deployments as `make ui` starts them, runs as users start them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
TINY = {
    "sources": {"letters": {"kind": "folder", "path": "to be set"}},
    "tokenizer": {"kind": "bpe", "vocab_size": 300},
    "model": {"preset": "modern", "layers": 1, "width": 16, "heads": 1, "context": 16},
    "training": {"steps": 20, "batch_size": 2},
    "sampling.tokens": 8,
    "split.passage_bytes": 200,
    "split.max_whole_bytes": 400,
    "split.min_passages": 4,
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Textmill:
    """A server with its worker, and the commands a user would type against it."""

    def __init__(self, folder):
        self.port = free_port()
        self.folder = folder
        self.log = folder / "ui.log"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(folder / "prefect"),
            "TEXTMILL_STORE": str(folder / "store"),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "COLUMNS": "300",
        }
        texts = folder / "texts"
        texts.mkdir()
        for number in range(12):
            lines = (f"Letter {number}, line {line}: the {line * number % 97}th word of many." for line in range(40))
            (texts / f"{number:02d}.txt").write_text("\n".join(lines))
        self.overrides = TINY | {"sources": {"letters": {"kind": "folder", "path": str(texts)}}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows", "ui", "--port", str(self.port)],
            env={k: v for k, v in self.environment.items() if k != "PREFECT_API_URL"},
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a script starts what runs beside it
        )

    def wait_until_up(self):
        deadline = time.monotonic() + 400
        while "Textmill is up" not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.3)

    def prefect(self, *arguments, timeout=400):
        return subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.folder,
        )

    def run(self, deployment="pipeline/python-docs", watch=True, overrides=None, **parameters):
        parameters["overrides"] = self.overrides | (overrides or {})
        parameters["runtime"] = {"threads": 1, **parameters.get("runtime", {})}
        watching = ["--watch"] if watch else []
        return self.prefect("deployment", "run", deployment, "--params", json.dumps(parameters), *watching)

    def task_states(self, flow_run_id):
        """{task run name: state name} of a flow run, asked from the server."""
        code = (
            "import asyncio, json, sys\n"
            "from prefect import get_client\n"
            "from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId\n"
            "async def main(id):\n"
            "    async with get_client() as client:\n"
            "        flow_run = FlowRunFilter(id=FlowRunFilterId(any_=[id]))\n"
            "        tasks = await client.read_task_runs(flow_run_filter=flow_run)\n"
            "        logs = await client.read_logs(log_filter=LogFilter(flow_run_id=LogFilterFlowRunId(any_=[id])))\n"
            "        state = (await client.read_flow_run(id)).state\n"
            "        print(json.dumps({'tasks': {t.name: t.state_name for t in tasks},\n"
            "                          'state': state.name, 'logs': [log.message for log in logs]}))\n"
            "asyncio.run(main(sys.argv[1]))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, flow_run_id], env=self.environment, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    def start_training(self, steps):
        """Start a run with so many steps; returns id and checkpoints after its first milestone."""
        work = self.folder / "store" / "work"
        before = set(work.glob("model-*/keep/checkpoints"))
        changes = {"overrides": {"training.steps": steps}, "runtime": {"checkpoint_seconds": 3600}}
        started = self.run(watch=False, **changes)
        assert started.returncode == 0, started.stderr
        deadline = time.monotonic() + 300
        while not (new := {path.parent for path in work.glob("model-*/keep/checkpoints/step-*")} - before):
            assert time.monotonic() < deadline, "no milestone appeared"
            time.sleep(0.05)
        return flow_run_id(started), new.pop(), changes

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    textmill = Textmill(tmp_path_factory.mktemp("server"))
    try:
        textmill.wait_until_up()
        yield textmill
    finally:
        if textmill.process.poll() is None:
            textmill.stop()


def flow_run_id(done):
    return re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", done.stdout).group()


def saved(checkpoints):
    """The step of the latest checkpoint."""
    return int((checkpoints / "latest").read_text().strip().removeprefix("step-"))


STAGES = ["raw", "documents", "duplicates", "corpus", "tokenizer", "tokens", "model", "evaluation", "samples", "report"]


def test_a_deployment_runs_and_a_rerun_is_cached(up):
    first = up.run()
    assert first.returncode == 0, first.stdout + first.stderr
    seen = up.task_states(flow_run_id(first))
    assert seen["state"] == "Completed"
    assert "documents letters 1/1" in seen["tasks"]
    assert set(seen["tasks"].values()) == {"Completed"}, "nothing was there to be reused"

    again = up.run()
    assert again.returncode == 0, again.stdout + again.stderr
    seen = up.task_states(flow_run_id(again))
    cached = {name.partition(":")[0]: state for name, state in seen["tasks"].items() if "reused" in name}
    assert cached == dict.fromkeys(STAGES, "Cached")
    assert "documents: 1 of 1 reused" in seen["tasks"]
    assert not [name for name in seen["tasks"] if name.startswith("model ")], "no unit was built"

    refreshed = up.run(refresh=["tokenizer"], until="tokens")
    assert refreshed.returncode == 0, refreshed.stdout + refreshed.stderr
    tasks = up.task_states(flow_run_id(refreshed))["tasks"]
    assert [name for name in tasks if name.startswith("tokenizer ")], "the refreshed stage was built again"
    assert tasks["tokens: 1 of 1 reused"] == "Cached", "the same bytes came out, so nothing below was built"


@pytest.mark.long
def test_the_flows_corpus_and_training_meet_at_the_newest_corpus(up):
    assert up.run("corpus/python-docs", until="tokens").returncode == 0
    alone = up.run("training/python-docs", overrides={"training.steps": 21}, until="model")
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert "look at letters" not in up.task_states(flow_run_id(alone))["tasks"]


def test_a_failing_run_exits_1_with_its_cause_in_the_log(up):
    done = up.run(overrides={"sources": {"letters": {"kind": "folder", "path": str(up.folder / "nowhere")}}})
    assert done.returncode == 1
    seen = up.task_states(flow_run_id(done))
    assert seen["state"] == "Failed"
    assert any("nowhere" in line for line in seen["logs"])


def test_a_wrong_stage_is_refused_before_anything_runs(up):
    done = up.run(refresh=["modle"])
    assert done.returncode == 1
    assert "modle" in done.stdout + done.stderr


def test_cancelling_leaves_a_checkpoint_from_which_the_next_run_goes_on(up):
    run_id, checkpoints, changes = up.start_training(3000)
    assert up.prefect("flow-run", "cancel", run_id).returncode == 0
    deadline = time.monotonic() + 200
    while up.task_states(run_id)["state"] not in ("Cancelled", "Completed"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert up.task_states(run_id)["state"] == "Cancelled"
    assert not list((up.folder / "store" / "model").glob("*/.partial*"))
    step = saved(checkpoints)
    assert step % 300, "a milestone, not the checkpoint of a trainer that was asked to stop"

    resumed = up.run(until="model", **changes)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert any(f"Going on from step {step} of 3000" in line for line in up.task_states(flow_run_id(resumed))["logs"])


def test_a_source_finds_its_secret_in_a_block(up):
    code = (
        "from prefect.blocks.system import Secret\n"
        "import tasks.sources\n"
        "from data.sources.secrets import secret\n"
        "Secret(value='in the block').save('mill-token')\n"
        "print(secret('MILL_TOKEN'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=up.environment, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "in the block\n", done.stderr


def textmill(up, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments], env=up.environment, capture_output=True, text=True, cwd=ROOT
    )


def test_the_commands_work_on_what_runs_have_made(up):
    settings = [f"--set={name}={json.dumps(value)}" for name, value in up.overrides.items()]
    done = textmill(up, "run", "python-docs", *settings, "--device=cpu", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert list(summary["artifacts"]) == list(summary["cached"]) == list(summary["seconds"]) == STAGES
    assert {"val_bpb", "val_loss", "train_loss", "train_tokens_per_s", "parameters"} <= summary["metrics"].keys()
    model = summary["artifacts"]["model"][0]

    other = textmill(up, "run", "python-docs", *settings, "--set=training.steps=22", "--until=model", "--json")
    [second] = json.loads(other.stdout.splitlines()[-1])["artifacts"]["model"]
    listed = textmill(up, "ls", "model").stdout
    assert model in listed and second in listed
    shown = textmill(up, "show", model).stdout
    assert "training.steps" in shown and summary["artifacts"]["raw"][0] in shown, "settings and lineage"
    why = textmill(up, "why", model, second).stdout
    assert re.search(r"training\.steps\W+20\W+22", why), why

    written = textmill(up, "generate", "--model", model, "--tokens=8", "--seed=3", "--count=2", "--prompt=Letter")
    assert written.returncode == 0 and written.stdout.count("Letter") == 2, written.stdout + written.stderr

    assert textmill(up, "verify", model).returncode == 0
    damaged = up.folder / "store" / second / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    found = textmill(up, "verify")
    assert found.returncode == 1 and "model.safetensors" in found.stdout + found.stderr
    assert "Traceback" not in found.stderr


def test_a_port_in_use_is_named(up):
    done = textmill(up, "ui", "--port", str(up.port))
    assert done.returncode == 1 and str(up.port) in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("tokenizer.vocab_size=5000", ["tokenizer.vocab_size is 5,000"]),
        pytest.param(
            "cleaning.min_characters=100000", ["'letters'", "too_short", "min_characters"], marks=pytest.mark.long
        ),
    ],
)
def test_what_the_text_does_not_allow_is_one_line(up, setting, words):
    settings = [f"--set={name}={json.dumps(value)}" for name, value in up.overrides.items() if name != "tokenizer"]
    done = textmill(up, "run", "python-docs", *settings, f"--set={setting}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("textmill: ") and all(word in last for word in words), done.stderr


def test_stopping_everything_lets_a_trainer_save_and_leaves_nothing(up):  # the last test: nothing is up after it
    _, checkpoints, _ = up.start_training(30_000)
    family = psutil.Process(up.process.pid).children(recursive=True)
    assert any("gpt.train" in process.cmdline() for process in family)
    up.stop()
    assert psutil.wait_procs(family, 30)[1] == []
    assert saved(checkpoints) % 3000, "a milestone, not the checkpoint of a trainer that was asked to stop"
