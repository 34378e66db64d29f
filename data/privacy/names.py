"""People's names in texts replaced by a placeholder, where a spaCy pipeline finds them.

What a name is, the pipeline says; here texts are cut to what it takes, and what is nobody's name stays: placeholders,
and, in what people wrote to each other, the names that our sources made for authors.
"""

import re
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from data import ending
from data.privacy.config import NAME_PLACEHOLDER, PLACEHOLDERS
from data.privacy.pipelines import HINT, Pipeline, UnusablePipelineError, find_pipeline
from data.privacy.replacing import OVERLAY
from data.privacy.spans import Span
from data.sources.chats.pseudonyms import MADE_NAME

_PIECE = 20_000  # characters given to spaCy as one text: memory goes with it, and a recogniser sees a few words around
_AT_ONCE = 100_000  # characters in a batch of pieces, after each of which a run that is being stopped is left: seconds
_PLACEHOLDER = re.compile("|".join([*map(re.escape, PLACEHOLDERS.values()), NAME_PLACEHOLDER, "<URL>"]))
_MADE_NAME = re.compile(rf"(?<![\w-])(?:{MADE_NAME.pattern})[0-9]*")
_UNREAD = re.compile(r"[^\w\s]{50,}|[!-~]{500,}")  # no name, and spaCy takes time that grows with the square of it
_POSSESSIVE = re.compile(r"['’]s\Z")
_NAMELESS = " \t\u00a0\"'“”„‘’«»‹›()[]{}<>,;:.!?*_~|/\\#@=+–—-"  # at the ends of an entity, no part of a name

_loading = threading.RLock()  # a loaded pipeline is used by one thread at a time


class _Piece(NamedTuple):
    """A part of one of several texts."""

    text: int
    begin: int
    end: int


class NameReplacer:
    """Replaces what a pipeline gives one of its labels.

    made_names  whether names that look like those of our chat sources are authors' made ones, which stay
    """

    def __init__(self, pipeline: Pipeline, made_names: bool) -> None:
        self._pipeline = pipeline
        self._kept = [_PLACEHOLDER, _MADE_NAME] if made_names else [_PLACEHOLDER]

    def replace(self, texts: Sequence[str]) -> list[tuple[str, int]]:
        """Each text with a placeholder for each name, and how many there were. Raises UnusablePipelineError, and
        EndingError within a batch of pieces, not only of documents, when the run is being ended."""
        replaced = []
        for text, entities in zip(texts, self._entities(texts), strict=True):
            kept = sorted(match.span() for pattern in self._kept for match in pattern.finditer(text))
            parts: list[str] = []
            after = names = 0
            for begin, end in name_spans(text, entities, kept):
                parts += [text[after:begin], NAME_PLACEHOLDER]
                after = end
                names += 1
            replaced.append(("".join(parts) + text[after:], names))
        return replaced

    def _entities(self, texts: Sequence[str]) -> list[list[Span]]:
        """The spans of entities in each text, in order."""
        found: list[list[Span]] = [[] for _ in texts]
        with _loading:
            nlp = _loaded(self._pipeline)
            longest = min(nlp.max_length, _PIECE)
            pieces = (_Piece(i, *span) for i, text in enumerate(texts) for span in _to_read(text, longest))
            for batch in _batches(pieces):
                ending.check()
                with nlp.memory_zone():
                    made = nlp.pipe([texts[one.text][one.begin : one.end] for one in batch], batch_size=len(batch))
                    for piece, document in zip(batch, made, strict=True):
                        found[piece.text] += [
                            (piece.begin + entity.start_char, piece.begin + entity.end_char)
                            for entity in document.ents
                            if entity.label_ in self._pipeline.labels
                        ]
        return found


def name_spans(text: str, entities: Iterable[Span], kept: Sequence[Span]) -> Iterator[Span]:
    """What of entities is to be replaced, each part in its line: without what is `kept` and without punctuation.

    Both are in order, and no two spans of one overlap.
    """
    first = 0
    for entity_begin, entity_end in entities:
        while first < len(kept) and kept[first][1] <= entity_begin:
            first += 1
        borders = [entity_begin]
        for begin, end in kept[first:]:
            if begin >= entity_end:
                break
            borders += [max(begin, entity_begin), min(end, entity_end)]
        borders.append(entity_end)
        for begin, end in zip(borders[::2], borders[1::2], strict=True):
            for line in re.compile(r"[^\n]+").finditer(text, begin, end):
                yield from _trimmed(text, *line.span())


def _trimmed(text: str, begin: int, end: int) -> Iterator[Span]:
    """The span without punctuation at its ends, if that leaves a letter."""
    inside = text[begin:end]
    begin += len(inside) - len(inside.lstrip(_NAMELESS))
    inside = _POSSESSIVE.sub("", inside.strip(_NAMELESS))
    if any(character.isalpha() for character in inside):
        end = begin + len(inside)
        while text.startswith(OVERLAY, end):
            end += 1
        yield begin, end


def _to_read(text: str, longest: int) -> Iterator[Span]:
    """Spans for spaCy: the text without rulings and the like, cut to `longest` characters."""
    after = 0
    for begin, end in [*(match.span() for match in _UNREAD.finditer(text)), (len(text), len(text))]:
        for span in cut_lines(text[after:begin], longest):
            yield after + span[0], after + span[1]
        after = end


def cut_lines(text: str, longest: int) -> Iterator[Span]:
    """Spans of at most `longest` characters that together are the text.

    They end behind a blank line; where there is none, behind a line, a space, or just somewhere.
    """
    begin = 0
    while len(text) - begin > longest:
        end = begin + longest
        for mark in ("\n\n", "\n", " "):
            at = text.rfind(mark, begin, end)
            if at >= 0:
                end = at + len(mark)
                break
        yield begin, end
        begin = end
    if begin < len(text):
        yield begin, len(text)


def _batches(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    batch: list[_Piece] = []
    characters = 0
    for piece in pieces:
        batch.append(piece)
        characters += piece.end - piece.begin
        if characters >= _AT_ONCE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


@lru_cache(maxsize=1)
def _loaded(pipeline: Pipeline) -> Any:
    """spaCy's object for a pipeline, once per process, which must have the very one that the run began with."""
    try:
        import spacy
    except ImportError:
        raise UnusablePipelineError(f"{HINT[0].upper()}{HINT[1:]}.") from None
    here = find_pipeline(pipeline.source, pipeline.labels, Path("/"))
    if here != pipeline:
        changes = [(name, getattr(pipeline, name), value) for name, value in vars(here).items()]
        told = ", ".join(f"{name} was {then} and is {now}" for name, then, now in changes if then != now)
        raise UnusablePipelineError(
            f"The spaCy pipeline {pipeline.source} (cleaning.names) is not the one that this run began with: {told}. "
            "Have the same on every machine, and run again."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pipeline made for another version, whose failure is told below
            return spacy.load(pipeline.source, exclude=list(pipeline.exclude))
    except Exception as error:  # whatever its components make of files or of a version that they do not know
        raise UnusablePipelineError(
            f"spaCy {pipeline.spacy} cannot load the pipeline {pipeline.source} (cleaning.names: {pipeline.name} "
            f"{pipeline.version}): {type(error).__name__}: {' '.join(str(error).split())[:300]}. Install one made for "
            "this version: .venv/bin/python -m spacy download NAME."
        ) from error
