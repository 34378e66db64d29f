"""Articles of Wikipedia, or of another MediaWiki, by title and by category.

A look costs one request for 50 titles or 500 members of a category; an article is fetched again only when it has a new
revision. What is asked of the wiki, and how politely, is settled in data/sources/wiki/mediawiki.py, which pages are
wanted in listing.py there, what is prose in text.py.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from data.facts import TO_ASK_AGAIN, Facts, Progress, no_progress
from data.sources.base import Item, Look, Note, Problem, RawDocument, SlotItem, SourceConfig, SourceError, no_note
from data.sources.pack import EarlierPacks, PackReader, PackWriter, read_items
from data.sources.settings import LocalPath, ServerAddress, UserAgent
from data.sources.wiki.languages import category_title, disambiguation_categories, sections_without_prose
from data.sources.wiki.pages import UNANSWERED, read_page
from data.sources.wiki.text import article_text, section_key

if TYPE_CHECKING:
    from data.sources.wiki.mediawiki import MediaWiki

_CONTACT = re.compile(r"\S@\S+\.\S|https?://\S+\.\S")
_NO_CONTACT = re.compile(r"@example\.|//(?:www\.)?example\.")
_NEEDS_AGENT = (
    "Wikimedia wants to know who asks and how to reach them. Set its `user_agent` to the name of your project and an "
    "address of yours, as in: MyTexts/1.0 (me@my-domain.org)."
)
_WIKITEXT_PER_EXTRACT = 3  # bytes of wikitext that give about one byte of extract
_MAX_NAMED = 20  # pages named in one note


class WikipediaConfig(SourceConfig):
    """Articles of a Wikipedia by title and by category, as plain text; only new and changed ones are fetched again."""

    needs: ClassVar[str] = "network; `user_agent` with a contact; `titles`, `titles_file` or `categories`"
    rights: ClassVar[str] = "CC BY-SA 4.0: name the articles (title and url are kept), share alike"
    example: ClassVar[Mapping[str, Any]] = {
        "kind": "wikipedia",
        "titles": ["Printing press", "Paper"],
        "categories": ["Watermills"],
        "depth": 1,
    }

    kind: Literal["wikipedia"] = "wikipedia"
    language: str = Field(
        "en",
        pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
        max_length=32,
        description="Which Wikipedia: the first part of its address, as in en, de, simple, zh-yue.",
    )
    titles: tuple[str, ...] = Field((), description="Titles of articles.")
    titles_file: LocalPath | None = Field(
        None,
        description="A file with one title a line, in UTF-8; lines that begin with # are passed over. A relative path "
        "is below the project's root.",
    )
    categories: tuple[str, ...] = Field((), description="Categories whose articles are wanted, with or without prefix.")
    depth: int = Field(
        0, ge=0, le=20, description="How many levels of categories below those of `categories` are gone through, too."
    )
    user_agent: UserAgent = Field(
        "",
        max_length=500,
        description="Who asks, and how to reach them, as Wikimedia's policy demands: MyTexts/1.0 (me@my-domain.org). "
        "Required; there is no default.",
    )
    requests_per_second: float = Field(
        2.0, gt=0, le=50, description="Requests per second, at most; there is never more than one at a time."
    )
    endpoint: ServerAddress | None = Field(
        None, description="Address of the api.php of another MediaWiki or a mirror; null: Wikipedia's."
    )
    drop_sections: tuple[str, ...] | None = Field(
        None,
        description="Titles of the sections that are dropped, with all below them; null: references, links, notes and "
        "the like, as they are called in the wiki's language.",
    )
    licence: str = Field("CC-BY-SA-4.0", min_length=1, description="Licence of the text, as an SPDX identifier.")
    slot_bytes: int = Field(
        8_000_000,
        ge=1,
        description="Size at which a slot is closed and the next one opened, in bytes; smaller than for other sources, "
        "since a page takes a request of its own.",
    )

    @field_validator("user_agent")
    @classmethod
    def _has_a_contact(cls, agent: str) -> str:
        if agent and (not _CONTACT.search(agent) or _NO_CONTACT.search(agent)):
            raise ValueError(_NEEDS_AGENT)
        return agent

    def reaches_network(self) -> bool:
        return True

    def location(self) -> str:
        """The wiki and the source's name: titles and categories come and go, and its pages stay where they are."""
        return f"{self._site()} {self.name}".strip()

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "site": self._site(), "request": 1}

    def reading_identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "reader": 1, "language": self.language, "drop_sections": sorted(self._dropped())}

    def look(self, root: Path, memo: Any = None) -> Look:
        """Every page that the titles and categories lead to now, with its newest revision."""
        from data.sources.wiki.listing import Listing, doubt_losses, list_category, list_titles

        titles = [*self.titles, *self._titles_of_file(root)]
        if not titles and not self.categories:
            raise SourceError("A wikipedia source needs `titles`, `titles_file` or `categories`, and has none of them.")
        found = Listing()
        with closing(self._wiki()) as wiki:
            list_titles(wiki, titles, found)
            for category in dict.fromkeys(map(category_title, self.categories)):
                list_category(wiki, category, self.depth, found)
        counts = doubt_losses(found, memo)
        if found.others:
            found.lack("ignored", "categories", f"{found.others} members that are no articles")
        if not found.pages:
            said = "; ".join(map(str, found.problems[:_MAX_NAMED]))
            raise SourceError(f"{self._site()} has none of the pages asked for ({said}). Correct the titles.")
        items = [
            Item(str(page.pageid), str(page.lastrevid), max(500, page.length // _WIKITEXT_PER_EXTRACT))
            for page in found.pages.values()
        ]
        items.sort(key=lambda item: item.native_id)
        return Look(tuple(items), tuple(found.problems), found.complete, counts)

    def fetch(
        self,
        items: Sequence[SlotItem],
        root: Path,
        out: Path,
        work: Path,
        progress: Progress = no_progress,
        earlier: Sequence[Path] = (),
    ) -> Facts:
        """Ask for each page that no earlier slot has in this revision, and keep the answers as they come.

        A page that has been edited since the look comes as it is now, and lies in the slot under the revision that
        came; the next look finds that one and fetches nothing. One that has been deleted, or that the wiki refuses,
        lies there as a note of that; so does one that the wiki failed to give, for which the next run asks again.
        """
        from data.sources.wiki.fetching import fetch_page

        kept = EarlierPacks(earlier)
        marks = disambiguation_categories(self.language)
        asked = 0
        edited, lost, unanswered = list[str](), list[str](), list[str]()
        with closing(self._wiki()) as wiki, PackWriter(out) as pack:
            for done, item in enumerate(items):
                progress(done, len(items), "pages")
                chunks = kept.chunks(item)
                if chunks is None:
                    body, page = fetch_page(wiki, item, marks, work)
                    asked += 1
                    if page.lost:
                        (unanswered if page.lost == UNANSWERED else lost).append(item.native_id)
                        item = replace(item, fingerprint=page.lost)
                    elif str(page.revision) != item.fingerprint:
                        edited.append(page.title)
                        item = replace(item, fingerprint=str(page.revision))
                    chunks = iter([body])
                pack.add(item, chunks, check=False)
        progress(len(items), len(items), "pages")
        notes = [f"edited since the look, and taken as they are now: {_named(edited)}"] if edited else []
        notes += [f"deleted since the look, or refused, by page id: {_named(lost)}"] if lost else []
        notes += [f"not answered for, asked again by the next run, by page id: {_named(unanswered)}"] * bool(unanswered)
        counts: dict[str, int | float] = {"items": pack.items, "bytes": pack.bytes, "fetched": asked}
        return Facts(counts | {TO_ASK_AGAIN: len(unanswered)}, licences=[self.licence], notes=notes)

    def read(self, raw: Path, note: Note = no_note) -> Iterator[RawDocument | Problem]:
        """One document per article; its id is the page's. Disambiguation pages and empty ones are Problems."""
        dropped, marks = self._dropped(), disambiguation_categories(self.language)
        with PackReader(raw) as reader:
            for item in read_items(raw):
                page = read_page(b"".join(reader.chunks(item)), item.native_id, marks)
                text = "" if page.problem else article_text(page.extract, dropped)
                if page.problem or not text:
                    where = f"{item.native_id} {page.title}".rstrip()
                    yield page.problem or Problem("empty", where, "all of its text is in sections that are dropped")
                    continue
                meta = {
                    "look": item.look,
                    "title": page.title,
                    "page_id": int(item.native_id),
                    "language": self.language,
                }
                if page.revision:
                    meta["revision"] = page.revision
                yield RawDocument(
                    item.native_id,
                    text,
                    url=page.url,
                    created=page.timestamp,
                    meta={**item.meta, **meta},
                    position={"offset": item.offset},
                )

    def _site(self) -> str:
        return self.endpoint or f"{self.language}.wikipedia.org"

    def _dropped(self) -> frozenset[str]:
        titles = sections_without_prose(self.language) if self.drop_sections is None else self.drop_sections
        return frozenset(map(section_key, titles))

    def _wiki(self) -> "MediaWiki":
        if not self.user_agent:
            raise SourceError(_NEEDS_AGENT)
        from data.sources.wiki.mediawiki import MediaWiki

        return MediaWiki(self.language, self.endpoint, self.user_agent, self.requests_per_second)

    def _titles_of_file(self, root: Path) -> list[str]:
        if self.titles_file is None:
            return []
        try:
            lines = (root / Path(self.titles_file).expanduser()).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError, RuntimeError) as error:  # ~somebody who does not exist
            why = f"cannot be read: {error}. Give a file in UTF-8."
            raise SourceError(f"{self.titles_file} (titles_file) {why}") from error
        return [line for line in lines if line.strip() and not line.startswith("#")]


def _named(titles: Sequence[str]) -> str:
    more = f" and {len(titles) - _MAX_NAMED} more" if len(titles) > _MAX_NAMED else ""
    return f"{len(titles)}: {', '.join(titles[:_MAX_NAMED])}{more}"
