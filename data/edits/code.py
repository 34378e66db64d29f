"""Where code and tables are, so that edits of prose can leave them alone."""

import re
from collections.abc import Callable

# Every branch begins with a literal, by which the search is quick; what must stand before is asked behind it
_CODE = re.compile(
    r"```(?<![^\n \t]```).*\n(?:.*\n)*?(?:[ \t]*```.*|\Z)"  # fenced, also where the end is missing
    r"|~~~(?<![^\n \t]~~~).*\n(?:.*\n)*?(?:[ \t]*~~~.*|\Z)"
    r"|`(?<!``)(`*+)[^`\n]+`\1"  # within a line
    r"|\|(?<![^\n]\|).*"  # a row of a table
    r"|\n\n(?:(?: {4}|\t).*\n?)+"  # indented, behind a blank line
)
_INDENTED = re.compile(r"(?:(?: {4}|\t).*\n?)+")  # at the beginning
_MAY_BE_CODE = ("`", "~~~", "|", "\t", "    ")


def edit_outside_code(text: str, edit: Callable[[str], str]) -> str:
    """`edit` applied to each part of the text that lies outside of code and tables.

    Code is what is fenced (``` or ~~~), stands between backticks in a line, or is indented by four spaces or a tab
    behind a blank line; a row of a table begins with a bar. (Indented verse counts as code, too: it is left alone.)
    """
    if not any(sign in text for sign in _MAY_BE_CODE):
        return edit(text)
    pieces: list[str] = []
    done = 0
    if first := _INDENTED.match(text):
        pieces.append(first[0])
        done = first.end()
    for match in _CODE.finditer(text, done):
        pieces += (edit(text[done : match.start()]), match[0])
        done = match.end()
    return "".join([*pieces, edit(text[done:])])
