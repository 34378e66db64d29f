"""Listing 10,000 artifacts: `python -m tests.benchmarks.store_listing [COUNT]`.

The same artifacts lie in a local store and, without their payload, which no listing looks at, in a bucket of moto's
server on this machine. `manifests` is what `textmill ls` reads, `find` what a run does with all keys of a stage; each
is a new process's first look. In the bucket the first look of a new machine reads every manifest once, the next ones
read a listing and what the machine remembers. moto's share of the time is its own: what the listing takes alone is
shown beside it. Where other work runs beside it, the time on the processor says more than that on the clock.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.facts import Facts
from data.manifest import Identity, Manifest
from data.storage.location import open_bucket
from data.store import Build, Store
from tests.benchmarks.table import print_table
from tests.s3_server import S3Server

PAYLOAD = 1  # files of an artifact besides what is observed
ROUNDS = 5


def make(build: Build) -> Facts:
    for number in range(PAYLOAD):
        (build.out / f"{number}.bin").write_bytes(bytes(100))
    return Facts({"documents": 3, "characters": 1000}, ["CC0"], [], {"more": [1, None]})


def manifests_like(model: Manifest, count: int) -> list[Manifest]:
    """`model` under `count` other keys."""
    made = []
    for number in range(count):
        recipe = replace(model.recipe, config={"number": number})
        made.append(replace(model, recipe=recipe, key=recipe.key, name=f"toy-{number:05d}"))
    return made


def fill_local(store: Store, manifests: list[Manifest]) -> None:
    for manifest in manifests:
        folder = store.root / "toy" / f"{manifest.name}-{manifest.key}"
        folder.mkdir(parents=True)
        for path, entry in manifest.files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(bytes(entry.bytes))
        (folder / "manifest.json").write_text(manifest.to_json())


def timed(look: Callable[[], Any], count: int) -> tuple[float, float]:
    """Seconds of `look`, which must find `count`: on the clock, and of this process on the processor."""
    started, used = time.perf_counter(), time.process_time()
    found = look()
    seconds = time.perf_counter() - started, time.process_time() - used
    assert len(found) == count, len(found)
    return seconds


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rows: list[tuple[str, list[float], str, str]] = []
    server = S3Server()
    os.environ.update(server.environment)
    try:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            local = Store(folder / "local")
            ref = local.build(Identity("toy", 1, {}), "model", make)
            manifests = manifests_like(local.manifest(ref), count - 1)
            fill_local(local, manifests)
            keys = [ref.key, *(manifest.key for manifest in manifests)]

            def look(name: str, goal: str, run: Callable[[], Any], rounds: int = ROUNDS) -> None:
                times = [timed(run, count) for _ in range(rounds)]
                rows.append((name, [wall for wall, _ in times], "s", goal))
                rows.append(("   of it on the processor", [used for _, used in times], "s", ""))

            look("local: manifests", "under 2", lambda: list(Store(local.root).manifests()))
            look("local: find", "under 2", lambda: Store(local.root).find("toy", keys))

            url = f"s3://{server.bucket()}/mill"

            def machine(name: str) -> Any:
                os.environ["TEXTMILL_CACHE"] = str(folder / name)
                return open_bucket(url, folder)

            first = machine("first")
            first.build(Identity("toy", 1, {}), "model", make)

            def publish(manifest: Manifest) -> None:
                body = {"attempt": "0123456789abcdef", "manifest": json.loads(manifest.to_json())}
                first.bucket.put(f"manifests/toy/{manifest.key}.json", json.dumps(body).encode())

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(publish, manifests))
            look("bucket: a new machine's first look", "", lambda: list(machine("new").manifests()), rounds=1)
            look("bucket: manifests", "under 2", lambda: list(machine("new").manifests()))
            look("bucket: the listing in it alone", "", lambda: list(machine("new").bucket.objects("manifests/")))
            new = machine("new")
            new._manifests.note_state(new._manifests.now("toy").values(), "whole")
            look("bucket: find", "under 2", lambda: machine("new").find("toy", keys))
    finally:
        server.stop()
    print_table(f"Listing {count:,} artifacts of {PAYLOAD + 1} files", rows)


if __name__ == "__main__":
    main()
