"""Cleaning: bring one text into the form that training reads, and say whether it is worth keeping.

`normalise` edits and `judge` decides; both know one text and nothing of files. Normalising keeps what carries
meaning: indentation and tabs (code, verse, tables), runs of spaces inside a line, single blank lines. It is
idempotent: normalising a normalised text changes nothing. The published rules of quality judge many texts at once and
have a package of their own, data/quality; here they are only switched on.
"""

import re
import unicodedata
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, Field

from data.edits.config import EditConfig
from data.languages.config import RULES as LANGUAGE_RULES
from data.languages.config import LanguageConfig
from data.privacy.config import PrivacyConfig
from data.privacy.pipelines import Pipeline
from data.profiles import Profiled
from data.quality.rules import QualityConfig
from data.quality.words import SEGMENTATION

EMPTY = "empty"
TOO_SHORT = "too_short"


class CleanConfig(Profiled, PrivacyConfig):
    """Rules for cleaning a document. Each field changes the output, so each is part of the artifact's key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    licence_policy: Literal["any", "redistributable"] = Field(
        "any",
        description="redistributable drops every document whose licence does not let anybody pass it on, also changed; "
        "an unknown licence does not.",
    )
    normalization: Literal["NFC", "NFKC", "none"] = Field(
        "NFC",
        description="Unicode normal form. NFC changes no letter's look; NFKC also replaces ligatures, full-width "
        "letters and superscripts by plain ones; none leaves letters as they came.",
    )
    non_breaking_spaces: Literal["space", "keep"] = Field(
        "space", description="What becomes of spaces that forbid a line break (U+00A0, U+2007, U+202F)."
    )
    max_blank_lines: int = Field(
        2, ge=0, le=1000, description="Longest run of blank lines kept, in lines; longer ones are cut to it."
    )
    min_characters: int = Field(
        20, ge=1, le=1_000_000_000, description="Shortest document kept, in characters, counted after normalising."
    )
    edits: EditConfig = Field(
        default_factory=EditConfig, description="What is taken out of documents or mended in them; nothing is."
    )
    languages: LanguageConfig | None = Field(
        None, description="Which languages are kept, judged by a sample of each document; null keeps all, unjudged."
    )
    quality: QualityConfig = Field(
        default_factory=QualityConfig,
        description="Published rules by which documents are dropped and edited; none are on.",
    )

    def identity(self, personal: bool, pipeline: Pipeline | None = None) -> dict[str, Any]:
        """What of these settings changes documents, JSON-able. `personal`: of what people wrote to each other.

        pipeline  what finds names; needed where they are replaced

        Where nothing is replaced, nothing is said of replacing, so that such settings change no other source's key;
        so with edits, languages and rules of quality where none is on, and with C4's where others are on. The profile
        is not named: its settings are.
        """
        rules = self.model_dump(
            mode="json", exclude={*PrivacyConfig.model_fields, "profile", "edits", "languages", "quality"}
        )
        if edits := self.edits.identity():
            rules["edits"] = edits
        if self.languages:
            rules["languages"] = {**self.languages.model_dump(mode="json"), "rules": LANGUAGE_RULES}
        if self.quality.is_on:
            quality = self.quality.model_dump(mode="json", exclude=None if self.quality.c4 else {"c4"})
            rules["quality"] = {**quality, "words": SEGMENTATION}
        if self.replaces_names(personal):
            if pipeline is None:
                raise ValueError("Names are replaced, and the pipeline that finds them tells what is found.")
            rules["names"] = pipeline.identity()
        return rules | self.privacy_identity(personal)


_PLAIN_ASCII = bytes([9, 10, *range(32, 127)])
_LINE_END = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028]")  # form feeds and file separators end a line, too
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_NON_BREAKING = re.compile("[\xa0\u2007\u202f]")
_WHITE_SPACE = re.compile(r"\s")
# NFC keeps each of these, whatever stands beside it
_COMPOSED = re.compile("[\x00-\u02ff\u2010-\u2027\u2030-\u205e\u20ac\u2122]*+")


class Normal(NamedTuple):
    """A text in normal form, and what had to be looked at more closely.

    odd  what stood in it but for plain ASCII (printable characters, tabs and line feeds), in order; seldom much.
         Nothing else is in the text now, but for what the Unicode form made of it
    """

    text: str
    odd: str


def normalise(text: str, config: CleanConfig) -> str:
    """Return `text` in normal form; any str is legal, also one with lone surrogates.

    Line ends become line feeds (U+2029 becomes a blank line), lone surrogates become U+FFFD, other control
    characters, byte order marks and noncharacters go; then the Unicode form is settled, white space at line
    ends goes, runs of blank lines are cut, and so are blank lines at both ends of the text.
    """
    return normal_form(text, config).text


def normal_form(text: str, config: CleanConfig) -> Normal:
    """The same, and what an edit may want to know before it searches a text."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    odd = _odd_characters(text)
    if odd:
        if _UNWANTED.search(odd):
            text = _LONE_SURROGATE.sub("\ufffd", text)
            text = _LINE_END.sub("\n", text).replace("\u2029", "\n\n")
            text = _UNWANTED.sub("", text)
        if config.non_breaking_spaces == "space" and _NON_BREAKING.search(odd):
            text = _NON_BREAKING.sub(" ", text)
        if config.normalization == "NFKC" or (config.normalization == "NFC" and not _COMPOSED.fullmatch(odd)):
            text = unicodedata.normalize(config.normalization, text)
    if _WHITE_SPACE.search(odd) or ("\t" in text and "\t\n" in text):
        text = "\n".join(map(str.rstrip, text.split("\n")))
    else:  # only spaces stand before line ends, and mostly before few
        text = "\n".join([part.rstrip(" \t") for part in text.split(" \n")])
    too_many = "\n" * (config.max_blank_lines + 2)
    if too_many in text:
        text = re.sub(f"{too_many}\n*", too_many[1:], text)
    return Normal(text.strip("\n"), odd)


def _odd_characters(text: str) -> str:
    """All but plain ASCII. It is sooner taken out, as bytes, than any character is searched for in the whole text."""
    return text.encode("utf-8", "surrogatepass").translate(None, _PLAIN_ASCII).decode("utf-8", "surrogatepass")


def judge(text: str, config: CleanConfig) -> str | None:
    """Name the first rule that the normalised `text` breaks, or return None to keep it."""
    if not text:
        return EMPTY
    if len(text) < config.min_characters:
        return TOO_SHORT
    return None
