"""A dataset on the Hugging Face hub: Parquet, JSON lines or CSV, by id, config, revision, split and columns.

This module ties together what data/sources/hub/looking.py finds, items.py cuts, fetching.py brings, reading.py and
row_documents.py read; client.py talks to the hub. A look asks for the commit first: as long as it is the one of the
look before, nothing else is asked for. Items carry the commit that last touched their file, and are served from it.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from data.facts import Facts, Progress, no_progress
from data.formats.base import Tally
from data.formats.ids import UniqueIds
from data.sources.base import Look, Note, Problem, RawDocument, SlotItem, SourceConfig, SourceError, no_note
from data.sources.hub.client import PUBLIC_HUB, Hub
from data.sources.hub.fetching import fetch_items
from data.sources.hub.files import Wanted, kind_of
from data.sources.hub.items import PART, Footers, Plan, Route, list_items
from data.sources.hub.looking import new_selection, peek, remember, remembered_selection
from data.sources.hub.reading import item_rows
from data.sources.hub.row_documents import Origin, documents, joined_documents
from data.sources.hub.rows import Fields
from data.sources.pack import CONTENT_FILE, PackReader, PackWriter, read_items
from data.sources.secrets import secret
from data.sources.settings import ServerAddress

_MAX_NAMED = 20
_TAKEN = "its texts were taken from self-published books, most of them under copyright; using them is at your own risk"
_WARNINGS = {"bookcorpus/bookcorpus": _TAKEN, "bookcorpus": _TAKEN}


class HuggingFaceConfig(SourceConfig):
    """Rows of a dataset on the Hugging Face hub, in Parquet, JSON lines (also compressed) or CSV."""

    needs: ClassVar[str] = "the network; for private and gated datasets a token in the secret HF_TOKEN"
    rights: ClassVar[str] = "the dataset's card states its licence, which often covers the packaging only"
    example: ClassVar[Mapping[str, Any]] = {
        "kind": "huggingface",
        "id": "HuggingFaceFW/fineweb",
        "config": "sample-10BT",
        "id_field": "id",
        "url_field": "url",
        "date_field": "date",
        "max_bytes": 500_000_000,
        "licence": "ODC-By-1.0",
    }

    kind: Literal["huggingface"] = "huggingface"
    id: str = Field(
        pattern=r"^[\w.-]+(/[\w.-]+)?$", description="Name of the dataset on the hub, e.g. HuggingFaceFW/fineweb."
    )
    config: str | None = Field(
        None,
        min_length=1,
        description="Part of the dataset, by the name that its card gives it, else a folder. null: the default one.",
    )
    revision: str = Field(
        "main",
        min_length=1,
        description="Branch, tag or commit. Each look pins a branch to the commit it then stands for. Where main holds "
        "only a loading script, the hub's own Parquet copy is taken, the branch refs/convert/parquet.",
    )
    split: str = Field("train", min_length=1, description="Which split of the config.")
    files: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description='Patterns of the files to read, e.g. ["sample/10BT/*.parquet"]; they replace config and split. '
        "* stays inside a folder, ** does not.",
    )
    text_field: str = Field("text", min_length=1, description="Column that holds the text.")
    id_field: str | None = Field(
        None,
        min_length=1,
        description="Column that names a row, unique in the dataset; it stays the same when files are cut anew. A row "
        "that repeats the id of an earlier one of its slot has file and number after it, which is told. null: file and "
        "number of the row.",
    )
    url_field: str | None = Field(None, min_length=1, description="Column with the address of the text, if any.")
    date_field: str | None = Field(
        None, min_length=1, description="Column with the date of the text, a time stamp or ISO 8601, if any."
    )
    join_rows: int | None = Field(
        None,
        ge=2,
        le=100_000,
        description="Join runs of so many consecutive rows into one document, for datasets whose rows are sentences; "
        "in their order, never across the parts that large files are cut into. null: each row is a document.",
    )
    row_separator: str = Field("\n", description="What stands between joined rows.")
    max_documents: int | None = Field(
        None,
        ge=1,
        description="Take no more rows than this, counted before joining, in the order of files and rows. Acts when "
        "the hub is looked at: row groups beyond are not fetched. Parquet only. null: all of them.",
    )
    route: Route = Field(
        "auto",
        description="file: fetch whole files, all columns, checked against their sha256. ranges: fetch parts of files "
        "and only the columns that are read. auto: files up to slot_bytes whole, larger ones by ranges.",
    )
    endpoint: ServerAddress | None = Field(
        None,
        description="Address of the hub. null: what the environment variable HF_ENDPOINT says, else the public hub.",
    )
    token: str | None = Field(
        None,
        min_length=1,
        description="Name of the secret that holds a token for private and gated datasets. null: HF_TOKEN if there is "
        "such a secret, else none.",
    )
    slot_bytes: int = Field(
        64_000_000,
        ge=1,
        description="Size at which a slot is closed and the next one opened, and about which large files are cut into "
        "parts, in bytes; another size cuts them anew and fetches what changes.",
    )

    @field_validator("config", "split", "revision")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name is not None and (name != name.strip() or not name.isprintable()):
            raise ValueError("a name has no white space at its ends and no control characters")
        return name

    def reaches_network(self) -> bool:
        return True

    def location(self) -> str:
        """The dataset and the part of it, wherever it is served from."""
        return json.dumps([self.id, self.revision, self.config, self.split, self.files])

    def identity(self) -> dict[str, Any]:
        """What else bears on the bytes is in the fingerprints: content, part, columns."""
        return {"kind": self.kind, "id": self.id}

    def reading_identity(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "reader": 2,
            "fields": asdict(self._fields()),
            "join_rows": self.join_rows,
            "row_separator": self.row_separator if self.join_rows else None,
        }

    def look(self, root: Path, memo: Any = None) -> Look:
        """One item per file, or per part of a large one. With a memo and no new commit this asks for the commit only.

        Listing is complete: a file that is gone is gone. Where `max_bytes` or `max_documents` is set, files far beyond
        are left out of it, which is said.
        """
        hub = self._hub()
        asked = [self.location(), self._fields().names()]
        known: dict[str, Any] = memo if isinstance(memo, dict) and memo.get("asked") == asked else {}
        wanted = Wanted(self.config, self.split, self.files)
        selection = remembered_selection(hub, known, self.revision) or new_selection(hub, known, self.revision, wanted)
        footers = Footers(hub, self._fields().names(), known.get("footers"))
        listed = list_items(selection.files, footers, self._plan())
        peeked = peek(hub, selection.files[0], known.get("peeked"), self._fields(), self.id)
        if not listed.items:
            raise SourceError(self._nothing_to_read(listed.problems))
        items = sorted(listed.items, key=lambda item: item.native_id)
        remembered = {
            "asked": asked,
            **remember(selection),
            "footers": footers.entries,
            "peeked": peeked,
        }
        warnings = [Problem("rights", self.id, _WARNINGS[self.id])] if self.id in _WARNINGS else []
        # max_documents chooses among rows at each look; what max_bytes leaves unseen may be in the ledger and stays
        is_capped = self.max_documents is None and any(one.what == "left_out" for one in listed.problems)
        return Look(tuple(items), (*warnings, *selection.problems, *listed.problems), not is_capped, remembered)

    def fetch(
        self,
        items: Sequence[SlotItem],
        root: Path,
        out: Path,
        work: Path,
        progress: Progress = no_progress,
        earlier: Sequence[Path] = (),
    ) -> Facts:
        """Bring files, or parts of them, straight into the slot; no cache of any library keeps a copy."""
        with PackWriter(out) as pack:
            fetched = fetch_items(self._hub(), items, self._fields().names(), pack, work, progress, earlier)
        commits = sorted({str(item.meta["commit"]) for item in items})
        return Facts(
            counts={"items": pack.items, "bytes": pack.bytes, "items_fetched": fetched},
            licences=[self.licence],
            details={"dataset": self.id, "revision": self.revision, "commits": commits},
        )

    def read(self, raw: Path, note: Note = no_note) -> Iterator[RawDocument | Problem]:
        """A document for each row, or run of rows. Its id is the value of `id_field`, else `file#row`, rows from 0.

        In a later part of a JSONL file that was cut, `file@0002#row`, counted from that part's first line. A run is
        called by its first row. Later parts of a document that is too long end in `~2`, `~3`... A row that repeats an
        id of this slot is called `ID;file#row`.
        """
        fields = self._fields()
        ids, tally = UniqueIds(), Tally()
        size = (raw / CONTENT_FILE).stat().st_size if (raw / CONTENT_FILE).exists() else 0
        with PackReader(raw) as reader:
            for item in read_items(raw):
                if item.offset + item.size > size:
                    next(reader.chunks(item), None)  # says so
                part = item.meta[PART]
                meta = {name: value for name, value in item.meta.items() if name != PART} | {"look": item.look}
                is_parquet = kind_of(part["path"]) == ("parquet", None)
                name = part["path"] if is_parquet else item.native_id
                origin = Origin(name, item.url, item.created, meta, item.offset, part.get("rows"))
                found = item_rows(reader, raw, item, fields)
                if self.join_rows:
                    yield from joined_documents(found, fields, origin, self.join_rows, self.row_separator)
                else:
                    yield from documents(found, fields, origin, ids, tally)
        tally.tell(note, None)

    def _fields(self) -> Fields:
        return Fields(self.text_field, self.id_field, self.url_field, self.date_field)

    def _plan(self) -> Plan:
        columns = tuple(self._fields().names())
        return Plan(columns, self.route, self.slot_bytes, self.max_bytes, self.max_documents, self.id)

    def _hub(self) -> Hub:
        endpoint = self.endpoint or os.environ.get("HF_ENDPOINT") or PUBLIC_HUB
        token = None
        if self.token is not None:
            token = secret(self.token)
        elif self.endpoint is None:  # the usual token is for the usual hub, not for whatever host a recipe names
            with suppress(SourceError):
                token = secret("HF_TOKEN")
        return Hub(endpoint, self.id, token)

    def _nothing_to_read(self, problems: Sequence[Problem]) -> str:
        found = "; ".join(str(problem) for problem in problems[:_MAX_NAMED]) or "no file has any rows"
        remedy = "Correct text_field, id_field, url_field and date_field, or choose other files."
        return f"Dataset {self.id} holds nothing that can be read ({found}). {remedy}"
