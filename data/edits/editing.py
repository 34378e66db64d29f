"""All edits of one text, in order, again until they find nothing more.

One edit may uncover work for another (`&amp;shy;` becomes a soft hyphen), and so may normalising; so an edited text is
normalised and edited anew until nothing changes. That makes editing idempotent.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from data.edits.config import EditConfig
from data.edits.html import take_out_html
from data.edits.hyphenation import join_hyphenated
from data.edits.invisible import may_have_invisible, take_out_invisible
from data.edits.lines import take_out_repeated_lines
from data.edits.pages import take_out_page_numbers, take_out_running_heads
from data.edits.symbols import make_lower_case, replace_urls, take_out_symbols

Edit = Callable[[str], tuple[str, int]]
INVISIBLE = "invisible"
_MOST_ROUNDS = 32  # real text takes two; what is nested deeper to do harm is left


class Editor:
    """The edits that a config asks for."""

    def __init__(self, config: EditConfig, normalise: Callable[[str], str]) -> None:
        self._edits = list(_edits(config))
        self._but_invisible = [(name, edit) for name, edit in self._edits if name != INVISIBLE]
        self._normalise = normalise

    def edit(self, text: str, odd: str | None = None) -> tuple[str, Counter[str]]:
        """The normalised `text` edited and normalised again, and how often each edit found something.

        odd  all characters of the text outside of ASCII, where they are known; others may stand among them
        """
        counts: Counter[str] = Counter()
        edits = self._edits if odd is None or may_have_invisible(odd) else self._but_invisible
        for _ in range(_MOST_ROUNDS if edits else 0):
            before = text
            for name, edit in edits:
                text, count = edit(text)
                if count:
                    counts[name] += count
            if text == before:
                break
            text = self._normalise(text)
            edits = self._edits
        return text, counts


def _edits(config: EditConfig) -> Iterator[tuple[str, Edit]]:
    if config.invisible:
        yield INVISIBLE, take_out_invisible
    if config.html_leftovers:
        yield "html_leftovers", take_out_html
    if config.running_heads:
        yield "running_heads", take_out_running_heads
    if config.page_numbers:
        yield "page_numbers", take_out_page_numbers
    if config.hyphenation:
        yield "hyphenation", join_hyphenated
    if config.max_repeated_lines is not None:
        most, shortest = config.max_repeated_lines, config.repeated_line
        yield "repeated_lines", partial(take_out_repeated_lines, most=most, shortest=shortest)
    if config.urls != "keep":
        yield "urls", partial(replace_urls, how=config.urls)
    if config.remove_symbols:
        yield "symbols", partial(take_out_symbols, which=config.remove_symbols)
    if config.lower_case:
        yield "lower_case", make_lower_case
