"""Notes every address that a Python process connects to, asks a name server about, or listens on.

Every Python process that is started with this folder on PYTHONPATH loads it; without TEXTMILL_CONNECTION_TRACE, the
file to append to, it does nothing. Each line is JSON: [event, address].
"""

import json
import os
import sys

_EVENTS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.bind": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}


def _arm(path: str) -> None:
    trace = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def hook(event: str, args: tuple[object, ...]) -> None:
        if (place := _EVENTS.get(event)) is not None:
            os.write(trace, (json.dumps([event, args[place]], default=repr) + "\n").encode())

    sys.addaudithook(hook)


if _path := os.environ.get("TEXTMILL_CONNECTION_TRACE"):
    _arm(_path)
