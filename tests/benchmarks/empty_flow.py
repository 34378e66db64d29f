"""A flow that does nothing, as a deployment: what Prefect itself takes for a run."""

from prefect import flow


@flow(persist_result=False)
def empty() -> None:
    """Nothing."""
