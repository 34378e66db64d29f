"""Where code and tables are, so that edits of prose can leave them alone."""

import re
from collections.abc import Callable, Iterator

# Every branch begins with a literal, by which the search is quick; what must stand before is asked behind it
_CODE = re.compile(
    r"```(?<![^\n \t]```).*\n(?:.*\n)*?(?:[ \t]*```.*|\Z)"  # fenced, also where the end is missing
    r"|~~~(?<![^\n \t]~~~).*\n(?:.*\n)*?(?:[ \t]*~~~.*|\Z)"
    r"|`(?<!``)(`*+)[^`\n]+`\1"  # within a line
    r"|\|(?<![^\n]\|).*"  # a row of a table
    r"|\n\n(?:(?: {4}|\t).*\n?)+"  # indented, behind a blank line
)
_INDENTED = re.compile(r"(?:(?: {4}|\t).*\n?)+")  # at the beginning
# Signs of code, each with what it has in it that is quickly searched for
_MAY_BE_CODE = (("`", "`"), ("~", "~~~"), ("|", "\n|"), ("\t", "\n\n\t"), ("\n\n", "\n\n    "))
_MAY_BEGIN_CODE = ("|", "\t", "    ")


def outside_code(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of each part of the text that lies outside of code and tables; one may be empty.

    Code is what is fenced (``` or ~~~), stands between backticks in a line, or is indented by four spaces or a tab
    behind a blank line; a row of a table begins with a bar. (Indented verse counts as code, too: it is left alone.)
    """
    done = 0
    if text.startswith(_MAY_BEGIN_CODE) or any(part in text and sign in text for part, sign in _MAY_BE_CODE):
        if first := _INDENTED.match(text):
            done = first.end()
        for match in _CODE.finditer(text, done):
            yield done, match.start()
            done = match.end()
    yield done, len(text)


def edit_outside_code(text: str, edit: Callable[[str], str]) -> str:
    """`edit` applied to each part of the text that lies outside of code and tables."""
    pieces: list[str] = []
    done = 0
    for begin, end in outside_code(text):
        pieces += (text[done:begin], edit(text[begin:end]))
        done = end
    return "".join(pieces)
