"""One trainer per graphics card of a machine: runs that deployments start wait for each other here.

A global concurrency limit of Prefect, named after the machine and made when missing; one that a user has changed
stays as it is. A slot is held by a lease that is renewed while the trainer works, so that of a killed run it is free
again a minute later. A command at the terminal does not wait: who types it decides.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prefect import runtime as prefect_runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from tasks.launch import Launch, card_count

LEASE = 60.0  # seconds; the shortest that Prefect takes


def limit_of(launch: Launch, device: str, machine: str, cards: int) -> tuple[str, int, int]:
    """The limit that a training takes part in: its name, the slots it is made with, and how many of them are taken.

    `cards` are all that the machine has. What trains on the CPU waits for what trains there, and for nothing else.
    """
    if cards and device in ("auto", "cuda"):
        return f"trainer-{machine}-gpu", cards, launch.processes
    return f"trainer-{machine}-cpu", 1, 1


@contextmanager
def trainer_slot(launch: Launch, device: str) -> Iterator[None]:
    """Wait until a card is free for a trainer, and keep it; nothing outside of runs that a deployment started."""
    if not prefect_runtime.deployment.id:
        yield
        return
    name, slots, taken = limit_of(launch, device, socket.gethostname(), card_count({}))
    taken = min(taken, _limit(name, slots))
    with concurrency(name, occupy=taken, lease_duration=LEASE, raise_on_lease_renewal_failure=False):
        yield


def _limit(name: str, slots: int) -> int:
    """The slots of a limit, which is made if it is missing; at least 1, which a limit of 0 keeps waiting."""
    with get_client(sync_client=True) as client:
        with suppress(ObjectNotFound):
            return max(1, client.read_global_concurrency_limit_by_name(name).limit)
        with suppress(ObjectAlreadyExists):  # made by another run a moment ago
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=slots))
        return slots
