"""Who is meant when an author of chats is to be forgotten, and when that cannot be told: then nothing is forgotten."""

from collections.abc import Mapping, Sequence
from typing import Any

from data.errors import TextmillError
from data.forgetting.chats import REALMS
from data.forgetting.holdings import Holdings
from data.sources.chats.pseudonyms import MADE_NAME, PseudonymSettings
from data.sources.known import KnownSource


def spelt(author: str, kind: str) -> str:
    """A name as a chat of this kind has it, where case does not tell people apart."""
    return author.removeprefix("u/").lower() if kind == "reddit" else author


def spellings(holdings: Holdings, author: str, secret: str) -> frozenset[str]:
    """The author's name as it is given, and what the chats of the store made of it.

    secret  name of the one that names are made with
    """
    names = {author}
    settings = PseudonymSettings(pseudonym_key=secret)
    of_documents = [held.manifest.recipe.config["reading"] for held in holdings.documents]
    of_sources = [reading for owner in holdings.sources for reading in holdings.readings_of(owner)]
    for kind, digest in {
        (reading["kind"], str(reading["pseudonym_key"]))
        for reading in (*of_documents, *of_sources)
        if reading.get("pseudonym_key") and reading.get("kind") in REALMS
    }:
        names.add(settings.name_if_keyed(spelt(author, kind), REALMS[kind], digest) or author)
    return frozenset(names)


def require_names(source: KnownSource, readings: Sequence[Mapping[str, Any]], author: str | None, secret: str) -> None:
    """Raise TextmillError where nobody can tell what a chat's slot has of an author.

    readings  the settings with which the slot was read. Of documents that may be gone none are asked for: if the secret
              was replaced since, nobody could ever forget anybody again
    author    as given; a made name stands in documents as it is
    secret    name of the one that names are made with
    """
    if source.kind not in REALMS:
        return
    if not readings:
        raise TextmillError(
            f"Nothing was forgotten: {source} has raw slots, but no documents that tell how to read them. Run its "
            "recipe once, then forget again; or name the source that is meant, --source NAME."
        )
    if author is not None and MADE_NAME.fullmatch(author):
        return
    settings = PseudonymSettings(pseudonym_key=secret)
    for reading in readings:
        digest = reading.get("pseudonym_key")
        if digest and settings.names_if_keyed(REALMS[source.kind], str(digest)) is None:
            raise TextmillError(
                f"Nothing was forgotten: the names of authors in {source} were made with a secret that is not the one "
                f"in {secret}, or {secret} is not set. Set it, or name another, --pseudonym-key SECRET; or give the "
                "name that the corpus has; or name the source that is meant, --source NAME."
            )


def refuse_numbered(source: KnownSource, readings: Sequence[Mapping[str, Any]]) -> None:
    """Raise TextmillError where an author was found in a slot whose documents do not tell who wrote them."""
    if any(reading.get("pseudonyms") == "numbered" for reading in readings):
        raise TextmillError(
            f"Nothing was forgotten: that author wrote in {source}, whose documents were made with `pseudonyms: "
            "numbered` and do not tell authors. Name its documents, --document ID, or forget it as a whole, --source "
            "NAME; other sources lose the author with --source NAME --author NAME."
        )
