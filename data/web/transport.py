"""Where httpx is stricter or more talkative than data/web/client.py wants: headers, redirects, errors, long bodies."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from data.web.errors import MayPassError, UnreachableError, WebError, is_address

if TYPE_CHECKING:
    import httpx


def beginning(response: "httpx.Response", size: int) -> bytes:
    """The first bytes of a body, decompressed."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk[: size - len(body)]
        if len(body) == size:
            break
    return bytes(body)


def target_of(url: str, address: "httpx.URL", location: str) -> "httpx.URL":
    """Where a redirect leads. Raises WebError."""
    import httpx

    try:
        if is_address(location):
            return address.join(location)
    except (httpx.InvalidURL, ValueError):
        pass
    raise WebError(url, "the server redirects to something that is no URL.")


def may_know(asked: "httpx.URL", following: "httpx.URL") -> bool:
    """Whether the place redirected to may get the headers meant for the first: it is the same, or its safe form."""
    if asked.host != following.host:
        return False
    upgraded = (asked.scheme, asked.port, following.scheme, following.port) == ("http", None, "https", None)
    return upgraded or (asked.scheme, asked.port) == (following.scheme, following.port)


def checked(whose: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers, if they can be sent; the client's own error would show their values."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable() and value.strip()):
            raise WebError(whose, f"the header {name} must be ASCII characters on one line. Correct its value.")
    return dict(headers)


@contextmanager
def network_errors(url: str) -> Iterator[None]:
    """Turn the client's errors into ours. Their texts name no address."""
    import httpx

    try:
        yield
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
        raise WebError(url, f"this cannot be asked ({type(error).__name__}). Correct the address.") from None
    except (httpx.TransportError, httpx.DecodingError) as error:
        reason = _root_of(error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise WebError(
                url, f"its certificate is not trusted ({reason.verify_message}). Check the address."
            ) from None
        if isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_NONAME:
            raise WebError(url, "no host of this name is known. Check the address, and the network.") from None
        why = "the server was silent for too long" if isinstance(error, httpx.TimeoutException) else str(error)
        raise MayPassError(UnreachableError(url, why or type(error).__name__)) from error


def _root_of(error: BaseException) -> BaseException:
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return error
