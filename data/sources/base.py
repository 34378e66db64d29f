"""What every source of text has in common: its settings, what a look at it finds, and how it is fetched and read.

A source answers three questions, in this order. `look`: what is there, cheaply, as items with fingerprints. `fetch`:
bring these items of one slot, as they are. `read`: which documents do the fetched bytes hold. Which item belongs to
which slot is decided between the first two, by data/ledger.py; where slots are kept is no source's matter either.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from data.errors import TextmillError
from data.facts import Facts, Progress, no_progress


class SourceError(TextmillError):
    """A source that cannot be used as it is configured, or that yields nothing."""


@contextmanager
def of_source(name: str) -> Iterator[None]:
    """SourceErrors in this context begin with the source's name as settings have it."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"sources.{name}: {error}") from error


@dataclass(frozen=True)
class Item:
    """One thing that a source can fetch: a file, a page, a month of a channel, a row group.

    native_id    the source's own name for it, unique in the source and stable over time; encodable as UTF-8
    fingerprint  changes whenever the content does: sha256 of it, or upstream's mark (ETag, revision)
    size         bytes, as they will lie in the slot; an estimate where upstream does not tell
    url          where a reader finds it, if anywhere
    created      when its content was written, ISO 8601, if known
    meta         JSON-able facts that every document read from it shall carry
    """

    native_id: str
    fingerprint: str
    size: int
    url: str | None = None
    created: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SlotItem(Item):
    """An item with its place in a slot. `look` is the number of the look that first saw it, from 1."""

    look: int = 0


@dataclass(frozen=True)
class Problem:
    """Something that could not be used; the rest goes on without it.

    what   reason in one word, fit to be counted: "binary", "undecodable", "unreadable"
    where  native id, or the place looked at
    why    one sentence, without where
    count  how many things of this place it stands for
    """

    what: str
    where: str
    why: str
    count: int = 1

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {self.why}"


@dataclass(frozen=True)
class Look:
    """What a source holds now.

    items     sorted by native id, no id twice
    problems  what is there, but cannot be used
    complete  whether the listing is complete, so that an item that is not in it is gone
    memo      JSON-able; handed to the next look at the same source on the same machine it saves that look time, and
              lets it doubt that much is suddenly gone; else the result is the same without it. It enters no key.
    """

    items: tuple[Item, ...]
    problems: tuple[Problem, ...] = ()
    complete: bool = True
    memo: Any = None


@dataclass(frozen=True)
class RawDocument:
    """One document as its source has it, before any cleaning.

    native_id  unique in the source and stable while the source grows
    licence    of this document, where it differs from the source's
    meta       JSON-able; holds at least `look`, the number of the look that first saw its item
    position   JSON-able: where in the raw slot it was found
    """

    native_id: str
    text: str
    authors: Sequence[str] = ()
    url: str | None = None
    created: str | None = None
    licence: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    position: Any = None


Note = Callable[[str], None]
"""Called with one sentence that the report must show."""


def no_note(sentence: str) -> None:
    """The note taker of somebody who does not listen."""


class SourceConfig(BaseModel, ABC):
    """Settings of a source, and what can be done with it. Each kind is a subclass with its own `kind`.

    Only what `identity` and `reading_identity` return enters keys. `enabled`, `max_bytes` and the two of mixing,
    `weight` and `max_epochs`, act on what the slots of a source are used for, never on the slots; name and licence
    enter the key of the documents stage, whose rows carry them.

    `personal` says whether a kind is of what people wrote to each other, so that personal data in it are replaced by
    default. `needs`, `rights` and `example` (a source as it stands in a recipe) are what `textmill sources` tells of
    a kind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    personal: ClassVar[bool] = False
    needs: ClassVar[str] = "nothing"
    rights: ClassVar[str] = "yours to know: set `licence`"
    example: ClassVar[Mapping[str, Any]] = {}

    kind: str
    name: str = Field("", max_length=200, description="What the source is called in the recipe; its key if left empty.")
    enabled: bool = Field(True, description="false leaves the source out; what was fetched of it stays in the store.")
    weight: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="Share of the training batches, relative to the other sources'."
    )
    max_epochs: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="How often its training text may be repeated in one training run, at most; its share is lowered "
        "to keep that. null: as often as its weight asks.",
    )
    max_bytes: int | None = Field(
        None,
        ge=1,
        description="Fetch and use no more than this of the source, in bytes of its items as they come, in the order "
        "in which they were first seen; at least one item. null: all of it.",
    )
    licence: str = Field(
        "unknown", min_length=1, description="Licence of the text, as an SPDX identifier where it has one."
    )
    mirror: bool = Field(
        True,
        description="Whether what is gone at the source is dropped here, too; applies where the source's listing is "
        "complete. false keeps what was fetched once.",
    )
    slot_bytes: int = Field(
        64_000_000,
        ge=1,
        description="Size at which a slot is closed and the next one opened, in bytes; acts on new items only, what "
        "has a slot keeps it.",
    )

    def reaches_network(self) -> bool:
        """Whether a look or a fetch leaves this machine, so that a run that is offline must do without."""
        return False

    @abstractmethod
    def location(self) -> str:
        """What the source is a source of. With `kind` it says whose ledger is whose."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """JSON-able settings that change which bytes an item is fetched as; no path, weight, name or licence."""

    @abstractmethod
    def reading_identity(self) -> dict[str, Any]:
        """JSON-able settings that change which documents a fetched slot is read as."""

    @abstractmethod
    def look(self, root: Path, memo: Any = None) -> Look:
        """See what is there now. Relative paths are below `root`; `memo` is that of an earlier look, or None.

        Raises SourceError when there is nothing to fetch at all.
        """

    @abstractmethod
    def fetch(
        self,
        items: Sequence[SlotItem],
        root: Path,
        out: Path,
        work: Path,
        progress: Progress = no_progress,
        earlier: Sequence[Path] = (),
    ) -> Facts:
        """Bring the items of one slot into `out`, in their order, in the layout of data/sources/pack.py.

        work      keeps what a killed fetch has got so far
        progress  gets (bytes done, bytes in all, "bytes")
        earlier   folders of slots fetched before; an item with the same id and fingerprint may be taken from there

        Raises SourceError when an item is gone or is no longer what the look saw.
        """

    @abstractmethod
    def read(self, raw: Path, note: Note = no_note) -> Iterator[RawDocument | Problem]:
        """The documents of a fetched slot, in slot order; a Problem stands for one that cannot be read.

        Holds one document and a few buffers in memory. `note` gets the warnings about documents that were read.
        """
