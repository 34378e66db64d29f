"""The automations of `textmill ops` on a real server, and the limit on starts of one flow run."""

import os
import sys
from datetime import timedelta

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.server.events.schemas.automations import EventTrigger as ServerTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import PREFECT_API_URL, temporary_settings

from data.errors import TextmillError
from flows import ops
from flows.cli import app, run_app
from flows.recipes import load_deployments
from flows.start import refuse_endless_starts
from tasks.runtime import Runtime
from tests.prefect_servers import free_port

RUN = "prefect.flow-run.5f1c0a50-0000-4000-8000-000000000001"


@pytest.fixture
def textmill(flow_server, monkeypatch, capfd):
    """Runs a command in this process; returns its exit code, stdout and stderr."""
    before = dict(os.environ)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["textmill", *arguments])
        capfd.readouterr()
        return run_app(app), *capfd.readouterr()

    yield command
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


def on_server():
    with get_client(sync_client=True) as client:
        return {one.name: one for one in client.read_automations() if one.name in (ops.DEAD_RUN, ops.RESUME)}


def test_installing_twice_leaves_two_automations_as_documented(textmill):
    code, out, _ = textmill("ops", "install")
    assert code == 0 and out.count("created") == 2
    first = on_server()
    assert textmill("ops", "install")[1].count("as it was") == 2
    assert on_server() == first
    dead, resume = first[ops.DEAD_RUN], first[ops.RESUME]
    assert (dead.trigger.within, resume.trigger.within) == (timedelta(seconds=90), timedelta(seconds=15))
    assert [one.model_dump(include={"state", "force"}) for one in (*dead.actions, *resume.actions)] == [
        {"state": "CRASHED", "force": False},  # forced, it would crash a run that has just completed
        {"state": "SCHEDULED", "force": True},
    ]
    assert textmill("ops", "show")[1].count(" on\n") == 2

    with get_client(sync_client=True) as client:  # somebody changes one, pauses the other, and one is there twice
        client.update_automation(dead.id, ops.wanted()[0].model_copy(update={"description": "mine"}))
        client.pause_automation(resume.id)
        client.create_automation(ops.wanted()[1])
    assert "of another version" in textmill("ops", "show")[1]
    code, out, _ = textmill("ops", "install")
    assert "changed" in out and "as it was" in out
    with get_client(sync_client=True) as client:
        assert len(client.read_automations_by_name(ops.RESUME)) == 1
    assert on_server()[ops.DEAD_RUN].description == dead.description

    assert textmill("ops", "remove")[1].split() == [ops.DEAD_RUN, ops.RESUME]
    assert on_server() == {} and textmill("ops", "show")[1].count("absent") == 2
    assert textmill("ops", "remove")[1] == "nothing was there\n"


def event(name, run_count, *tags):
    """An event of a flow run as the server sends it."""
    label = {} if run_count is None else {"prefect.run-count": str(run_count)}
    related = [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in tags]
    return ReceivedEvent.model_validate(
        {
            "event": f"prefect.flow-run.{name}",
            "resource": {"prefect.resource.id": RUN} | label,
            "related": related,
            "occurred": "2026-01-01T00:00:00Z",
            "id": "5f1c0a50-0000-4000-8000-000000000002",
        }
    )


def test_only_resumable_runs_that_have_run_start_again():
    def concerns(automation, event):
        trigger = ServerTrigger.model_validate(automation.trigger.model_dump())
        return trigger.covers(event) and trigger.starts_after(event.event)

    dead, resume = ops.wanted()
    assert concerns(resume, event("Crashed", 1, "textmill", "resumable"))
    assert not concerns(resume, event("Crashed", 1, "textmill"))
    assert not concerns(resume, event("Crashed", 0, "resumable")), "it never came to run and would go round for ever"
    assert not concerns(resume, event("Failed", 1, "resumable"))
    assert concerns(dead, event("heartbeat", None))
    assert not concerns(dead, event("Running", 1, "resumable")), "without heartbeats none can be missed"


def test_every_deployment_is_resumable_and_gives_heartbeats():
    for one in load_deployments():
        assert ops.RESUMABLE in one["tags"], one["name"]
        env = one["work_pool"]["job_variables"]["env"]
        assert int(env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) * 3 <= ops.DEAD_AFTER.seconds


@pytest.mark.parametrize("is_named", [False, True])
def test_without_a_server_it_is_one_line(textmill, is_named):
    address = f"http://127.0.0.1:{free_port()}/api" if is_named else None
    with temporary_settings({PREFECT_API_URL: address}):
        code, _, err = textmill("ops", "install")
    assert code == 1 and len(err.splitlines()) == 1 and "make ui" in err
    assert address is None or address in err


@pytest.mark.usefixtures("flow_server")
def test_a_run_that_is_started_again_and_again_stops():
    @flow(retries=3)
    def crashing():
        refuse_endless_starts(Runtime(max_starts=3))
        raise RuntimeError("as ever")

    with pytest.raises(TextmillError, match=r"started 4 times, and runtime\.max_starts is 3: .*start a new run"):
        crashing()
