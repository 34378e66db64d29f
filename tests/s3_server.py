"""moto's S3 server in a process of its own, with a log of requests and a few mishaps.

moto answers in threads and looks at a condition before it writes, which S3 does in one step: so one request is worked
on after the other here. `python -m tests.s3_server` prints the port it listens on.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.request import urlopen

PROJECT = Path(__file__).resolve().parents[1]
CONTROL = "/-control/"
SECRET = "wJalrXUtnFEMIcanarySECRETbPxRfiCY"
KEY_ID = "AKIACANARYKEYID00000"


class S3Server:
    """A running server; `bucket()` makes one that is empty."""

    def __init__(self) -> None:
        argv = [sys.executable, "-m", "tests.s3_server"]
        self.process = subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def bucket(self) -> str:
        """A new bucket's name. The environment must name this server."""
        from data.storage.bucket import Bucket

        name = f"b-{uuid.uuid4().hex[:12]}"
        Bucket(name, "").call("create_bucket", None)
        return name

    def set(self, **mishaps: Any) -> None:
        """Let these mishaps happen from now on, and no others.

        unconditional  conditions of writes are ignored, as old servers do
        hold_puts      so many writes are answered, and those behind them never
        late           every answer comes so many seconds late, whatever else is asked meanwhile
        status         every request is answered by this status (and `code`)
        """
        self._control("set", mishaps)

    def requests(self) -> list[str]:
        """What was asked since the last call: `METHOD /bucket/key?query`."""
        found: list[str] = self._control("log", {})
        return found

    def held(self) -> int:
        """How many writes have been waiting for their answer since `set`."""
        return int(self._control("held", {}))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def _control(self, what: str, value: Any) -> Any:
        with urlopen(f"{self.url}{CONTROL}{what}", json.dumps(value).encode()) as answer:
            return json.load(answer)


def serve() -> None:
    import threading

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    inner = DomainDispatcherApplication(create_backend_app)
    one_by_one = threading.Lock()
    log: list[str] = []
    state: dict[str, Any] = {"puts": 0, "held": 0}

    def application(environ: Any, start: Any) -> Any:
        path = environ["PATH_INFO"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if path.startswith(CONTROL):
            answer: Any = None
            match path.removeprefix(CONTROL):
                case "set":
                    state.clear()
                    state.update(json.loads(body), puts=0, held=0)
                case "log":
                    answer = list(log)
                    log.clear()
                case "held":
                    answer = state["held"]
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(answer).encode()]
        query = environ.get("QUERY_STRING")
        log.append(f"{environ['REQUEST_METHOD']} {path}{'?' + query if query else ''}")
        if "status" in state:
            code = state.get("code", "InternalError")
            text = (
                f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>key {KEY_ID} is not right</Message></Error>"
            )
            start(f"{state['status']} No", [("Content-Type", "application/xml")])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [text.encode()]
        if environ["REQUEST_METHOD"] == "PUT":
            if state.get("unconditional"):
                environ.pop("HTTP_IF_NONE_MATCH", None)
                environ.pop("HTTP_IF_MATCH", None)
            state["puts"] += 1
            if "hold_puts" in state and state["puts"] > state["hold_puts"]:
                state["held"] += 1
                time.sleep(120)
        environ["wsgi.input"] = io.BytesIO(body)
        time.sleep(state.get("late", 0))
        with one_by_one:
            return list(inner(environ, start))

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *_: Any) -> None:
            pass

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    print(server.port, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    os.environ.setdefault("AWS_ACCESS_KEY_ID", KEY_ID)
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", SECRET)
    serve()
