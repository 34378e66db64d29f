"""Textmill under a real Prefect: server, worker and deployments as `make ui` starts them, runs as users start them."""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from prefect.blocks.system import Secret
from prefect.cli import app as prefect_commands
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

import tasks.sources  # noqa: F401 - lets sources look for secrets in blocks
from data.errors import TextmillError
from data.sources.secrets import secret
from data.store import Store
from flows.cli import app, run_app
from flows.recipes import load_deployments
from flows.ui import _deploy, _prepare_deploying
from tasks.champions import read_champions
from tasks.launch import card_count
from tests.prefect_servers import free_port, send_what_waits

ROOT = Path(__file__).parents[1]
TRACE = ROOT / "tests" / "connection_trace"
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


ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Seen(NamedTuple):
    """What the server tells of a run."""

    state: str
    tasks: dict[str, str]
    logs: list[str]


class Textmill:
    """A server with its worker, and the commands a user would type against it."""

    def __init__(self, folder, *options, home=None):
        self.port = free_port()
        self.folder = folder
        self.log = folder / "ui.log"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(home or folder / "prefect"),
            "TEXTMILL_STORE": str(folder / "store"),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "COLUMNS": "300",
            "TEXTMILL_CONNECTION_TRACE": str(folder / "connections"),
            "PYTHONPATH": os.pathsep.join([str(TRACE), str(ROOT)]),
        }
        texts = folder / "texts"
        texts.mkdir()
        for number in range(12):
            lines = (f"Letter {number}, line {line}: the {line * number % 97}th word of many." for line in range(40))
            (texts / f"{number:02d}.txt").write_text("\n".join(lines))
        self.overrides = TINY | {"sources": {"letters": {"kind": "folder", "path": str(texts)}}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows", "ui", "--port", str(self.port), *options],
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

    def prefect(self, *arguments, cwd=None):
        return subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=400,
            cwd=cwd or self.folder,
        )

    def ask(self, path, **body):
        """What the server answers to a POST of `body`, or to a GET if there is none."""
        return self.ask_list(path, body or None)

    def ask_list(self, path, body):
        """The same with a body that need not be an object."""
        request = urllib.request.Request(f"{self.environment['PREFECT_API_URL']}/{path}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        for _ in range(20):  # SQLite may be locked for a moment, for which Prefect's own clients wait, too
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    said = answer.read()
                    return json.loads(said) if said else None
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(0.5)
        raise AssertionError(f"{path}: the server is busy")

    def parameters(self, overrides=None, **parameters):
        parameters["overrides"] = self.overrides | (overrides or {})
        parameters["runtime"] = {"threads": 1, **parameters.get("runtime", {})}
        return parameters

    def start(self, deployment="pipeline/python-docs", **parameters):
        """Start a run as the pages do; returns its id."""
        found = self.ask(f"deployments/name/{deployment}")
        return self.ask(f"deployments/{found['id']}/create_flow_run", parameters=self.parameters(**parameters))["id"]

    def seen(self, run_id, seconds=300):
        """A run that has ended, as the server tells: its state, {task run name: state name}, and what it logged."""
        deadline = time.monotonic() + seconds
        while (run := self.ask(f"flow_runs/{run_id}"))["state_type"] not in ENDED:
            assert time.monotonic() < deadline, run["state"]
            time.sleep(0.3)
        before = None
        while True:  # the server hears of tasks and logs later
            found = self.ask("task_runs/filter", flow_runs={"id": {"any_": [run_id]}})
            seen = {task["name"]: task["state_name"] for task in found}, self.logs(run_id)
            told = run["state_type"] not in ("COMPLETED", "FAILED") or any("Finished in" in line for line in seen[1])
            all_heard = told and all(task["state_type"] in ENDED for task in found)
            if all_heard and seen == before:
                return Seen(run["state_name"], *seen)
            assert time.monotonic() < deadline, seen
            before = seen if all_heard else None
            time.sleep(1)

    def logs(self, run_id):
        return [log["message"] for log in self.ask("logs/filter", logs={"flow_run_id": {"any_": [run_id]}})]

    def start_training(self, steps):
        """Start a run with so many steps; returns id and checkpoints after its first milestone."""
        work = self.folder / "store" / "work"
        before = set(work.glob("model-*/keep/checkpoints"))
        changes = {"overrides": {"training.steps": steps}, "runtime": {"checkpoint_seconds": 3600}}
        run_id = self.start(**changes)
        deadline = time.monotonic() + 300
        while not (new := {path.parent for path in work.glob("model-*/keep/checkpoints/step-*")} - before):
            assert time.monotonic() < deadline, "no milestone appeared"
            time.sleep(0.05)
        return run_id, new.pop(), changes

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)


@pytest.fixture(scope="module")
def up(tmp_path_factory, prefect_home):
    folder = tmp_path_factory.mktemp("server")
    prefect_home(folder / "prefect")
    textmill = Textmill(folder)
    try:
        textmill.wait_until_up()
        yield textmill
    finally:
        if textmill.process.poll() is None:
            textmill.stop()


@pytest.fixture
def here(up, monkeypatch):
    """This process as one that talks to the server."""
    monkeypatch.setenv("TEXTMILL_STORE", up.environment["TEXTMILL_STORE"])
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("PREFECT_HOME", up.environment["PREFECT_HOME"])
    monkeypatch.setenv("PREFECT_API_URL", up.environment["PREFECT_API_URL"])
    before = dict(os.environ)
    home = {PREFECT_API_URL: up.environment["PREFECT_API_URL"], PREFECT_HOME: up.environment["PREFECT_HOME"]}
    with temporary_settings(home):
        yield up
        send_what_waits()
    for name in os.environ.keys() - before.keys():  # what commands have settled for Prefect
        del os.environ[name]
    if server := sys.modules.get("prefect.server.api.server"):
        server.SubprocessASGIServer._instances.clear()


@pytest.fixture
def textmill(here, monkeypatch, capfd):
    """Runs a command in this process; returns its exit code, stdout and stderr."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["textmill", *arguments])
        capfd.readouterr()
        return run_app(app), *capfd.readouterr()

    return command


@pytest.fixture
def watched(here, monkeypatch, capfd):
    """Runs a deployment as a user starts it, to its end; returns the command's exit code and the run's id."""

    def command(deployment="pipeline/python-docs", **parameters):
        told = json.dumps(here.parameters(**parameters))
        arguments = ["deployment", "run", deployment, "--params", told, "--watch"]
        monkeypatch.setattr(sys, "argv", ["prefect", *arguments])
        capfd.readouterr()
        code = 0
        try:
            prefect_commands()
        except SystemExit as ended:
            code = ended.code
        out = capfd.readouterr().out
        return code or 0, re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", out).group()

    return command


def saved(checkpoints):
    """The step of the latest checkpoint."""
    return int((checkpoints / "latest").read_text().strip().removeprefix("step-"))


STAGES = ["raw", "documents", "duplicates", "corpus", "overlap"]
STAGES += ["tokenizer", "tokens", "plan", "model", "evaluation", "samples", "report"]


def test_a_deployment_runs_and_a_rerun_is_cached(up, watched):
    code, run_id = watched()
    seen = up.seen(run_id)
    assert (code, seen.state) == (0, "Completed"), seen.logs
    assert "documents letters 1/1" in seen.tasks
    assert set(seen.tasks.values()) == {"Completed"}, "nothing was there to be reused"

    seen = up.seen(up.start())
    assert seen.state == "Completed", seen.logs
    cached = {name.partition(":")[0]: state for name, state in seen.tasks.items() if "reused" in name}
    assert cached == dict.fromkeys(STAGES, "Cached")
    assert "documents: 1 of 1 reused" in seen.tasks
    assert not [name for name in seen.tasks if name.startswith("model ")], "no unit was built"


@pytest.mark.long
def test_a_stage_is_refreshed_and_what_depends_on_other_bytes_only(up):
    assert up.seen(up.start(until="tokens")).state == "Completed"
    seen = up.seen(up.start(refresh=["tokenizer"], until="tokens"))
    assert seen.state == "Completed", seen.logs
    assert [name for name in seen.tasks if name.startswith("tokenizer ")], "the refreshed stage was built again"
    assert seen.tasks["tokens: 1 of 1 reused"] == "Cached", "the same bytes came out, so nothing below was built"


@pytest.mark.long
def test_one_deployment_of_each_flow_takes_a_recipes_name(up):
    """They meet at the newest corpus; what was not reused says why; another corpus is told as an event."""
    assert up.seen(up.start("corpus/recipe", until="tokens")).state == "Completed"
    alone = up.seen(up.start("training/recipe", overrides={"training.steps": 21}, until="model"))
    assert alone.state == "Completed", alone.logs
    assert "look at letters" not in alone.tasks
    judged = up.seen(up.start("evaluation/recipe", overrides={"sampling.tokens": 4}))
    assert judged.state == "Completed", judged.logs
    assert {name.partition(":")[0].split()[0] for name in judged.tasks} == {"evaluation", "samples"}

    other = up.seen(up.start("tokenizer/recipe", overrides={"tokenizer.vocab_size": 290}))
    assert other.state == "Completed", other.logs
    assert any("config.vocab_size was 300, is 290" in line for line in other.logs), other.logs
    refused = up.seen(up.start("evaluation/recipe"))
    assert refused.state == "Failed" and any("name another model" in line for line in refused.logs)

    before = len(told(up, "corpus.updated"))
    up.seen(up.start("corpus/recipe", overrides={"split.validation_share": 0.3}))
    up.seen(up.start("corpus/recipe", overrides={"split.validation_share": 0.3}))
    deadline = time.monotonic() + 60
    while len(found := told(up, "corpus.updated")) <= before:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert len(found) == before + 1
    assert found[0]["payload"]["recipe"] == "python-docs"


def told(up, event):
    """The events of a name that the server has."""
    return up.ask("events/filter", filter={"event": {"name": [event]}}, limit=50)["events"]


@pytest.mark.long
def test_trainers_of_two_runs_take_turns(up):
    runs = [
        up.start(deployment, overrides={"training.steps": 150, "training.seed": seed}, until="model")
        for seed, deployment in enumerate(("pipeline/python-docs", "pipeline/folder"), 50)
    ]
    assert [up.seen(run).state for run in runs] == ["Completed", "Completed"]
    name = f"trainer-{socket.gethostname()}-{'gpu' if card_count({}) else 'cpu'}"
    limit = up.ask(f"v2/concurrency_limits/{name}")
    assert limit["limit"] == max(1, card_count({})) and limit["active_slots"] == 0
    taken = told(up, "prefect.concurrency-limit.acquired")
    released = told(up, "prefect.concurrency-limit.released")
    assert len(taken) >= 2 and len(released) >= 2
    if limit["limit"] == 1:
        moments = sorted([(one["occurred"], 1) for one in taken] + [(one["occurred"], -1) for one in released])
        held = list(itertools.accumulate(step for _, step in moments))
        assert set(held) <= {0, 1}, moments


@pytest.mark.long
def test_what_was_set_up_on_the_server_outlives_another_start(up):
    deployment = up.ask("deployments/name/pipeline/folder")["id"]
    (nightly,) = up.ask(f"deployments/{deployment}/schedules")
    assert nightly["slug"] == "nightly" and not nightly["active"]
    assert up.prefect("deployment", "schedule", "resume", "pipeline/folder", nightly["id"]).returncode == 0
    weekly = ["--cron", "0 4 * * 0", "--timezone", "UTC"]
    assert up.prefect("deployment", "schedule", "create", "pipeline/folder", *weekly).returncode == 0
    _deploy(_prepare_deploying(up.environment))
    after = up.ask(f"deployments/{deployment}/schedules")
    assert {(one["slug"], one["schedule"]["cron"], one["active"]) for one in after} == {
        ("nightly", "0 3 * * *", True),
        (None, "0 4 * * 0", True),
    }
    assert up.prefect("deployment", "schedule", "clear", "-y", "pipeline/folder").returncode == 0


@pytest.mark.long
def test_prefect_itself_deploys_the_same(up):
    names = [f"{one['entrypoint'].rpartition('.')[2]}/{one['name']}" for one in load_deployments()]
    ours = [up.ask(f"deployments/name/{name}") for name in names]
    done = up.prefect("--no-prompt", "deploy", "--all", cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, before in zip(names, ours, strict=True):
        after = up.ask(f"deployments/name/{name}")
        for one in (before, after):
            one["schedules"] = [(s["slug"], s["schedule"], s["active"]) for s in one["schedules"]]  # written anew
        changed = {key for key, value in before.items() if after[key] != value}
        assert changed <= {"updated", "last_polled", "status"}, name


@pytest.mark.long
def test_a_schedule_and_an_event_train_three_generations(up):
    registry, texts = Store(up.folder / "store").refs, up.folder / "texts"
    deployment = up.ask("deployments/name/retrain/python-docs")
    assert [one["active"] for one in deployment["schedules"]] == [False], "nothing is trained that nobody asked for"
    changes = {"retrain.margin": 0.5, "retrain.memorisation_samples": 20, "retrain.min_passages": 4}

    def outcomes(count, seconds=400):
        deadline = time.monotonic() + seconds
        while len(history := read_champions(registry, "python-docs").history) < count:
            assert time.monotonic() < deadline, history
            time.sleep(1)
        return [one.outcome for one in history]

    def grow(first, last):
        for number in range(first, last):
            lines = (f"Letter {number}, line {line}: the {line * number % 89}th word of many." for line in range(40))
            (texts / f"{number:02d}.txt").write_text("\n".join(lines))

    schedule = {"schedule": {"interval": 15}, "active": True, "parameters": up.parameters(changes)}
    up.ask_list(f"deployments/{deployment['id']}/schedules", [schedule])
    assert outcomes(1) == ["promoted"]
    grow(12, 24)
    assert outcomes(2) == ["promoted"] * 2
    grow(24, 36)
    assert outcomes(3) == ["promoted"] * 3
    up.ask_list(f"deployments/{deployment['id']}/pause_deployment", {})
    while up.ask("flow_runs/count", flow_runs={"state": {"type": {"any_": ["RUNNING", "PENDING"]}}}):
        time.sleep(1)
    grow(36, 40)
    # what an event starts has the deployment's own parameters, so here it looks at the recipe as prefect.yaml has it
    assert up.seen(up.start("corpus/python-docs", until="tokens")).state == "Completed"
    triggered = {"deployments": {"id": {"any_": [deployment["id"]]}}}
    deadline = time.monotonic() + 120
    while not any(run["created_by"]["type"] == "AUTOMATION" for run in up.ask("flow_runs/filter", **triggered)):
        assert time.monotonic() < deadline, "corpus.updated started no retraining"
        time.sleep(1)
    events = up.ask("events/filter", filter={"event": {"prefix": ["model.", "corpus."]}})["events"]
    told = {(one["event"], one["resource"]["prefect.resource.id"]) for one in events}
    assert ("model.promoted", "textmill.model.python-docs") in told
    assert ("corpus.updated", "textmill.corpus.python-docs") in told


def test_a_failing_run_exits_1_with_its_cause_in_the_log(up, watched):
    nowhere = str(up.folder / "nowhere")
    code, run_id = watched(overrides={"sources": {"letters": {"kind": "folder", "path": nowhere}}})
    seen = up.seen(run_id)
    assert (code, seen.state) == (1, "Failed")
    assert any("nowhere" in line for line in seen.logs)


def test_a_wrong_stage_is_refused_before_anything_runs(up):
    with pytest.raises(urllib.error.HTTPError) as refused:
        up.start(refresh=["modle"])
    assert refused.value.code == 409 and "modle" in refused.value.read().decode()


def test_crashed_runs_are_taken_up_from_the_start(up):
    names = {automation["name"] for automation in up.ask("automations/filter", limit=50)}
    assert {"textmill-dead-run", "textmill-resume"} <= names
    assert "resumable" in up.ask("deployments/name/pipeline/python-docs")["tags"]


def test_a_source_finds_its_secret_in_a_block(here):
    Secret(value="in the block").save("mill-token")
    assert secret("MILL_TOKEN") == "in the block"


def test_the_commands_work_on_what_runs_have_made(up, textmill):
    settings = [f"--set={name}={json.dumps(value)}" for name, value in up.overrides.items()]
    code, out, err = textmill("run", "python-docs", *settings, "--device=cpu", "--json")
    assert code == 0, err
    summary = json.loads(out.splitlines()[-1])
    assert list(summary["artifacts"]) == list(summary["cached"]) == list(summary["seconds"]) == STAGES
    assert {"val_bpb", "val_loss", "train_loss", "train_tokens_per_s", "parameters"} <= summary["metrics"].keys()
    model = summary["artifacts"]["model"][0]

    changes = ["--set=training.steps=22", "--refresh=tokenizer"]
    code, out, err = textmill("run", "python-docs", *settings, *changes, "--until=model", "--json")
    assert code == 0, err
    summary = json.loads(out.splitlines()[-1])
    assert [stage for stage, cached in summary["cached"].items() if not cached] == ["tokenizer", "plan", "model"]
    [second] = summary["artifacts"]["model"]
    _, listed, _ = textmill("ls", "model")
    assert model in listed and second in listed
    _, shown, _ = textmill("show", model)
    assert "training.steps" in shown and summary["artifacts"]["raw"][0] in shown, "settings and lineage"
    _, why, _ = textmill("why", model, second)
    assert re.search(r"training\.steps\W+20\W+22", why), why

    code, written, err = textmill(
        "generate", f"--model={model}", "--tokens=8", "--seed=3", "--count=2", "--prompt=Letter"
    )
    assert code == 0 and written.count("Letter") == 2, written + err

    assert textmill("verify", model)[0] == 0
    damaged = up.folder / "store" / second / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    code, out, err = textmill("verify")
    assert code == 1 and "model.safetensors" in out + err and "Traceback" not in err


def test_nothing_listens_beyond_this_machine_or_connects_to_elsewhere(up):
    """Of server, worker, and all processes of the runs before; names are looked up for the loopback only."""
    family = [psutil.Process(up.process.pid), *psutil.Process(up.process.pid).children(recursive=True)]
    listening = [one.laddr for process in family for one in process.net_connections("inet") if one.status == "LISTEN"]
    assert up.port in {address.port for address in listening}
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}
    trace = [json.loads(line) for line in (up.folder / "connections").read_text().splitlines()]
    assert ["socket.connect", ["127.0.0.1", up.port]] in trace
    hosts = {address[0] if isinstance(address, list) else address for _, address in trace}
    local = {"127.0.0.1", "::1", "localhost", "", "0.0.0.0", "::", None}
    assert {host for host in hosts if host not in local and not str(host).startswith("/")} == set()


def test_the_doctor_finds_server_and_worker_in_order(textmill, here):
    deadline = time.monotonic() + 120
    while not any(one["status"] == "ONLINE" for one in here.ask("work_pools/local/workers/filter", limit=5)):
        assert time.monotonic() < deadline, "no worker has said that it is there"
        time.sleep(0.5)
    code, out, err = textmill("doctor", "--json")
    found = {one["check"]: one for one in json.loads(out.splitlines()[-1])["findings"]}
    wrong = [one for one in found.values() if one["level"] == "fail"]
    assert code == 0 and not wrong, err
    assert found["server"]["what"].endswith(here.environment["PREFECT_API_URL"])
    assert found["worker of local"]["level"] == "ok" and "SQLite" in found["database"]["what"]
    assert "gpu" in found and found["clock"]["level"] == "ok"


def test_a_port_in_use_is_named(up, textmill):
    code, _, err = textmill("ui", "--port", str(up.port))
    assert code == 1 and str(up.port) in err and len(err.splitlines()) == 1


@pytest.mark.long
def test_deployments_that_cannot_be_written_are_one_line_below_the_cause(tmp_path, capfd):
    nowhere = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api"}
    with pytest.raises(TextmillError, match=r"could not be written: .*flows\.deploy local.* exit code 1; what Prefect"):
        _deploy(_prepare_deploying(os.environ | nowhere))
    assert "connect" in capfd.readouterr().err


def settings_without_tokenizer(up):
    return [f"--set={name}={json.dumps(value)}" for name, value in up.overrides.items() if name != "tokenizer"]


def last_line(err):
    assert "Traceback" not in err
    return err.splitlines()[-1]


def test_a_vocabulary_that_the_text_does_not_allow_is_one_line(up, textmill):
    setting = "--set=tokenizer.vocab_size=5000"
    code, _, err = textmill("run", "python-docs", *settings_without_tokenizer(up), setting)
    assert code == 1
    assert last_line(err).startswith("textmill: tokenizer.vocab_size is 5,000")


def test_a_source_that_cleaning_empties_is_one_line(up, textmill):
    setting = "--set=cleaning.min_characters=100000"
    code, _, err = textmill("run", "python-docs", *settings_without_tokenizer(up), setting)
    last = last_line(err)
    assert code == 1 and last.startswith("textmill: The source 'letters'")
    assert "too_short" in last and "min_characters" in last


@pytest.mark.long
def test_the_first_start_makes_the_database(tmp_path):
    first = Textmill(tmp_path)
    try:
        first.wait_until_up()
    finally:
        first.stop()


@pytest.mark.long
def test_who_is_cancelled_or_stopped_saves_and_the_next_run_goes_on(up):  # the last test: nothing is up after it
    run_id, checkpoints, changes = up.start_training(5000)
    up.ask(f"flow_runs/{run_id}/set_state", state={"type": "CANCELLING"})
    assert up.seen(run_id).state == "Cancelled"
    assert not list((up.folder / "store" / "model").glob("*/.partial*"))
    step = saved(checkpoints)
    assert step % 500, "a milestone, not the checkpoint of a trainer that was asked to stop"

    next_run = up.start(until="model", **changes)
    deadline = time.monotonic() + 300
    while not any(f"Going on from step {step} of 5000" in line for line in up.logs(next_run)):
        assert time.monotonic() < deadline, up.logs(next_run)
        time.sleep(0.2)
    family = psutil.Process(up.process.pid).children(recursive=True)
    assert any("gpt.train" in process.cmdline() for process in family)
    up.stop()
    assert psutil.wait_procs(family, 30)[1] == []
    assert saved(checkpoints) > step and saved(checkpoints) % 500, "it was to save once more before it left"
