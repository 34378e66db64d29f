"""Leftovers of HTML in prose: entities that nobody decoded, and tags that nobody took out.

Entities are those of HTML 4 for letters, punctuation, spaces and currency, and numbers; each must end in a semicolon.
Names of mathematics (`&sum;`) are left alone: in code they are variables. So are the signs < and > where they would
make a tag: what is written `&lt;b&gt;` is meant to be read. Tags are taken out where they come in pairs, have
attributes or need no end, unless the text speaks of markup at all. Nothing is changed in code and tables.
"""

import html
import re
from html.entities import name2codepoint

from data.edits.code import edit_outside_code, outside_code

_TYPOGRAPHIC = (range(256), range(0x152, 0x193), range(0x2C6, 0x2DD), range(0x2002, 0x20AD), range(0x2122, 0x2123))
_NAMES = {"apos", *(name for name, code in name2codepoint.items() if any(code in some for some in _TYPOGRAPHIC))}
_NAMES -= {"not", "prime", "Prime", "frasl", "oline"}
_ENTITY = re.compile(
    rf"&(?:(?:amp|\#0*38|\#[xX]0*26);)*({'|'.join(sorted(_NAMES))}|\#[0-9]{{1,7}}|\#[xX][0-9a-fA-F]{{1,6}});"
)
_LINES = "br|p|div|li|tr|ul|ol|table|h[1-6]|hr|blockquote|center|section|article|dd|dt|dl"  # end a line
_WITHIN = "a|b|i|u|em|strong|small|big|span|font|strike|del|ins|cite|abbr|acronym|nobr|td|th|tbody|thead|img|wbr"
_ALONE = re.compile("br|hr|p|li|tr|td|th|dd|dt|img|wbr")  # need no end
_ATTRIBUTE = r"\s+[a-zA-Z][\w:-]*\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]+)"
_TAG = re.compile(rf"<(/?)({_LINES}|{_WITHIN})((?:{_ATTRIBUTE})*)\s*/?>", re.IGNORECASE)
_ABOUT_MARKUP = ("HTML", "XML", "CSS", "markup", "Markup", " tag")
_WHOLE_PAGE = re.compile(r"<(?:[?!]|html|head>|body|script|style)")


def take_out_html(text: str) -> tuple[str, int]:
    """The text without leftovers, and how many there were."""
    count = 0

    def replace(entity: re.Match[str]) -> str:
        nonlocal count
        meant = _meant(entity)
        count += meant != entity[0]
        return meant

    if "&" in text and _ENTITY.search(text):
        text = edit_outside_code(text, lambda part: _ENTITY.sub(replace, part))
    if "<" in text and _TAG.search(text) and not _is_about_markup(text):
        text, tags = _without_tags(text)
        count += tags
    return text, count


def _meant(entity: re.Match[str]) -> str:
    """What an entity stands for; itself where it may stand for a border of a tag."""
    meant = html.unescape(f"&{entity[1]};")
    before, behind = (
        entity.string[max(0, entity.start() - 1) : entity.start()],
        entity.string[entity.end() : entity.end() + 1],
    )
    opens = meant == "<" and behind and (behind.isalpha() or behind in "/!?&")
    closes = meant == ">" and before and not before.isspace()
    return entity[0] if opens or closes else meant


def _is_about_markup(text: str) -> bool:
    return _WHOLE_PAGE.search(text) is not None or any(word in text for word in _ABOUT_MARKUP)


def _without_tags(text: str) -> tuple[str, int]:
    tags = [tag for begin, end in outside_code(text) for tag in _TAG.finditer(text, begin, end)]
    closed = {tag[2].lower() for tag in tags if tag[1]}
    pieces: list[str] = []
    done = count = 0
    for tag in tags:
        name = tag[2].lower()
        if tag[1] or tag[3] or name in closed or _ALONE.fullmatch(name):
            between = "\n" if re.fullmatch(_LINES, name) else " " if name in ("td", "th") else ""
            pieces += (text[done : tag.start()], between)
            done = tag.end()
            count += 1
    return "".join([*pieces, text[done:]]), count
