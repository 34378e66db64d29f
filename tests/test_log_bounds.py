"""How many lines of a run reach Prefect's server: counted there."""

import json
import logging
import urllib.request
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL

import tasks.progress
import tasks.units
from data.facts import Facts
from data.manifest import Identity
from flows.settings import DEFAULTS, prepare_prefect
from tasks.log_bounds import LogBounds, bound_logs
from tasks.notes import tell_notes
from tasks.progress import LogWatcher
from tasks.run import Run
from tasks.runtime import Runtime
from tasks.units import Unit, run_units
from tests.prefect_servers import send_what_waits


def record(level=logging.INFO, run="run", task="documents folder 1/9"):
    made = logging.LogRecord("prefect.task_runs", level, "file", 1, "text", (), None)
    made.__dict__ |= {"flow_run_id": run, "task_run_name": task}
    return made


def test_first_lines_of_each_stage_of_each_run_pass():
    bounds = LogBounds(lines=3, warnings=2)
    assert sum(bounds.filter(record(task=f"documents folder {n}/9")) for n in range(9)) == 3
    assert sum(bounds.filter(record(task=f"tokens folder {n}/9")) for n in range(9)) == 3
    assert sum(bounds.filter(record(run="other")) for _ in range(9)) == 3
    assert sum(bounds.filter(record(logging.WARNING)) for _ in range(9)) == 2
    assert sum(bounds.filter(record(logging.ERROR)) for _ in range(9)) == 2
    assert all(bounds.filter(record(run="")) for _ in range(9)), "what belongs to no run is not ours to count"


def test_a_line_is_counted_once_however_many_handlers_ask():
    bounds, one = LogBounds(lines=1), record()
    assert bounds.filter(one) and bounds.filter(one)
    assert not bounds.filter(record())


def test_counts_of_old_runs_are_forgotten():
    bounds = LogBounds()
    for number in range(100):
        bounds.filter(record(run=f"{number}"))
    assert len({key[0] for key in bounds.seen}) < 20


def test_progress_lines_of_a_week_are_few(monkeypatch):
    lines, now = [], [0.0]
    monkeypatch.setattr(tasks.progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watcher = LogWatcher()
    monkeypatch.setattr(watcher, "note", lambda text: lines.append((now[0], text)))
    while now[0] < 7 * 86400:
        watcher.progress("model", "mine", now[0], 0, "steps", "")
        now[0] += 5
    assert 100 < len(lines) < 450
    assert sum(time < 600 for time, _ in lines) > 30, "the first minutes are told closely"


def test_long_lists_end_with_how_many_more_there_are():
    notes = []
    tell_notes(notes.append, [f"note {n}" for n in range(1000)], "see the report")
    assert notes[0] == "note 0" and len(notes) == 21 and notes[-1] == "and 980 more: see the report"


@pytest.fixture
def asked(flow_server):
    def ask(path, **body):
        request = urllib.request.Request(f"{PREFECT_API_URL.value()}/{path}", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    return ask


def test_what_the_server_gets_of_a_stage_does_not_grow_with_its_units(asked, tmp_path, monkeypatch):
    """Of 60 units with a warning, two notes and a progress bar each."""
    bounds = LogBounds(lines=10, warnings=5, bars=3)
    for module in (tasks.progress, tasks.units):
        monkeypatch.setattr(module, "BOUNDS", bounds, raising=False)
    monkeypatch.setattr(tasks.units, "bound_logs", lambda: bound_logs(bounds))

    def make(build, progress):
        progress(1, 2, "rows")
        tasks.progress.run_logger().warning("beware")
        (build.out / "text").write_text("text")
        return Facts(notes=["one note", "another note"])

    def unit(number):
        return Unit("name", f"some {number}/60", Identity("documents", 1, {"n": number}, {}, {}), (), make)

    run_id = uuid4()

    @flow(name="bounded")
    def bounded():
        nonlocal run_id
        from prefect.runtime import flow_run

        run_id = flow_run.id
        run = Run("bounded", Runtime(store=str(tmp_path), workers=4))
        run_units(run, "documents", [unit(number) for number in range(60)])

    try:
        bounded()
    finally:
        for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.extra", None):
            for handler in logging.getLogger(name).handlers:
                handler.removeFilter(bounds)
    send_what_waits()
    logs = asked("logs/filter", logs={"flow_run_id": {"any_": [run_id]}}, limit=200)
    messages = [one["message"] for one in logs]
    assert messages.count("beware") == 5
    assert sum("note" in text or "Finished in" in text for text in messages if "more lines" not in text) <= 10 + 1
    [told] = [text for text in messages if "more lines" in text]
    lines, warnings = 3 * 60, 60  # two notes and Prefect's own word for each unit
    assert f"and {lines - 10 + warnings - 5} more lines" in told
    bars = asked("artifacts/filter", artifacts={"flow_run_id": {"any_": [run_id]}}, limit=200)
    assert sum(one["description"].startswith("documents some") for one in bars) == 3


def test_what_the_server_forgets(monkeypatch):
    """The names and values are those that Prefect reads."""
    from prefect.settings.models.server.events import ServerEventsSettings
    from prefect.settings.models.server.services import ServerServicesDBVacuumSettings

    environment = {}
    prepare_prefect(environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    vacuum = ServerServicesDBVacuumSettings()
    assert vacuum.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert vacuum.retention_period.days == 90
    assert ServerEventsSettings().retention_period.days == 7
    assert DEFAULTS["DO_NOT_TRACK"] == "1" and DEFAULTS["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
