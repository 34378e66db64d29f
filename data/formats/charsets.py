"""Which encoding bytes are likely to be in: names as documents declare them, and a guess where nothing is declared."""

import codecs
import re
from contextlib import suppress

_SAMPLE_BYTES = 16_384  # looked at for a guess: words around bytes that are no ASCII
_LIKELY = "cp1252"  # what text that is no UTF-8 is most often; the guess where the detector has none
# What undeclared files are in, if not in UTF-8. Encodings that are never met any more would win short texts by chance.
_CANDIDATES = [
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp1257",
    "iso8859-2",
    "iso8859-5",
    "iso8859-7",
    "koi8_r",
    "mac_roman",
    "cp437",
    "cp850",
    "cp866",
    "cp932",
    "euc_jp",
    "gb18030",
    "big5",
    "cp949",
]
# Names that stand for more than they say, as browsers read them.
_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
NO_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7", "utf-8-sig"}
_LATIN = ("cp1252", "cp1250", "cp1254", "cp1257", "iso8859-2", "mac-roman", "cp850", "cp437")
# No letter of a Latin alphabet nor a sign of prose; a capital after a small letter; a sign inside of a word.
_ODD = re.compile(
    "[^\x00-\x7f\xa0-\u024f“”„‘’‚–—…€™•‹›]"
    "|[a-zß-öø-ÿ][À-ÖØ-ÞŠŽŒŸ]"
    r"|[^\W\d_][\xa1-\xa9\xac-\xb4\xb6-\xb9\xbb-\xbf×÷][^\W\d_]"
)
_CONTROLS = bytes({*range(32), 127} - {*b"\t\n\r\f\x1b"})
_SEVEN_BIT = ("iso2022", "hz")


def canonical(name: str) -> str | None:
    """Python's own name of a text encoding, so that two names of one encoding are equal; None if it knows none."""
    try:
        found = codecs.lookup(name.strip()).name
        with suppress(UnicodeError):
            b"text".decode(found)  # LookupError for codecs that do not give text, such as rot13
    except (LookupError, ValueError):
        return None
    return None if found in NO_CHARSETS else found


def declared_encodings(declared: str) -> list[str]:
    """The encodings that a declared name may stand for, likeliest first; none if it is unknown, or UTF-8 anyway."""
    name = canonical(declared) or canonical(declared.lower().removeprefix("x-").replace("cp-", "cp"))
    if name is None or name.startswith("utf"):  # a page that declares UTF-16 in ASCII letters is not UTF-16
        return []
    wider = _WIDER.get(name)
    return [wider, name] if wider and name != "ascii" else [wider or name]


def is_seven_bit(name: str) -> bool:
    """Whether text in this encoding looks like ASCII."""
    return name.startswith(_SEVEN_BIT)


def detect(head: bytes) -> list[str]:
    """Encodings that the beginning of a file may be in, likeliest first; never empty.

    More than one may fit every byte; the first that does is the guess.
    """
    from charset_normalizer import from_bytes

    sample = _sample(head)
    matches = from_bytes(sample, cp_isolation=_CANDIDATES, threshold=0.3, preemptive_behaviour=False)
    names = [codecs.lookup(match.encoding).name for match in matches]
    if not names or names[0] in _LATIN:  # Latin alphabets it tells apart badly
        likely = names[:1] if names[:1] == ["cp1254"] else [_LIKELY, *names[:1]]
        names = sorted(dict.fromkeys([*likely, *_LATIN]), key=lambda name: _oddities(sample, name)) + names
    elif "euc_jp" in names and _is_japanese(sample.decode("euc_jp", "ignore")):
        names.insert(0, "euc_jp")  # which the detector takes for Korean
    return list(dict.fromkeys([*names, _LIKELY]))


def _is_japanese(text: str) -> bool:
    """Whether every fifth letter that is no ASCII is a kana, which other languages' bytes do not give."""
    return 5 * len(re.findall("[\u3041-\u30ff]", text)) > len(re.findall("[^\x00-\x7f]", text))


def is_binary(head: bytes) -> bool:
    """Whether bytes that are no UTF-8 hold so many control characters that they are no text in another encoding."""
    sample = _sample(head)
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    return controls > 2 and controls > 0.02 * len(sample)


def _oddities(sample: bytes, encoding: str) -> int:
    """How many letters would stand where none belong if a sample were in this encoding."""
    return len(_ODD.findall(sample.decode(encoding, "replace")))


def _sample(head: bytes) -> bytes:
    """Lines with bytes that are no ASCII, as many as are looked at."""
    lines = []
    size = 0
    for match in re.finditer(rb"[^\n\r]{0,200}[\x80-\xff][^\n\r]{0,200}", head):
        lines.append(match[0])
        size += len(match[0])
        if size >= _SAMPLE_BYTES:
            break
    return b"\n".join(lines) or head[:_SAMPLE_BYTES]
