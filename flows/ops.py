"""What a server of one's own needs to recover from crashes: two automations.

A run whose process has died with its worker says nothing any more: without the first rule it would stay `Running` for
ever. A run that has crashed, however that was noticed, is started again by the second, under the same id; it finds
its work in the store and goes on. Both wait before they act: runner and worker may each report one crash, and a rule
that answers at once starts one run twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from data.errors import TextmillError

DEAD_AFTER = timedelta(seconds=90)  # three heartbeats of PREFECT_FLOWS_HEARTBEAT_FREQUENCY
RESUME_AFTER = timedelta(seconds=15)
RESUMABLE = "resumable"  # tag of the flow runs that start again
DEAD_RUN, RESUME = "textmill-dead-run", "textmill-resume"

_FLOW_RUN = "prefect.flow-run.*"


def wanted() -> list[AutomationCore]:
    """The automations as they should be on the server."""
    return [
        AutomationCore(
            name=DEAD_RUN,
            description=f"A flow run without a heartbeat for {DEAD_AFTER.seconds} s has crashed.",
            trigger=_silence(DEAD_AFTER, after="prefect.flow-run.heartbeat"),
            actions=[
                ChangeFlowRunState(state=StateType.CRASHED, message="No heartbeat: its process or machine is gone.")
            ],
        ),
        AutomationCore(
            name=RESUME,
            description=f"A crashed flow run tagged {RESUMABLE} is started again after {RESUME_AFTER.seconds} s.",
            trigger=_silence(
                RESUME_AFTER,
                after="prefect.flow-run.Crashed",
                # One that never came to run is left alone: its flow cannot be loaded, and would not be the next time.
                match={"prefect.run-count": "!0"},
                match_related={"prefect.resource.id": f"prefect.tag.{RESUMABLE}", "prefect.resource.role": "tag"},
            ),
            actions=[ChangeFlowRunState(state=StateType.SCHEDULED, message="Started again after a crash.", force=True)],
        ),
    ]


def _silence(
    within: timedelta, after: str, match: dict[str, str] | None = None, match_related: dict[str, str] | None = None
) -> EventTrigger:
    """Fires for each flow run of which nothing is heard for so long after an event."""
    return EventTrigger(
        posture=Posture.Proactive,
        after={after},
        expect={_FLOW_RUN},
        match=ResourceSpecification({"prefect.resource.id": _FLOW_RUN, **(match or {})}),
        match_related=ResourceSpecification(match_related or {}),
        for_each={"prefect.resource.id"},
        threshold=1,
        within=within,
    )


def install() -> dict[str, str]:
    """Put the automations on the server; returns {name: "created", "changed" or "as it was"}.

    Done again it changes nothing. One that somebody has paused stays paused. Raises TextmillError without a server.
    """
    done = {}
    with _server() as client:
        for automation in wanted():
            found = client.read_automations_by_name(automation.name)
            there = found[0] if found else None
            for extra in found[1:]:
                client.delete_automation(extra.id)
            if there is None:
                client.create_automation(automation)
                done[automation.name] = "created"
            elif _content(there) == _content(automation):
                done[automation.name] = "as it was"
            else:
                automation.enabled = there.enabled
                client.update_automation(there.id, automation)
                done[automation.name] = "changed"
    return done


def installed() -> dict[str, Automation | None]:
    """{name: the automation on the server, or None}. Raises TextmillError without a server."""
    with _server() as client:
        return {one.name: next(iter(client.read_automations_by_name(one.name)), None) for one in wanted()}


def is_current(automation: Automation) -> bool:
    """Whether it says what this version would install."""
    return any(_content(automation) == _content(one) for one in wanted())


def remove() -> list[str]:
    """Take the automations off the server; returns the names of those that were there."""
    removed = []
    with _server() as client:
        for automation in wanted():
            for there in client.read_automations_by_name(automation.name):
                client.delete_automation(there.id)
                removed.append(automation.name)
    return removed


def _content(automation: AutomationCore) -> dict[str, Any]:
    """What we say of it; ids and the like are the server's, and whether it is paused is the user's."""
    kept = {"name", "description", "trigger", "actions"}
    return AutomationCore(**automation.model_dump(include=kept)).model_dump(
        mode="json", include=kept, exclude={"trigger": {"id"}}
    )


@contextmanager
def _server() -> Iterator[SyncPrefectClient]:
    """A client of the server of PREFECT_API_URL, never of a temporary one, which would take the rules with it."""
    address = PREFECT_API_URL.value()
    if not address:
        raise TextmillError(
            "PREFECT_API_URL is not set, and automations live on a server: start one with `make ui`, which installs "
            "them itself, or set PREFECT_API_URL to the one you have, such as http://127.0.0.1:4200/api."
        )
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.TransportError as error:
        raise TextmillError(
            f"No Prefect server answers at {address} ({error}): start it (make ui), or correct PREFECT_API_URL."
        ) from error
    except PrefectHTTPStatusError as error:
        raise TextmillError(f"The Prefect server at {address} refused: {' '.join(str(error).split())}") from error
