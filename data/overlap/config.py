"""What is compared with benchmarks, and what becomes of text that they share: settings that change documents."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,60}$")]


class BenchmarkConfig(BaseModel):
    """A benchmark: one JSON object per line, each an item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(min_length=1, description="File with one JSON object per line; relative to the project.")
    fields: list[str] = Field(
        min_length=1,
        description="Where an item's text stands (`choices.text`: in an object). The fields' texts are joined in this "
        "order; where one is a list, once for each of its members, as a question with each answer.",
    )


class DecontaminationConfig(BaseModel):
    """Text of benchmarks is kept out of documents, found by runs of words as in GPT-3 (Brown et al. 2020, appendix C).

    Each field but the paths changes the output, so each is part of the artifact's key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmarks: dict[Name, BenchmarkConfig] = Field(
        min_length=1,
        description="Benchmarks by a name of your choice, by which drops are counted; of each the `path` of a file "
        "with one JSON object per line, and the `fields` that hold text (`choices.text`: within an object), joined in "
        "their order; where one is a list, once with each member.",
    )
    ngram: int = Field(13, ge=2, le=100, description="Words in a run that a document must not share with a benchmark.")
    min_words: int = Field(
        8, ge=2, le=100, description="A shorter text of a benchmark is looked for as a whole from so many words on."
    )
    max_occurrences: int | None = Field(
        10, ge=1, description="A run that stands in more different texts of a benchmark is commonplace and not looked "
        "for; null: all are.",
    )  # fmt: skip

    action: Literal["drop", "cut"] = Field(
        "drop", description="What becomes of a document with such a run: it goes, or only what is around the run."
    )
    margin: int = Field(200, ge=0, description="Characters cut away before and behind a run, with action cut.")
    min_piece: int = Field(
        200, ge=1, description="Shortest piece kept between two cuts, in characters, with action cut."
    )
    max_cuts: int = Field(10, ge=1, description="A document with more cuts is dropped, with action cut.")

    def identity(self) -> dict[str, Any]:
        """What of these settings changes documents, JSON-able, but for the texts of the benchmarks."""
        unused = {"margin", "min_piece", "max_cuts"} if self.action == "drop" else set()
        return self.model_dump(mode="json", exclude={"benchmarks", *unused})
