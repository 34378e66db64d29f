"""Settings that several kinds of sources share, each stated once. Those of files stand in data/formats/config.py."""

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from data.sources.base import SourceError
from data.sources.chats.pseudonyms import PseudonymSettings
from data.web.errors import is_address

_SERVER = re.compile(r"https?://(?!:)[^\s/?#@]+(/[^\s?#@]*)?", re.IGNORECASE)


def _is_a_path(path: str) -> str:
    if "\0" in path:
        raise ValueError("a path holds no NUL character")
    return path


def _is_a_server(address: str) -> str:
    if not (_SERVER.fullmatch(address) and is_address(address) and address.isprintable()):
        raise ValueError("no address of a server, such as https://host/path, without user name, password and query")
    return address


def _fits_a_header(agent: str) -> str:
    if not (agent.isascii() and agent.isprintable()):
        raise ValueError("a user agent is one line of ASCII")
    return agent.strip()


LocalPath = Annotated[str, Field(min_length=1), AfterValidator(_is_a_path)]
ServerAddress = Annotated[str, AfterValidator(_is_a_server)]
UserAgent = Annotated[
    str,
    AfterValidator(_fits_a_header),
    Field(description="Who asks, best with a contact: Name/1.0 (you@example.org)."),
]


class PathSettings(BaseModel):
    """The settings of a source that lies on this machine; to be mixed into its config."""

    path: LocalPath = Field(description="The folder; a relative path is below the project's root.")

    def location(self) -> str:
        """The path as it is written, so that a project may move together with its store."""
        return os.path.normpath(self.path)

    def place(self, root: Path) -> Path:
        """Where the path leads; a relative one is below `root`. Raises SourceError."""
        try:
            return (root / Path(self.path).expanduser()).resolve()
        except (OSError, RuntimeError) as error:  # ~somebody who does not exist, links in a circle
            raise SourceError(f"The path {self.path!r} cannot be found: {error}. Correct it.") from error


class ConversationSettings(PseudonymSettings):
    """The settings of a source of chats that become conversations; to be mixed into its config."""

    silence_minutes: float = Field(
        60,
        gt=0,
        le=7 * 24 * 60,
        allow_inf_nan=False,
        description="A pause of this length ends a conversation, in minutes.",
    )
    maximum_characters: int = Field(
        50_000, ge=1_000, description="A conversation longer than this is cut between two messages, in characters."
    )

    def conversation_identity(self) -> dict[str, Any]:
        """What of these settings changes documents. Raises SourceError when the secret for names is not there."""
        limits = {"silence_minutes": self.silence_minutes, "maximum_characters": self.maximum_characters}
        return limits | self.pseudonym_identity()
