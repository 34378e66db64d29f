"""The command `duplicates`: which earlier document each dropped copy matched, and the clusters that they form."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer

from data.clusters import Clusters, Links, find_clusters
from data.errors import TextmillError
from data.store import Store
from flows.recipe import RecipeError
from tasks.corpus_browse import documents_by_number, similarity_of
from tasks.corpus_parts import Corpus, find_corpus, read_matches
from tasks.report_page import visible
from tasks.runtime import open_store

SHOWN = 20  # matches, unless --limit says otherwise
EXAMPLES = 3  # dropped documents shown of each cluster
EXCERPT = 300  # characters of a text
_AT_ONCE = 1_000  # matches whose documents are looked up together

Document = dict[str, Any]


def duplicates(
    ref: Annotated[
        str | None,
        typer.Argument(metavar="[REF]", help="A corpus, or documents or duplicates of a slot; else the newest corpus."),
    ] = None,
    texts: Annotated[bool, typer.Option("--texts", help="Also show how both documents of a match begin.")] = False,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Matches shown: 20 if left out, all with --json; 0 for all.")
    ] = None,
    clusters: Annotated[int, typer.Option(metavar="N", help="Clusters shown, the largest first.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each cluster and match.")] = False,
) -> None:
    """Show which earlier document each dropped copy matched, how similar the two are, and clusters of copies."""
    if (limit or 0) < 0 or clusters < 0:
        raise RecipeError("--limit and --clusters are numbers from 0 on.")
    store = open_store()
    corpus = find_corpus(store, ref)
    links = read_matches(store, corpus.parts)
    if links is None:
        raise TextmillError(f"The store has not every drop list of {corpus}: run its recipe again, which makes them.")
    shown = _Shown(store, corpus, links, find_clusters(links), texts)
    most = len(links.dropped) if limit == 0 or (limit is None and as_json) else SHOWN if limit is None else limit
    if as_json:
        for line in (*shown.largest(clusters), *shown.matches(most)):
            print(json.dumps(line, ensure_ascii=False))
    else:
        _print(shown, clusters, most)


@dataclass
class _Shown:
    """What is shown of the copies in the chosen parts of a corpus."""

    store: Store
    corpus: Corpus
    links: Links
    clusters: Clusters
    texts: bool

    def __post_init__(self) -> None:
        self.ours = np.flatnonzero(self.links.among(self.corpus.chosen))

    def largest(self, most: int) -> Iterator[dict[str, Any]]:
        """The largest clusters that have a document of ours, with the kept document and a few copies of it."""
        among = np.isin(self.clusters.kept, self.clusters.of[self.ours])
        for kept, size in zip(self.clusters.kept[among][:most], self.clusters.sizes[among][:most], strict=True):
            copies = np.flatnonzero(self.clusters.of == kept)[:EXAMPLES]
            found = self._documents([int(kept), *self.links.dropped[copies].tolist()])
            examples = [
                found[int(self.links.dropped[at])] | {"similarity": similarity_of(self.links, int(at))} for at in copies
            ]
            yield {"kind": "cluster", "documents": int(size), "kept": found[int(kept)], "copies": examples}

    def matches(self, most: int) -> Iterator[dict[str, Any]]:
        """Every match in the order of the dropped documents; the similarity of equal ones is null."""
        for start in range(0, min(most, len(self.ours)), _AT_ONCE):
            part = self.ours[start : min(most, start + _AT_ONCE)]
            found = self._documents([*self.links.dropped[part].tolist(), *self.links.earlier[part].tolist()])
            for at in part.tolist():
                dropped, earlier = int(self.links.dropped[at]), int(self.links.earlier[at])
                yield {
                    "kind": "match",
                    "dropped": found[dropped],
                    "earlier": found[earlier],
                    "similarity": similarity_of(self.links, at),
                }

    def _documents(self, numbers: Iterable[int]) -> dict[int, Document]:
        """Documents by number; their texts, too, where they are asked for."""
        columns = ["native_id", "source", "url", *(["text"] if self.texts else [])]
        found = documents_by_number(self.store, self.corpus.parts, self.links, numbers, columns)
        return {number: {"id": one.pop("native_id"), **one} for number, one in found.items()}


def _print(shown: _Shown, clusters: int, most: int) -> None:
    links, ours = shown.links, shown.ours
    equal = int(np.isnan(links.similarity[ours]).sum())
    documents = sum(int(shown.corpus.parts[number].documents.counts["documents_out"]) for number in shown.corpus.chosen)
    print(shown.corpus)
    print(
        f"{len(ours):,} of {documents:,} documents are copies of earlier ones: {equal:,} equal but for white space, "
        f"{len(ours) - equal:,} similar."
    )
    if not len(ours):
        return
    largest = list(shown.largest(clusters))
    if largest:
        count = len(shown.clusters.kept)
        print(f"\nClusters in the whole corpus: {count:,}. {sizes_text(shown.clusters.sizes_by_power())}.")
    for cluster in largest:
        print(f"\n  {cluster['documents']:,} documents, of which is kept {_name(cluster['kept'])}")
        _print_text(cluster["kept"], "      ")
        for copy in cluster["copies"]:
            print(f"    {_how(copy['similarity'])}  {_name(copy)}")
            _print_text(copy, "      ")
        if (rest := cluster["documents"] - 1 - len(cluster["copies"])) > 0:
            print(f"    and {rest:,} more")
    if most:
        print("\nMatches: dropped, how similar (estimated), earlier document")
    for match in shown.matches(most):
        print(f"  {_name(match['dropped'])}  {_how(match['similarity'])}  {_name(match['earlier'])}")
        _print_text(match["dropped"], "    - ")
        _print_text(match["earlier"], "    = ")
    if 0 < most < len(ours):
        print(f"  and {len(ours) - most:,} more: --limit 0 shows all")


def sizes_text(sizes: dict[int, int]) -> str:
    """`Of 2 to 3 documents 5, of 4 to 7 documents 1`."""
    parts: Sequence[str] = [f"of {least:,} to {2 * least - 1:,} documents {count:,}" for least, count in sizes.items()]
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def _how(similarity: float | None) -> str:
    return "equal" if similarity is None else f"{similarity:5.3f}"


def _name(document: Document) -> str:
    return f"{visible(document['source'], 60)}: {visible(document['id'], 200)}"


def _print_text(document: Document, indent: str) -> None:
    if "text" in document:
        print(indent + " ".join(visible(document["text"], EXCERPT).split()))
