"""The documents stage on one core: `python -m tests.benchmarks.cleaning [--rounds N] [--megabytes M]`.

Raw documents in, Parquet and signatures out, by profile; with `web` as it stands in its goal, signatures for near
duplicates and personal data replaced are part of it. `languages` is the judging of languages alone, of texts of 2,500
characters. A new process for every profile and round, so that no text was seen before; what is loaded once in a process
(tables, the model of languages) is loaded before and printed apart. The text is that of the tokens benchmark: most of
its documents have leftovers of HTML in them.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

from tests.benchmarks.table import median, print_table
from tests.benchmarks.tokens import documents

GOALS = {"light": 40.0, "web": 5.0, "languages": 30.0}  # MB/s
TWO_CORES = 1.7  # times one core
PROFILES = ("none", "light", "web", "books", "chat", "code")
WARMING = 200_000  # characters of other text, of which some is kept, so that all is loaded that is loaded once
TYPICAL = 2_500  # characters of a page of the web


def run(profile: str, size: int) -> None:
    """One measured run in this process; prints a JSON object with MB/s, share kept, peak memory and loading time."""
    from data.cleaning import CleanConfig
    from data.documents import clean_slot
    from data.languages.config import LanguageConfig
    from data.languages.judging import judge_languages
    from data.near.config import NearConfig
    from data.sources.base import RawDocument

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    texts = list(documents(size + WARMING))
    made = [RawDocument(str(number), text, meta={"look": 1}) for number, text in enumerate(texts)]
    first = next(at for at, end in enumerate(accumulate(map(len, texts))) if end > WARMING)
    warming, made, texts = made[:first], made[first:], texts[first:]
    total = sum(len(text.encode()) for text in texts) / 1e6
    if profile == "languages":
        texts = [text[:TYPICAL] for text in texts if len(text) >= TYPICAL]
        total = sum(map(len, texts)) / 1e6
        judge_languages(["A text."], LanguageConfig(wanted=("en",)))
        begin = time.process_time()
        judge_languages(texts, LanguageConfig(wanted=("en",)))
        print(json.dumps({"speed": total / (time.process_time() - begin)}))
        return
    is_web = profile == "web"
    config = CleanConfig.model_validate({"profile": profile} | ({"privacy": "on"} if is_web else {}))
    near = NearConfig() if is_web else None
    with tempfile.TemporaryDirectory() as name:
        begin = time.process_time()
        for number in range(2):
            begin, before = time.process_time(), begin
            out = Path(name, str(number))
            out.mkdir()
            facts = clean_slot(made if number else warming, out, config, "benchmark", "mixed", near=near)
        speed, loading = total / (time.process_time() - begin), begin - before
    kept = 100 * facts.counts["documents_out"] / len(made)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    print(json.dumps({"speed": speed, "kept": kept, "memory": memory, "loading": loading, "total": total}))


def on_two_cores(profile: str, size: int) -> None:
    """How much sooner two fetched slots are cleaned by two workers than by one, as a run does it: each worker has a
    process of its own, and starting these is part of both times. Prints a JSON object with that ratio, the one for two
    threads of one process that give nothing away, and that of plain loops."""
    from data.apart import Processes
    from data.cleaning import CleanConfig
    from data.documents import Beside, clean_raw, clean_slot
    from data.facts import no_progress
    from data.ledger import assign
    from data.near.config import NearConfig
    from data.sources.base import RawDocument
    from data.sources.folder import FolderConfig

    texts = list(documents(size))
    web = profile == "web"
    config = CleanConfig.model_validate({"profile": profile} | ({"privacy": "on"} if web else {}))
    beside = Beside(NearConfig() if web else None)
    with tempfile.TemporaryDirectory() as name:
        fetched = []
        for number in range(2):
            place = Path(name, f"texts-{number}")
            place.mkdir()
            lines = (json.dumps({"text": text}) + "\n" for text in texts[number::2])
            (place / "texts.jsonl").write_text("".join(lines), encoding="utf-8")
            source = FolderConfig.model_validate({"kind": "folder", "path": str(place), "name": "texts"})
            (slot,) = assign(None, source.look(place), 1 << 40, "2024")[1]
            raw = Path(name, f"raw-{number}")
            raw.mkdir()
            source.fetch(slot.items, place, raw, Path(name, "work"))
            fetched.append((source, raw))
        warm = RawDocument("0", texts[0], meta={"look": 1})
        del texts

        def cleaned(workers: int, apart: bool) -> float:
            """Seconds that both slots take."""

            def one(number: int) -> None:
                source, raw = fetched[number]
                with tempfile.TemporaryDirectory(dir=name) as out:
                    arguments = (source, raw, Path(out), config, "texts", beside)
                    if apart:
                        processes.call(clean_raw, *arguments, progress=no_progress)
                    else:
                        clean_raw(*arguments, progress=no_progress)

            begin = time.perf_counter()
            with Processes() as processes, ThreadPoolExecutor(workers) as pool:
                list(pool.map(one, range(2)))
            return time.perf_counter() - begin

        clean_slot([warm], Path(name), config, "texts", "", near=beside.near)
        workers = cleaned(1, apart=True) / cleaned(2, apart=True)
        loops = of_plain_loops()
        threads = cleaned(1, apart=False) / cleaned(2, apart=False)
    print(json.dumps({"workers": workers, "threads": threads, "loops": loops}))


def of_plain_loops() -> float:
    """The ratio for loops that share nothing: cores that are not whole ones, or are busy, give no more to anything."""
    command = [sys.executable, "-c", "for number in range(20_000_000): number * number"]
    begin = time.perf_counter()
    for _ in range(2):
        subprocess.check_call(command)
    between = time.perf_counter()
    for process in [subprocess.Popen(command) for _ in range(2)]:
        process.wait()
    return (between - begin) / (time.perf_counter() - between)


def main() -> int:
    """Print the table; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--two", choices=PROFILES, help=argparse.SUPPRESS)
    parser.add_argument("--run", choices=(*PROFILES, "languages"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.run, arguments.megabytes * 1_000_000)
        return 0
    if arguments.two:
        on_two_cores(arguments.two, (6 if arguments.two == "light" else 2) * arguments.megabytes * 1_000_000)
        return 0
    command = [sys.executable, "-m", "tests.benchmarks.cleaning", "--megabytes", str(arguments.megabytes), "--run"]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in (*PROFILES, "languages")}
    for _ in range(arguments.rounds):
        for name, its in runs.items():
            its.append(json.loads(subprocess.check_output([*command, name], text=True)))
    rows: list[tuple[str, list[float], str, str]] = [
        (name, [one["speed"] for one in its], "MB/s", f"at least {GOALS[name]:g}" if name in GOALS else "")
        for name, its in runs.items()
    ]
    for name in ("light", "web"):
        two = [*command[:-1], "--two", name]
        both = [json.loads(subprocess.check_output(two, text=True)) for _ in range(arguments.rounds)]
        rows.append((f"{name}, two workers", [one["workers"] for one in both], "x", f"at least {TWO_CORES:g}"))
        rows.append((f"{name}, two threads of one process", [one["threads"] for one in both], "x", ""))
        rows.append(("two plain loops meanwhile", [one["loops"] for one in both], "x", ""))
    web = runs["web"]
    rows.append(("documents kept by web", [one["kept"] for one in web], "%", ""))
    rows.append(("peak memory of web, the texts among it", [one["memory"] for one in web], "MB", "under 1500"))
    rows.append(("loading tables and models for web", [one["loading"] for one in web], "s", ""))
    print_table(f"Cleaning: {web[0]['total']:.1f} MB, one core, {arguments.rounds} runs", rows)
    return 0 if all(median([one["speed"] for one in runs[name]]) >= goal for name, goal in GOALS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
