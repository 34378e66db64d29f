"""What a run tells the world: Prefect events, on which automations and the triggers of deployments can act.

Prefect is a guest here: an event that it does not take is only logged. Nothing depends on one having been heard, and a
run that is killed between its work and its word has done the work.
"""

from typing import Any, Literal

from prefect.events import emit_event

from data.manifest import safe_name
from tasks.progress import run_logger

Event = Literal["corpus.updated", "corpus.drift", "model.promoted", "model.kept"]


def resource_id(event: Event, recipe: str) -> str:
    """`textmill.corpus.NAME` or `textmill.model.NAME`: what triggers match."""
    return f"textmill.{event.partition('.')[0]}.{safe_name(recipe)}"


def tell(event: Event, recipe: str, **payload: Any) -> None:
    """Emit an event about a recipe's corpus or model; `payload` is JSON-able and always carries the recipe's name."""
    resource = {"prefect.resource.id": resource_id(event, recipe), "prefect.resource.name": recipe}
    try:
        emit_event(event=event, resource=resource, payload={"recipe": recipe, **payload})
    except Exception as error:  # whatever Prefect's client raises
        run_logger().warning("The event %s could not be told to Prefect (%s: %s).", event, type(error).__name__, error)
