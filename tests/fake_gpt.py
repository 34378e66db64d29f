"""A command in the place of a trainer: says what its job file tells it to, and ends as it tells it to."""

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())

    def stop(*_: object) -> None:
        Path(job["saved"]).write_text("saved")
        sys.exit(75)

    signal.signal(signal.SIGTERM, signal.SIG_IGN if job.get("deaf") else stop)
    for line in job.get("say", []):
        print(line, flush=True)
    for record in job.get("records", []):
        with Path(job["metrics"]).open("a") as file:
            file.write(json.dumps(record) + "\n")
    Path(job["started"]).write_text(str(os.getpid()))
    time.sleep(job.get("sleep", 0))
    if "signal" in job:
        os.kill(os.getpid(), job["signal"])
    sys.exit(job.get("code", 0))


if __name__ == "__main__":
    main()
