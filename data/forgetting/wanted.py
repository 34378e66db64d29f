"""What somebody asks to have forgotten."""

from dataclasses import dataclass

from data.errors import TextmillError


class NotHeldError(TextmillError):
    """The store holds nothing of the kind that is to be forgotten."""


@dataclass(frozen=True)
class Wanted:
    """What shall be forgotten. `names` are all spellings of the author, `author` is the one that was given; `source`
    alone means all of it, else limits."""

    documents: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    url: str | None = None
    source: str | None = None
    author: str | None = None

    @property
    def is_whole_source(self) -> bool:
        return self.source is not None and not (self.documents or self.names or self.url)

    def __str__(self) -> str:
        said = [f"document {one!r}" for one in sorted(self.documents)] + (["that author"] if self.names else [])
        said += [f"url {self.url!r}"] if self.url else []
        return ", ".join(said) or f"source {self.source!r}"
