"""Where the items of a multiple-choice benchmark lie, and where in them context, endings and label stand."""

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PLAIN_CONTEXT = ("ctx",)


class BenchmarkItemsConfig(BaseModel):
    """A multiple-choice benchmark: one JSON object per line, each an item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = Field(
        None,
        min_length=1,
        description="File with one JSON object per line; relative to the project. Without path and url it is the file "
        "of the benchmark of this name in decontamination.benchmarks.",
    )
    url: str | None = Field(None, description="Address of such a file, http:// or https://; needs sha256.")
    sha256: str | None = Field(None, description="Checksum of the file at the address; what else comes is refused.")
    form: Literal["plain", "hellaswag"] = Field(
        "plain",
        description="plain: context, endings and label as their fields have them; hellaswag: an official file, its "
        "text put together and cleaned as lm-evaluation-harness does.",
    )
    context: tuple[str, ...] = Field(
        PLAIN_CONTEXT,
        description="Fields whose texts, joined by spaces, are the context (`question.stem`: in an object); for plain.",
    )
    endings: tuple[str, ...] = Field(
        ("endings",), min_length=1, description="Fields with the endings: one with a list of them, or one for each."
    )
    label: str = Field(
        "label",
        min_length=1,
        description="Field with the number of the right ending, also as text, or a letter from A.",
    )
    first_label: int = Field(0, ge=0, le=1, description="Number of the first ending: 0 or 1.")
    max_items: int | None = Field(
        None, ge=1, description="At most so many items, evenly spread over those that can be used; null: all."
    )

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc):
            raise ValueError("a url begins with http:// or https:// and names a host; a file goes into path")
        return url

    @field_validator("sha256")
    @classmethod
    def _is_a_digest(cls, digest: str | None) -> str | None:
        if digest is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise ValueError("a sha256 is 64 hexadecimal digits")
        return digest and digest.lower()

    @model_validator(mode="after")
    def _agrees(self) -> "BenchmarkItemsConfig":
        if self.path is not None and self.url is not None:
            raise ValueError("path and url are both set: leave one of them out.")
        if self.url is not None and self.sha256 is None:
            raise ValueError("url needs sha256, so that all models are asked the same: `sha256sum FILE` prints it.")
        if self.url is None and self.sha256 is not None:
            raise ValueError("sha256 belongs to a url: leave it out.")
        if self.form == "hellaswag" and self.context != PLAIN_CONTEXT:
            raise ValueError("form hellaswag has its own fields of the context: leave context out, or set form plain.")
        return self
