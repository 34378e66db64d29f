"""IP addresses that lead to somebody: those of the public Internet, and what IPv6 keeps of a device or a network.

Left alone are addresses that are the same everywhere (loopback, unspecified, private IPv4, multicast, netmasks), those
kept for documentation (RFC 5737, RFC 3849, RFC 9637), networks that end in .0, and what reads like a version or a
section number. FineWeb draws the line for IPv4 in the same place. Private and link-local IPv6 addresses hold a number
of their network's or of a device's own, so they are replaced.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence

from data.privacy.spans import Span, number_goes_on, stands_alone

_IPV4 = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9])")
_VERSION_BEFORE = re.compile(
    r"(?:\b(?:v|ver|vers|versions?|releases?|build|firmware|kernel|driver|sections?|sec|chapters?|clauses?|tables?|figures?|"
    r"fig|para|paragraph|article|appendix)[.:]?\s?|[^\W_][/_-]|§\s?)\Z",
    re.IGNORECASE,
)
_BEFORE_CHARACTERS = 12
_COLONS = re.compile(":[0-9A-Fa-f]{0,4}:")
_HEX = "0123456789abcdefABCDEF:."
_IPV6_CHARACTERS = 45  # of the longest spelling
_TO_SOMEBODY = tuple(  # global unicast as allocated by IANA, unique local, link-local, and IPv4 in IPv6
    ipaddress.IPv6Network(one)
    for one in (
        "2001::/16",
        "2002::/15",
        "2400::/6",
        "2800::/5",
        "fc00::/7",
        "fe80::/10",
        "::ffff:0:0/96",
        "64:ff9b::/96",
    )
)
_DOCUMENTATION = ipaddress.IPv6Network("2001:db8::/32")


def ipv4_addresses(text: str, found: Sequence[Span]) -> Iterator[Span]:
    """Public IPv4 addresses in stretches of digits."""
    for begin, end in found:
        if text.count(".", begin, end) < 3:
            continue
        for match in _IPV4.finditer(text, begin, end):
            span = match.span()
            if not stands_alone(text, *span) or number_goes_on(text, *span, ".-"):
                continue
            if is_public(match[0]) and not _VERSION_BEFORE.search(text, max(0, span[0] - _BEFORE_CHARACTERS), span[0]):
                yield span


def is_public(written: str) -> bool:
    """Whether it is an IPv4 address of one host on the Internet, and no version such as 1.2.3.4 or 4.0.0.0."""
    try:
        address = ipaddress.IPv4Address(written)
    except ValueError:  # a part above 255 or with a leading zero
        return False
    if address.packed[3] in (0, 255) or max(address.packed) < 10:
        return False
    return address.is_global and not address.is_multicast


def ipv6_addresses(text: str) -> Iterator[Span]:
    """IPv6 addresses; looked for from two colons with at most four digits in between."""
    after = 0
    while match := _COLONS.search(text, after):
        head = text[max(after, match.start() - _IPV6_CHARACTERS) : match.start()]
        begin = match.start() - (len(head) - len(head.rstrip(_HEX)))
        tail = text[match.start() : match.start() + _IPV6_CHARACTERS]
        end = match.start() + len(tail) - len(tail.lstrip(_HEX))
        after = end
        while text[end - 1] == "." or (text[end - 1] == ":" and text[end - 2 : end] != "::"):
            end -= 1  # of a sentence
        if stands_alone(text, begin, end) and leads_somewhere(text[begin:end]):
            yield begin, end


def leads_somewhere(written: str) -> bool:
    """Whether it is an IPv6 address of a host."""
    try:
        address = ipaddress.IPv6Address(written)
    except ValueError:
        return False
    if address.ipv4_mapped is not None:
        return is_public(str(address.ipv4_mapped))
    return any(address in network for network in _TO_SOMEBODY) and address not in _DOCUMENTATION
