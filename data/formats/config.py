"""The settings that sources of files share: how what is in the files becomes documents."""

import importlib.metadata
from functools import cache
from typing import Any

from pydantic import Field, field_validator

from data.formats.base import Reading
from data.formats.charsets import canonical
from data.sources.base import SourceConfig

_LIBRARIES = ("charset-normalizer", "ftfy", "trafilatura", "lxml", "pypdf", "python-docx")  # what they give may change


class FilesConfig(SourceConfig):
    """A source of files; its subclasses say where they are."""

    text_field: str | None = Field(
        None, min_length=1, description="Field of a table or of JSON that holds the text; null: text, content or body."
    )
    id_field: str | None = Field(
        None,
        min_length=1,
        description="Field that holds the id of a row; a row that repeats one of its file has its number after it. "
        "null: the row's number in its file.",
    )
    fallback_encoding: str | None = Field(
        None,
        description="Encoding of files that are no UTF-8, have no byte order mark and declare none, by Python's name "
        "for it; null: find out, and tell.",
    )
    delimiter: str | None = Field(
        None,
        min_length=1,
        description="A line that equals this separates documents in one text file, e.g. <|endoftext|>; null: one per "
        "file.",
    )
    repair_mojibake: bool = Field(
        True, description="Whether text that was decoded wrongly before it came here is repaired (ftfy), and counted."
    )

    @field_validator("fallback_encoding")
    @classmethod
    def _is_an_encoding(cls, name: str | None) -> str | None:
        """The canonical name, so that two names of one encoding make one key."""
        if name is None:
            return None
        found = canonical(name)
        if found is None:
            raise ValueError(f"Python knows no text encoding {name!r}; try cp1252, iso8859-1, cp1251, shift_jis")
        return found

    @field_validator("delimiter")
    @classmethod
    def _is_a_line(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and (delimiter.strip() != delimiter or len(delimiter.splitlines()) != 1):
            raise ValueError("a delimiter is one line without white space at its ends")
        return delimiter

    def reading(self) -> Reading:
        """The settings as the readers take them."""
        return Reading(self.text_field, self.id_field, self.fallback_encoding, self.delimiter, self.repair_mojibake)

    def files_reading_identity(self) -> dict[str, Any]:
        """What of these settings, and of the libraries that obey them, changes which documents files are read as."""
        return {
            "text_field": self.text_field,
            "id_field": self.id_field,
            "fallback_encoding": self.fallback_encoding,
            "delimiter": self.delimiter,
            "repair_mojibake": self.repair_mojibake,
            "libraries": {name: _version(name) for name in _LIBRARIES},
        }


@cache
def _version(library: str) -> str | None:
    """Its version; None when it is not installed, so that what it could not read is read again once it is."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
