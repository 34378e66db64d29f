"""Many texts at once: all their characters in one array, and what can be asked of all of them together.

Lengths and positions are in code points, so the array holds code points and not UTF-8 bytes: a line's length is then a
difference of two numbers, whatever it is written in. Nothing here knows a rule.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import filterfalse

import numpy as np
from numpy.typing import NDArray

from data.quality.repeats import repeats

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SPACE, LETTER, UPPER, WORD, MARK, SOUND, STOP, LINE_END = (np.uint8(1 << bit) for bit in range(8))
"""What a character may be: white space; a letter (str.isalpha); an upper-case one; part of a word (letter, digit or
combining mark); a mark that stands around words and is one itself; neither punctuation nor control; end of a sentence;
end of a line (str.splitlines)."""

_MIX = np.uint64(0xA076_1D64_78BD_642F)
_LETTERS_BELOW = 0x40000  # letters, digits and white space; the planes above are empty or private
_SIGNS_BELOW = 0x20000  # marks and punctuation, but for the variation selectors of plane 14
_VARIATION_SELECTORS = range(0xE0100, 0xE01F0)
_MARKS = "…,:;!?¿؟¡()[]{}<>_#&*。？！，、；：～·।،۔؛٪.'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉$£€¥฿₽§%—–+"
_LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
# Punctuation of the normalisation in CCNet (facebookresearch/cc_net, text_normalizer.py), controls apart
_PUNCTUATION = "\"#$%&'()*+,-/:;<=>@[\\]^_`{|}~«´»–—’“”„…∶━►、〈〉《》「」【】％（），１：；～"
_CONTROLS = "0-8 B-1F 7F-9F"
# Ends of sentences in all scripts: Sentence_Terminal of Unicode as datatrove (0.10) lists it, with Khmer's
_STOPS = (
    "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D6 "
    "17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F 203C-203D 2047-2049 "
    "2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB "
    "FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143 "
    "111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 "
    "1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 "
    "16B44 16E98 1BC9F 1DA88"
)


@cache
def character_flags() -> NDArray[np.uint8]:
    """The flags of every code point, (0x110000,) uint8."""
    characters = np.arange(_LETTERS_BELOW, dtype=np.uint32).view("U1")
    flags = np.full(0x110000, SOUND, np.uint8)
    for flag, holds in (
        (SPACE, np.strings.isspace),
        (LETTER, np.strings.isalpha),
        (UPPER, np.strings.isupper),
        (WORD, np.strings.isalnum),
    ):
        flags[:_LETTERS_BELOW][holds(characters)] |= flag
    flags[[*codes_in("M"), *_VARIATION_SELECTORS]] |= WORD
    flags[[ord(character) for character in _MARKS]] |= MARK
    flags[[ord(character) for character in _LINE_ENDS]] |= LINE_END
    stops = codes_of(_STOPS)
    flags[stops] |= STOP
    flags[[*stops, *codes_of(_CONTROLS), *map(ord, _PUNCTUATION)]] &= ~SOUND
    return flags


def codes_in(category: str) -> list[int]:
    """Code points of the category of Unicode that begins with M (marks), P (punctuation) or S (symbols)."""
    signs = filterfalse(str.isalnum, filter(str.isprintable, map(chr, range(_SIGNS_BELOW))))
    return [ord(sign) for sign in signs if unicodedata.category(sign)[0] == category]


def codes_of(ranges: str) -> list[int]:
    """Code points of hexadecimal ranges, e.g. `21 2E 3F-41`."""
    spans = [[int(end, 16) for end in span.split("-")] for span in ranges.split()]
    return [code for span in spans for code in range(span[0], span[-1] + 1)]


@dataclass(frozen=True)
class Spans:
    """Parts of texts, in order and without overlap: part i is `codes[starts[i] : ends[i]]`.

    first  (documents + 1,): the parts of document d are first[d] to first[d + 1]
    """

    starts: Ints
    ends: Ints
    first: Ints

    @property
    def lengths(self) -> Ints:
        """Characters of every part."""
        return self.ends - self.starts

    @property
    def counts(self) -> Ints:
        """Parts of every document."""
        return np.diff(self.first)

    @property
    def documents(self) -> Ints:
        """The number of every part's document."""
        return np.repeat(np.arange(len(self.first) - 1), self.counts)

    def total(self, values: NDArray[np.int64] | Bools) -> Ints:
        """Sum of one value per part, (documents,)."""
        sums = np.zeros(len(values) + 1, np.int64)
        np.cumsum(values, out=sums[1:])
        return np.diff(sums[self.first])

    def chosen(self, which: Bools) -> "Spans":
        """Only the parts for which `which` holds."""
        return Spans(self.starts[which], self.ends[which], _bounds(self.total(which)))


@dataclass(frozen=True)
class Texts:
    """Texts one after the other, each followed by one line feed that is not part of it.

    codes         code points of all texts, uint32; flags are theirs
    starts, ends  (documents,): text d is codes[starts[d] : ends[d]], and codes[ends[d]] its line feed
    """

    codes: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    starts: Ints
    ends: Ints

    @cached_property
    def visible(self) -> Ints:
        """Positions of all characters that are not white space, ascending."""
        return np.flatnonzero((self.flags & SPACE) == 0)

    @property
    def lengths(self) -> Ints:
        """Characters of every text."""
        return self.ends - self.starts

    def spans(self, starts: Ints, ends: Ints) -> Spans:
        """Parts from their borders."""
        return Spans(starts, ends, np.append(np.searchsorted(starts, self.starts), len(starts)))

    def count(self, positions: Ints) -> Ints:
        """How many of the ascending positions lie in each text, (documents,)."""
        found: Ints = np.searchsorted(positions, self.ends) - np.searchsorted(positions, self.starts)
        return found

    def find(self, character: str) -> Ints:
        """Where a character stands, ascending; the line feeds that follow texts do not count."""
        return np.flatnonzero(self.codes == ord(character)) if character != "\n" else self.feeds

    @cached_property
    def feeds(self) -> Ints:
        """Where the texts' own line feeds stand, ascending."""
        found = self.codes == ord("\n")
        found[self.ends] = False
        return np.flatnonzero(found)

    @cached_property
    def lines(self) -> Spans:
        """Lines as `split("\\n")` finds them: also empty ones, and never none."""
        feeds = np.flatnonzero(self.codes == ord("\n"))  # with those that follow the texts
        return self.spans(_behind(feeds), feeds)

    @cached_property
    def lines_of_any_kind(self) -> Spans:
        """Lines as `str.splitlines` finds them: any line end of Unicode ends one, none begins after the last end."""
        return _lines_of_any_kind(self)

    @cached_property
    def repeated_lines(self) -> Bools:
        """Which lines came before in their document."""
        return seen_before(self, self.lines)

    def first_visible(self, spans: Spans) -> Ints:
        """Position of the first character in each part that is not white space; its end where there is none."""
        found = spans.starts.copy()
        at = np.flatnonzero(((self.flags[found] & SPACE) != 0) & (found < spans.ends))
        if len(at):  # most parts begin with what is sought
            found[at] = _taken(self.visible, np.searchsorted(self.visible, found[at]), len(self.codes))
        return np.minimum(found, spans.ends)

    def last_visible(self, spans: Spans) -> Ints:
        """Position of the last character in each part that is not white space; before its start where there is none."""
        found = spans.ends - 1
        at = np.flatnonzero(((self.flags[found] & SPACE) != 0) & (found >= spans.starts))
        if len(at):
            found[at] = _taken(self.visible, np.searchsorted(self.visible, spans.ends[at]) - 1, -1)
        return np.maximum(found, spans.starts - 1)


def columns_of(texts: Sequence[str]) -> Texts:
    """Lay texts out as columns; memory is about 14 bytes per character."""
    joined = "\n".join([*texts, ""])
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    flags = character_flags().take(codes)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    ends = np.cumsum(lengths + 1) - 1
    return Texts(codes, flags, ends - lengths, ends)


def _lines_of_any_kind(texts: Texts) -> Spans:
    is_end = (texts.flags & LINE_END) != 0
    after_return = np.zeros(len(is_end), np.bool_)
    after_return[1:] = (texts.codes[:-1] == ord("\r")) & (texts.codes[1:] == ord("\n"))
    after_return[texts.ends] = False  # the feed that follows a text is not its own
    ends = np.flatnonzero(is_end & ~after_return)
    starts = _behind(ends)
    starts += after_return[starts]
    spans = texts.spans(starts, ends)
    last_and_empty = np.zeros(len(starts), np.bool_)
    last_and_empty[spans.first[1:] - 1] = True
    return spans.chosen(~(last_and_empty & (spans.lengths <= 0)))


def paragraphs(texts: Texts) -> Spans:
    """What stands between runs of two or more line feeds, white space around the text left out."""
    whole = texts.spans(texts.starts, texts.ends)
    begin, stop = texts.first_visible(whole), texts.last_visible(whole) + 1
    feeds = texts.find("\n")
    document = np.searchsorted(texts.ends, feeds)
    feeds = feeds[(feeds > begin[document]) & (feeds < stop[document])]
    opens = np.ones(len(feeds), np.bool_)
    opens[1:] = np.diff(feeds) != 1
    run_starts = feeds[opens]
    run_ends = feeds[np.append(opens[1:], True)[: len(feeds)]] + 1
    long = run_ends - run_starts >= 2
    kept = stop > begin
    starts = np.sort(np.concatenate([begin[kept], run_ends[long]]))
    ends = np.sort(np.concatenate([stop[kept], run_starts[long]]))
    return texts.spans(starts, ends)


def seen_before(texts: Texts, spans: Spans) -> Bools:
    """Whether an equal part stands earlier in the same document, for each part.

    Parts of one length that agree in some characters are found by sorting, and only those are compared, as a whole.
    """
    again = np.zeros(len(spans.starts), np.bool_)
    lengths, documents = spans.lengths, spans.documents
    empty = np.flatnonzero(lengths == 0)
    again[empty[1:]] = documents[empty[1:]] == documents[empty[:-1]]
    filled = np.flatnonzero(lengths)
    starts, lengths, documents = spans.starts[filled], lengths[filled], documents[filled]
    keys = documents.astype(np.uint64)
    for probe in (lengths, *(texts.codes[starts + lengths * part // 8] for part in range(9))):
        keys = keys * _MIX + probe.astype(np.uint64)
    likely = np.sort(repeats(keys * _MIX)[0])
    content, seen = texts.codes.data.cast("B"), set[tuple[int, bytes]]()
    for part, document, start, end in zip(
        filled[likely].tolist(),
        documents[likely].tolist(),
        (starts[likely] * 4).tolist(),
        ((starts + lengths)[likely] * 4).tolist(),
        strict=True,
    ):
        whole = (document, bytes(content[start:end]))
        again[part] = whole in seen
        seen.add(whole)
    return again


def _taken(values: Ints, at: Ints, none: int) -> Ints:
    """The values at `at`, and `none` where there are none."""
    if not len(values):
        return np.full(len(at), none, np.int64)
    inside = (at >= 0) & (at < len(values))
    return np.where(inside, values.take(at, mode="clip"), none)


def _behind(ends: Ints) -> Ints:
    """Where parts begin that end there, with one character between them."""
    starts = np.zeros(len(ends), np.int64)
    starts[1:] = ends[:-1] + 1
    return starts


def _bounds(counts: Ints) -> Ints:
    return np.insert(np.cumsum(counts), 0, 0)
