"""All kinds of sources. A new kind is one more line in `AnySource`."""

from typing import Annotated, get_args

from pydantic import Field

from data.sources.base import SourceConfig
from data.sources.discord import DiscordConfig
from data.sources.discord_api import DiscordApiConfig
from data.sources.folder import FolderConfig
from data.sources.gutenberg import GutenbergConfig
from data.sources.huggingface import HuggingFaceConfig
from data.sources.python_docs import PythonDocsConfig
from data.sources.reddit import RedditConfig
from data.sources.url import UrlConfig
from data.sources.wikipedia import WikipediaConfig

AnySource = Annotated[
    PythonDocsConfig
    | FolderConfig
    | GutenbergConfig
    | HuggingFaceConfig
    | WikipediaConfig
    | DiscordConfig
    | DiscordApiConfig
    | RedditConfig
    | UrlConfig,
    Field(discriminator="kind"),
]


def source_kinds() -> dict[str, type[SourceConfig]]:
    """The settings class of each kind, by kind."""
    return {one.model_fields["kind"].default: one for one in get_args(get_args(AnySource)[0])}
