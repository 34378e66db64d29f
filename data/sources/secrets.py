"""Secrets that a source needs, by name: from the environment, else from wherever a higher floor keeps them.

Settings hold the name of a secret, never the secret, so that none gets into a key, a manifest, a log or an error. What
is returned here goes into a request's header and nowhere else.
"""

import os
import re
from collections.abc import Callable

from data.sources.base import SourceError

_NAME = "[A-Z][A-Z0-9_]{1,99}"

elsewhere: list[Callable[[str], str | None]] = []
"""Further places to ask, in order, with the secret's name as it stands in the settings; None means: not there."""


def secret(name: str) -> str:
    """The secret called `name`: the environment variable of that name, else what a place in `elsewhere` knows.

    White space around it is dropped: it comes with files that end in a line end. Raises SourceError, naming the secret
    only.
    """
    if not re.fullmatch(_NAME, name):
        raise SourceError(
            "Where the name of a secret should stand (capitals, digits and underscores, such as HF_TOKEN) there is "
            "something else, which is not shown: if it is the secret itself, put it into an environment variable, give "
            "that one's name here, and have a new secret made, as this one was written where others may read it."
        )
    places: list[Callable[[str], str | None]] = [os.environ.get, *elsewhere]
    for look_up in places:
        if value := (look_up(name) or "").strip():
            return value
    raise SourceError(
        f"The secret {name} is not set. Put it into the environment variable {name}, or into a Prefect Secret block "
        f"named {block_name(name)}."
    )


def block_name(name: str) -> str:
    """The name of the Prefect block that holds the secret `name`; blocks are named in small letters and dashes."""
    return name.lower().replace("_", "-")


FIELDS = ("token", "authorization_secret", "pseudonym_key")
"""The settings of sources that hold the name of a secret."""


def named_by(source: object) -> list[str]:
    """The names of the secrets that a source's settings ask for; what is no name is left out."""
    fields = [one for one in FIELDS if one != "pseudonym_key" or getattr(source, "pseudonyms", None) == "keyed"]
    names = (getattr(source, one, None) for one in fields)
    return [name for name in names if isinstance(name, str) and re.fullmatch(_NAME, name)]
