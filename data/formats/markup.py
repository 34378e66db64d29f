"""The whole text of XHTML or XML, block by block: for books, where nothing is boilerplate."""

import re
from typing import Any

from data.formats.base import CannotReadError

_LEFT_OUT = {"script", "style", "head", "title", "template", "svg", "math", "object"}
_INLINE = {"a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i", "ins", "kbd", "mark"}
_INLINE |= {
    "q",
    "rp",
    "rt",
    "ruby",
    "s",
    "samp",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "tt",
    "u",
    "var",
    "wbr",
    "img",
}
_SPACE = re.compile(r"[ \t\n\r\f]+")


def parse_xml(data: bytes) -> Any:
    """The root of an XML document; entities are not resolved, nothing is fetched. Raises CannotReadError."""
    from lxml import etree

    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
        root = etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError) as error:
        raise CannotReadError("damaged", f"not XML: {error}") from error
    if root is None:
        raise CannotReadError("damaged", "not XML")
    return root


def text_of_page(page: str) -> str:
    """The text of a page, with a blank line between blocks; white space is as a browser shows it."""
    from lxml import etree
    from lxml.html import HTMLParser, document_fromstring

    try:  # encoded again, because a declaration in a page that is text already confuses the parser
        root = document_fromstring(page.encode("utf-8", "replace"), parser=HTMLParser(encoding="utf-8"))
    except (etree.LxmlError, ValueError):  # nothing but white space or comments
        return ""
    blocks: list[list[str]] = [[]]
    as_they_are: set[int] = set()  # blocks whose white space counts
    depth_left_out = depth_kept = 0  # elements that are left out, or whose white space counts, around the place
    for event, element in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        tag = element.tag if isinstance(element.tag, str) else ""
        begins = event == "start"
        if tag in _LEFT_OUT:
            depth_left_out += 1 if begins else -1
        if tag == "pre":
            depth_kept += 1 if begins else -1
        if tag == "br" and begins:
            blocks[-1].append("\n")
        elif tag and tag not in _INLINE and tag != "br" and blocks[-1]:
            blocks.append([])
        text = element.text if begins else element.tail
        if text and not depth_left_out and (tag or not begins):
            if depth_kept:
                as_they_are.add(len(blocks) - 1)
            blocks[-1].append(text if depth_kept else _SPACE.sub(" ", text))
    tidied = []
    for number, block in enumerate(blocks):
        lines = "".join(block).split("\n")
        tidied.append("\n".join(line if number in as_they_are else line.strip(" ") for line in lines).strip("\n"))
    return "\n\n".join(block for block in tidied if block.strip())
