"""Prefect Secret blocks as a place where sources find their secrets."""

from typing import TYPE_CHECKING, cast

from data.sources import secrets

if TYPE_CHECKING:
    from prefect.blocks.system import Secret


def prefect_secret(name: str) -> str | None:
    """What the Secret block of a secret holds, for ABC_TOKEN the block abc-token; None: no such block."""
    import httpx
    from prefect.blocks.system import Secret

    try:
        block = cast("Secret[str]", Secret.load(secrets.block_name(name)))
    except (ValueError, httpx.HTTPError):  # no such block, in Prefect's words, or no server to ask
        return None
    return str(block.get())


def ask_prefect_too() -> None:
    """Let `data.sources.secrets.secret` look into Prefect's blocks after the environment."""
    if prefect_secret not in secrets.elsewhere:
        secrets.elsewhere.append(prefect_secret)
