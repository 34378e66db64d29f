"""All kinds of sources. A new kind is one more line in `AnySource`."""

from typing import Annotated

from pydantic import Field

from data.sources.folder import FolderConfig
from data.sources.python_docs import PythonDocsConfig

AnySource = Annotated[PythonDocsConfig | FolderConfig, Field(discriminator="kind")]
