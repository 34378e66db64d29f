"""All kinds of sources. A new kind is one more line in `AnySource`."""

from typing import Annotated, get_args

from pydantic import Field

from data.sources.base import SourceConfig
from data.sources.folder import FolderConfig
from data.sources.gutenberg import GutenbergConfig
from data.sources.python_docs import PythonDocsConfig

AnySource = Annotated[
    PythonDocsConfig | FolderConfig | GutenbergConfig,
    Field(discriminator="kind"),
]


def source_kinds() -> dict[str, type[SourceConfig]]:
    """The settings class of each kind, by kind."""
    return {one.model_fields["kind"].default: one for one in get_args(get_args(AnySource)[0])}
