"""Files at addresses: on web servers, on this machine, in object storage; whatever data/formats reads, each one item.

How they are asked for and brought here is known to addresses.py and data/web.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data.facts import Facts, Progress, no_progress
from data.formats.base import Tally
from data.formats.config import FilesConfig
from data.formats.kinds import charset_of, kind_of
from data.formats.reading import packed_file, read_file
from data.sources.addresses import Places, name_in, what_is_wrong
from data.sources.base import Item, Look, Note, Problem, RawDocument, SlotItem, SourceError, no_note
from data.sources.pack import PackReader, read_items
from data.sources.remote_items import fetch_items, fingerprint, is_sure, size_of
from data.sources.secrets import secret
from data.sources.settings import UserAgent
from data.web.client import Remote, Web
from data.web.errors import NotThereError

_MAX_NAMED = 20
_PACKED = {"gzip": ".gz", "x-gzip": ".gz", "zstd": ".zst"}  # by Content-Encoding


class Address(BaseModel):
    """An address, and what must lie there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="http://, https://, file:// or s3:// (with s3fs installed).")
    sha256: str | None = Field(None, description="Checksum that the file must have; then it is looked at only once.")

    @field_validator("sha256")
    @classmethod
    def _is_a_digest(cls, digest: str | None) -> str | None:
        if digest is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise ValueError("a sha256 is 64 hexadecimal digits")
        return digest and digest.lower()


class UrlConfig(FilesConfig):
    """Files at addresses: text, tables, pages, books, archives, web archives; also compressed."""

    needs: ClassVar[str] = "network; s3fs for s3:// addresses"
    example: ClassVar[Mapping[str, Any]] = {
        "kind": "url",
        "urls": ["https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"],
    }

    kind: Literal["url"] = "url"
    urls: tuple[str | Address, ...] = Field(
        min_length=1, description="Addresses, each a text or {url: ..., sha256: ...}; those not listed any more go."
    )
    format: str | None = Field(
        None,
        pattern=r"^\.[A-Za-z0-9.]+$",
        description="What the files are, e.g. .jsonl.gz; null: by name or type.",
    )
    authorization_secret: str | None = Field(
        None, min_length=1, description="Name of a secret sent as the header Authorization to the addresses' hosts."
    )
    requests_per_second: float = Field(4.0, gt=0, le=100, description="To one host.")
    parallel: int = Field(4, ge=1, le=32, description="Requests to one host at once.")
    user_agent: UserAgent = Field("Textmill/0.1", min_length=5)

    @model_validator(mode="after")
    def _are_addresses(self) -> "UrlConfig":
        known: set[str] = set()
        for address in self.addresses():
            if wrong := what_is_wrong(address.url):
                raise ValueError(f"urls: {wrong}")
            if address.url in known:
                raise ValueError(f"urls: {address.url} is listed twice")
            known.add(address.url)
        if self.format is not None and kind_of(f"file{self.format}") is None:
            raise ValueError(f"format: {self.format} is no kind of file that is read; try .txt, .jsonl.gz, .warc")
        return self

    def addresses(self) -> list[Address]:
        """The addresses, each with its checksum if it has one."""
        return [Address(url=one, sha256=None) if isinstance(one, str) else one for one in self.urls]

    def reaches_network(self) -> bool:
        return any(urlsplit(address.url).scheme != "file" for address in self.addresses())

    def location(self) -> str:
        """The source's name, for its list of addresses may grow; without one the addresses."""
        return self.name or " ".join(sorted(address.url for address in self.addresses()))

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def reading_identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "reader": 3, "format": self.format, **self.files_reading_identity()}

    def look(self, root: Path, memo: Any = None) -> Look:
        """One item per address, by one small request each; with a memo none for those that have a checksum."""
        known = memo if isinstance(memo, dict) else {}
        addresses = self.addresses()
        with self._web() as web, ThreadPoolExecutor(self.parallel) as pool:
            places = Places(web, self._headers(), known.get("files"))
            found = list(pool.map(partial(_look_at, places, _pinned(known)), addresses))
        items: list[Item] = []
        problems: list[Problem] = []
        complete = True
        pinned: dict[str, Any] = {}
        for address, remote in zip(addresses, found, strict=True):
            if isinstance(remote, SourceError):
                gone = isinstance(remote, NotThereError)
                complete = complete and gone
                problems.append(Problem("missing" if gone else "unreachable", address.url, _why(remote)))
                continue
            item = self._item(address, remote)
            mark = Problem("unmarked", address.url, "its server tells neither ETag nor date: a change may go unnoticed")
            problems += [] if is_sure(item.fingerprint) else [mark]
            items.append(item)
            if address.sha256:
                pinned[address.url] = [address.sha256, remote.size, remote.content_type, remote.content_encoding]
        if not items:
            said = "; ".join(str(problem) for problem in problems[:_MAX_NAMED])
            raise SourceError(f"Nothing is there at any of the {len(addresses)} addresses: {said}")
        items.sort(key=lambda item: item.native_id)
        problems.sort(key=lambda problem: problem.where)
        return Look(tuple(items), tuple(problems), complete, {"files": places.memo, "pinned": pinned})

    def _item(self, address: Address, remote: Remote) -> Item:
        """The item, with what its address alone does not tell about how to read it."""
        name = name_in(address.url)
        meta = {}
        coding = _PACKED.get((remote.content_encoding or "").strip().lower())
        if coding and not name.lower().endswith(coding):
            meta["packed"] = coding
        if remote.content_type and (kind_of(name) is None or charset_of(remote.content_type)):
            meta["content_type"] = remote.content_type
        mark = fingerprint(remote, address.sha256)
        return Item(address.url, mark, size_of(remote), address.url, meta=meta)

    def fetch(
        self,
        items: Sequence[SlotItem],
        root: Path,
        out: Path,
        work: Path,
        progress: Progress = no_progress,
        earlier: Sequence[Path] = (),
    ) -> Facts:
        """Bring the files as they are."""
        with self._web() as web:
            places = Places(web, self._headers())
            facts = fetch_items(places.bring, items, out, work, progress, earlier, self.parallel)
        facts.licences = [self.licence]
        return facts

    def read(self, raw: Path, note: Note = no_note) -> Iterator[RawDocument | Problem]:
        """The documents of each file; ids begin with the address, what follows is the reader's matter."""
        tally, reading = Tally(), self.reading()
        with PackReader(raw) as reader:
            for item in read_items(raw):
                name = name_in(item.native_id)
                packed = item.meta.get("packed", "")
                content_type = item.meta.get("content_type")
                if self.format is not None:
                    name, packed = f"file{self.format}", ""
                elif packed and kind_of(name) is None:
                    name = f"file{_ending_of(content_type)}"
                yield from read_file(packed_file(reader, item, name + packed, content_type), reading, tally)
        tally.tell(note, reading.fallback_encoding)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": secret(self.authorization_secret)} if self.authorization_secret else {}

    def _web(self) -> Web:
        return Web(self.user_agent, self.requests_per_second, self.parallel)


def _pinned(memo: Mapping[str, Any]) -> dict[str, Remote]:
    """What a memo knows of addresses with a checksum, by both, since such a file never changes."""
    entries = memo.get("pinned")
    found = {}
    for url, entry in entries.items() if isinstance(entries, dict) else ():
        if not (isinstance(entry, list) and len(entry) == 4 and isinstance(entry[0], str)):
            continue
        sha256, size, content_type, coding = entry
        texts = all(one is None or isinstance(one, str) for one in (content_type, coding))
        if texts and (size is None or isinstance(size, int)):
            found[f"{sha256} {url}"] = Remote(url, size, None, None, False, content_type, coding)
    return found


def _look_at(places: Places, pinned: Mapping[str, Remote], address: Address) -> Remote | SourceError:
    known = pinned.get(f"{address.sha256} {address.url}")
    if known is not None:
        return known
    try:
        return places.look(address.url)
    except SourceError as error:
        return error


def _why(error: SourceError) -> str:
    return str(error).partition(": ")[2] or str(error)


def _ending_of(content_type: str | None) -> str:
    """A file ending for a declared type, so that a compression can be put behind it."""
    endings = {"text": ".txt", "html": ".html", "lines": ".jsonl"}
    kind = kind_of("", content_type)
    return endings.get(kind.reader, f".{kind.reader}") if kind else ""
