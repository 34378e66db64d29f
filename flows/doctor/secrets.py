"""Secrets that recipes name and that are nowhere to be found. Names only: no value is looked at or shown."""

from collections.abc import Iterable, Mapping

from data.sources.secrets import block_name, named_by
from flows.doctor.finding import Finding, ok, warn
from flows.doctor.server import Api, has_block, setting
from flows.recipe import Recipe

NAMED = 4  # recipes named in one line


def check_secrets(recipes: Iterable[Recipe], environment: Mapping[str, str]) -> list[Finding]:
    """One finding for each secret that is neither in the environment nor in a Prefect Secret block."""
    users: dict[str, list[str]] = {}
    for recipe in recipes:
        for source in recipe.used_sources().values():
            for name in named_by(source):
                users.setdefault(name, []).append(recipe.name)
    url = setting(environment, "PREFECT_API_URL")
    api = Api(url, setting(environment, "PREFECT_API_AUTH_STRING")) if url else None
    missing = [
        name
        for name in users
        if not environment.get(name, "").strip() and not (api and has_block(api, block_name(name)))
    ]
    findings = [
        warn(
            f"secret {name}",
            f"neither in the environment nor in a Secret block {block_name(name)}; named by "
            f"{', '.join(sorted(set(users[name]))[:NAMED])}",
            f"export {name}=..., for whoever runs these recipes, or save the block on Prefect's page Blocks",
        )
        for name in missing
    ]
    if not missing:
        named = f": {', '.join(users)}" if users else ""
        findings = [ok("secrets", f"all {len(users)} that recipes name are there{named}")]
    return findings
