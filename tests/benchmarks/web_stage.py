"""The documents stage by the profile `web` against datatrove's four filters and its signatures, one core each.

`python -m tests.benchmarks.web_stage [--environment FOLDER] [--megabytes M] [--rounds N]`. Ours is the whole stage, raw
documents in, Parquet out: edits, languages, personal data, all rules of quality, signatures of near duplicates with
their band table. Theirs is repetition, Gopher, C4 without its rule of line ends, FineWeb, each as it runs in a
pipeline, and MinhashDedupSignature of what they keep; texts are in memory, and no language is looked at. Every run is a
process of its own that has seen none of the text; what is loaded once (tables, models, tokenizers of words) is loaded
before, with a text of another kind. The documents are those of two other benchmarks: made of sentences of books and
articles (tokens.py), and real web articles and pages of books (quality_agreement.py, which also says where datatrove is
installed). Ours gets ten times as much of the same collections, as far as there is so much.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.quality_agreement import DATATROVE, ROOT, collections, environment_at
from tests.benchmarks.table import median, print_table
from tests.benchmarks.tokens import documents

GOAL = 20.0  # times datatrove's speed
OURS_MORE = 10  # times their text
MADE = "made documents"
FIRST = "The mill stands by the river, and whoever comes to it has to wait. " * 40


def texts_of(collection: str, size: int) -> list[str]:
    """About `size` bytes of a collection."""
    return list(documents(size)) if collection == MADE else [text for _, text in collections(size)[collection]]


def ours(texts: list[str], out: Path) -> int:
    """Our stage; returns how many documents it keeps."""
    from data.cleaning import CleanConfig
    from data.documents import clean_slot
    from data.near.config import NearConfig
    from data.sources.base import RawDocument

    config = CleanConfig.model_validate({"profile": "web", "privacy": "on"})
    made = [RawDocument(str(number), text, meta={"look": 1}) for number, text in enumerate(texts)]
    return int(clean_slot(made, out, config, "benchmark", "mixed", near=NearConfig()).counts["documents_out"])


class Theirs:
    """datatrove's steps, which load what they need when they are made and with the first text."""

    def __init__(self) -> None:
        filters: Any = importlib.import_module("datatrove.pipeline.filters")
        self._minhash: Any = importlib.import_module("datatrove.pipeline.dedup.minhash")
        self._document: Any = importlib.import_module("datatrove.data").Document
        self._filters = [
            filters.GopherRepetitionFilter(),
            filters.GopherQualityFilter(),
            filters.C4QualityFilter(filter_no_terminal_punct=False),
            filters.FineWebQualityFilter(),
        ]
        importlib.import_module("loguru").logger.remove()
        for one in self._filters:  # one after the other: what one drops, the next would not see
            one.filter(self._document(text=FIRST, id=""))

    def run(self, texts: list[str], out: Path) -> int:
        """How many documents they keep."""
        data = (self._document(text=text, id=str(number)) for number, text in enumerate(texts))
        for one in self._filters:
            data = one.run(data)
        kept = 0

        def counted() -> Any:
            nonlocal kept
            for document in data:
                kept += 1
                yield document

        for _ in self._minhash.MinhashDedupSignature(str(out)).run(counted()) or ():
            pass
        return kept


def run(which: str, collection: str, size: int) -> None:
    """One measured run in this process; prints a JSON object."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    texts = texts_of(collection, size)
    work = ours if which == "ours" else Theirs().run
    with tempfile.TemporaryDirectory() as name:
        for place in ("first", "out"):
            Path(name, place).mkdir()
        work([FIRST], Path(name, "first"))
        begin = time.process_time()
        kept = work(texts, Path(name, "out"))
        seconds = time.process_time() - begin
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(json.dumps({"speed": megabytes / seconds, "kept": 100 * kept / len(texts), "megabytes": megabytes}))


def main() -> int:
    """Print the table; exit code 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--environment", type=Path, default=cache / "textmill" / f"datatrove-{DATATROVE}")
    parser.add_argument("--megabytes", type=float, default=1, help="of each collection for datatrove, about")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = round(arguments.megabytes * 1e6)
    if arguments.run:
        which, collection = arguments.run
        run(which, collection, size)
        return 0
    pythons = {"ours": sys.executable, "theirs": str(environment_at(arguments.environment))}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    met = True
    for collection in (MADE, *collections(size)):
        found: dict[str, list[dict[str, float]]] = {which: [] for which in pythons}
        for _ in range(arguments.rounds):
            for which, python in pythons.items():
                more = OURS_MORE if which == "ours" else 1
                command = [python, "-m", "tests.benchmarks.web_stage", "--megabytes", f"{more * arguments.megabytes:g}"]
                said = subprocess.check_output(
                    [*command, "--run", which, collection], text=True, cwd=ROOT, env=environment
                )
                found[which].append(json.loads(said.splitlines()[-1]))
        ratios = [a["speed"] / b["speed"] for a, b in zip(found["ours"], found["theirs"], strict=True)]
        sizes = ", ".join(f"{which} {one[0]['megabytes']:.1f} MB" for which, one in found.items())
        rows: list[tuple[str, list[float], str, str]] = [
            (f"{which}: {what}", [one[key] for one in runs], unit, "")
            for which, runs in found.items()
            for what, key, unit in (("speed", "speed", "MB/s"), ("documents kept", "kept", "%"))
        ]
        rows.append(("ratio of pairs", ratios, "x", f"at least {GOAL:g}"))
        print_table(f"{collection}: {sizes}, one core, {arguments.rounds} pairs", rows)
        met &= median(ratios) >= GOAL
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
