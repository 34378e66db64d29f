"""FineWeb's rules of quality: does a text read like running prose.

Source: Penedo et al. 2024, "The FineWeb Datasets: Decanting the Web for the Finest Text Data at Scale", section 3.6, in
the reading of datatrove 0.10 (FineWebQualityFilter), whose order of rules this is. Lines of white space alone do not
count.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from data.quality.columns import STOP, Spans, Texts
from data.quality.gopher import share
from data.quality.verdicts import Verdict, above, below

Share = Annotated[float, Field(ge=0, le=1)]


class FineWebRules(BaseModel):
    """FineWeb's rules of quality (Penedo et al. 2024). A rule that is null is off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_punctuated_lines: Share | None = Field(
        0.12, description="Least share of lines that end in a mark that ends sentences."
    )
    max_short_lines: Share | None = Field(0.67, description="Greatest share of lines that are short.")
    short_line: int = Field(30, ge=0, description="Longest line that is short, in characters.")
    max_duplicate_line_characters: Share | None = Field(
        0.01, description="Greatest share of characters in lines that came before, line feeds left out."
    )
    max_line_feeds_per_word: float | None = Field(0.3, ge=0, description="Most line feeds per word.")


def broken_fineweb_rules(texts: Texts, words: Spans, rules: FineWebRules) -> Iterator[Verdict]:
    """Each rule that is on, in order, with the documents that break it. A share of nothing is 0."""
    filled = texts.first_visible(texts.lines) < texts.lines.ends
    lines = texts.lines.chosen(filled)
    if rules.min_punctuated_lines is not None:
        punctuated = lines.total((texts.flags[lines.ends - 1] & STOP) != 0)
        yield below("min_punctuated_lines", share(punctuated, lines.counts), rules.min_punctuated_lines)
    if rules.max_short_lines is not None:
        short = lines.total(lines.lengths <= rules.short_line)
        yield above("max_short_lines", share(short, lines.counts), rules.max_short_lines)
    feeds = texts.count(texts.find("\n"))
    if rules.max_duplicate_line_characters is not None:
        again = lines.total(lines.lengths * texts.repeated_lines[filled])
        repeated = share(again, texts.lengths - feeds)
        yield above("max_duplicate_line_characters", repeated, rules.max_duplicate_line_characters)
    if rules.max_line_feeds_per_word is not None:
        yield above("max_line_feeds_per_word", share(feeds, words.counts), rules.max_line_feeds_per_word)
