"""A .json file: an array of objects (or texts), one object, or several values one after the other; read as a stream.

The file is never held as a whole: values are taken from a window of text, which grows until the value in it is
complete. A value that is broken, too long or nested too deeply is passed over to the next one of the array.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from data.formats.base import RECORD_BYTES, CannotReadError, File, Found, Reading, Tally
from data.formats.documents import Records
from data.formats.text import decoded
from data.sources.base import Problem

_WINDOW = 1 << 20  # characters asked for at a time, doubled while a value does not end
_SPACE = re.compile(r"[ \t\n\r]*")
_SIGN = re.compile(r'[\[{}\],"]')
_IN_STRING = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_ENDS_EARLY = 12  # characters before the end of the window where an error may mean that the window is too short
_decoder = json.JSONDecoder(strict=False)


def read_json(file: File, reading: Reading, tally: Tally) -> Found:
    """A document's id is the file's name and `#n`, n being the number of the value, from 1."""
    texts, meta = decoded(file, reading, tally)
    window = _Window(texts)
    records = Records(replace(file, meta=meta), reading, tally)
    in_array = window.skip("[")
    row = 0
    while not window.at_end():
        if in_array and window.skip("]"):
            if not window.at_end():
                yield Problem("broken", file.name, f"something follows the array: {window.shown()}")
            return
        row += 1
        name = f"{file.name}#{row}"
        try:
            record = window.value()
        except CannotReadError as error:
            yield Problem(error.what, name, error.why)
            window.pass_over()
        else:
            yield from records.read(row, record)
        if in_array and not window.skip(",") and not window.comes("]"):
            if window.at_end():
                break
            yield Problem("broken", name, f"neither a comma nor the array's end follows it: {window.shown()}")
            window.pass_over()
            window.skip(",")
        elif not in_array:
            while window.skip(",") or window.skip("]"):
                pass  # lists of values without their brackets
    if in_array:
        yield Problem("cut", file.name, f"the array does not end, after {row} values")
    elif not row:
        raise CannotReadError("empty", "nothing in it")


class _Window:
    """A part of a text that is read from its beginning to its end."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts = texts
        self._text = ""
        self._at = 0
        self._is_all = False

    def _grow(self, wanted: int) -> bool:
        """Have at least `wanted` characters more than now, if there are any; whether there were."""
        held = [self._text[self._at :]]
        size = len(held[0])
        self._at = 0
        goal = size + wanted
        before = size
        for text in self._texts:
            held.append(text)
            size += len(text)
            if size >= goal:
                break
        else:
            self._is_all = True
        self._text = "".join(held)
        return size > before

    def comes(self, sign: str) -> bool:
        """Whether the next character that is no white space is this one; stops before it."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches anything
            if self._at < len(self._text):
                return self._text[self._at] == sign
            if self._is_all or not self._grow(_WINDOW):
                return False

    def skip(self, sign: str) -> bool:
        """Step over this sign and white space before it, if it comes next."""
        found = self.comes(sign)
        self._at += found
        return found

    def at_end(self) -> bool:
        """Whether nothing but white space is left."""
        self.comes("")
        return self._at >= len(self._text)

    def shown(self) -> str:
        """What comes next, for an error."""
        return repr(self._text[self._at : self._at + 20])

    def value(self) -> Any:
        """The next value. Raises CannotReadError, and then stands where the value begins."""
        wanted = _WINDOW
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self._at)
                if end < len(self._text) or self._is_all:
                    self._at = end
                    return value
                why = "too long"
            except RecursionError as error:
                raise CannotReadError("too_deep", "nested too deeply") from error
            except json.JSONDecodeError as error:
                near_end = error.pos >= len(self._text) - _ENDS_EARLY or error.msg.startswith("Unterminated string")
                why = f"not JSON: {error.msg} at {self._text[error.pos : error.pos + 20]!r}"
                if self._is_all or not near_end:
                    raise CannotReadError("broken", why) from error
            except ValueError as error:  # a number of thousands of digits
                raise CannotReadError("broken", str(error)) from error
            if len(self._text) - self._at > RECORD_BYTES:
                raise CannotReadError("too_long", f"a value over {RECORD_BYTES} characters")
            self._grow(wanted)
            wanted *= 2

    def pass_over(self) -> None:
        """Step over a value that cannot be read: to the next comma or closing bracket that is not inside of it."""
        depth = 0
        in_string = False
        while True:
            while self._at < len(self._text):
                if in_string:
                    self._at = _IN_STRING.match(self._text, self._at).end()  # type: ignore[union-attr]  # or nothing
                    if self._text[self._at : self._at + 1] != '"':
                        break  # it goes on beyond the window, perhaps with the second half of an escape
                    in_string = False
                    self._at += 1
                    continue
                match = _SIGN.search(self._text, self._at)
                if match is None:
                    self._at = len(self._text)
                    break
                sign = match[0]
                if depth == 0 and sign in ",]":
                    self._at = match.start()
                    return
                in_string = sign == '"'
                depth += (sign in "[{") - (sign in "]}" and depth > 0)
                self._at = match.end()
            if self._is_all or not self._grow(_WINDOW):
                self._at = len(self._text)
                return
