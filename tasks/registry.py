"""The stages: their order, their versions, and the libraries that bear on their bytes.

A version is raised by hand when the meaning of a stage changes; golden tests pin what the stages write (of the report
only that it cites what it shows), so that nobody changes the one without the other.
"""

import platform
import unicodedata
from importlib.metadata import version
from typing import Any, Literal, get_args

from data.manifest import Identity

Stage = Literal[
    "raw",
    "documents",
    "duplicates",
    "corpus",
    "overlap",
    "tokenizer",
    "tokens",
    "plan",
    "model",
    "evaluation",
    "samples",
    "report",
]
STAGES: tuple[Stage, ...] = get_args(Stage)

VERSIONS: dict[Stage, int] = {
    "raw": 1,
    "documents": 1,
    "duplicates": 1,
    "corpus": 1,
    "overlap": 1,
    "tokenizer": 1,
    "tokens": 1,
    "plan": 2,
    "model": 1,
    "evaluation": 1,
    "samples": 1,
    "report": 5,
}


def identity(stage: Stage, config: dict[str, Any], inputs: dict[str, str | list[str]]) -> Identity:
    """The identity of one unit of a stage, with the stage's version and libraries filled in."""
    return Identity(stage, VERSIONS[stage], config, inputs, _libraries(stage))


def _libraries(stage: Stage) -> dict[str, str]:
    if stage == "documents":
        return {"unicode": unicodedata.unidata_version}
    if stage == "tokenizer":
        return {"tokenizers": version("tokenizers"), "tiktoken": version("tiktoken")}
    if stage in ("model", "evaluation", "samples"):
        return {"torch": version("torch"), "machine": platform.machine()}
    return {}
