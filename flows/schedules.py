"""What users have set up on the server outlives the writing of deployments, which by itself deletes every schedule.

A schedule of prefect.yaml (it has a slug) that was resumed on the server stays active, whatever the file says; one that
was made on the server (it has none) is made again. To end a schedule for good, pause or delete it on the server, and
have `active: false` in the file.
"""

from collections.abc import Iterable
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule

PAGE = 200  # deployments that the server gives at once


def read_schedules(client: SyncPrefectClient) -> dict[UUID, list[DeploymentSchedule]]:
    """The schedules of every deployment on the server."""
    found: dict[UUID, list[DeploymentSchedule]] = {}
    while page := client.read_deployments(limit=PAGE, offset=len(found)):
        found |= {deployment.id: deployment.schedules for deployment in page}
    return found


def keep_schedules(client: SyncPrefectClient, before: dict[UUID, list[DeploymentSchedule]]) -> None:
    """Bring back what the writing of deployments took of the schedules that were there `before`."""
    for deployment, now in read_schedules(client).items():
        for old in before.get(deployment, ()):
            same = _same(old, now)
            if same is None and not old.slug:
                made = DeploymentScheduleCreate(schedule=old.schedule, active=old.active, parameters=old.parameters)
                client.create_deployment_schedules(deployment, [made])
            elif same is not None and old.active and not same.active:
                client.update_deployment_schedule(deployment, same.id, active=True)


def _same(old: DeploymentSchedule, now: Iterable[DeploymentSchedule]) -> DeploymentSchedule | None:
    """The schedule that goes by the same slug, or that has none and says the same."""
    return next((one for one in now if one.slug == old.slug and (old.slug or one.schedule == old.schedule)), None)
