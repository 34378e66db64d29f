"""What all patterns share: spans, and what may stand beside one."""

from data.privacy.config import PLACEHOLDERS

Span = tuple[int, int]
"""Begin and end in characters; the end is the first character after."""

_PLACEHOLDERS = tuple(PLACEHOLDERS.values())


def stands_alone(text: str, begin: int, end: int, joining: str = "_") -> bool:
    """Whether no letter, digit or character of `joining` stands right before or behind.

    Nor may a placeholder: what touches one was no match while the original stood there, and must not become one.
    """
    if begin and (is_letter(text[begin - 1]) or text[begin - 1] in joining):
        return False
    if end < len(text) and (is_letter(text[end]) or text[end] in joining):
        return False
    return not text.endswith(_PLACEHOLDERS, 0, begin) and not text.startswith(_PLACEHOLDERS, end)


def is_letter(character: str) -> bool:
    """Whether it is a letter or digit of a script that puts spaces between words; of Chinese or Thai it is not."""
    return character < "\u0e00" and character.isalnum()


def number_goes_on(text: str, begin: int, end: int, joints: str = "-.") -> bool:
    """Whether a joint and then a digit stand before or behind, so that what is between is a part of more."""
    return (begin > 1 and text[begin - 1] in joints and text[begin - 2].isdigit()) or (
        end + 1 < len(text) and text[end] in joints and text[end + 1].isdigit()
    )
