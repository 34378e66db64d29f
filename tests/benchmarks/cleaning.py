"""Cleaning on one core: `python -m tests.benchmarks.cleaning [--rounds N] [--megabytes M]`.

All that the documents stage does to a text, by profile: normalise, edit, judge (characters, languages, rules of
quality) and sign, in batches as the stage holds them; reading and writing are left out. `languages` is the judging of
languages alone, of texts of 2,500 characters. A new process every round; what is loaded once in a process (the model of
languages) is loaded before and printed apart. The text is that of the tokens benchmark: most of its documents have
leftovers of HTML in them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from functools import partial

from tests.benchmarks.table import median, print_table
from tests.benchmarks.tokens import documents

GOALS = {"light": 40.0, "web": 5.0, "languages": 30.0}  # MB/s
PROFILES = ("none", "light", "web", "books", "chat", "code")
BATCH_CHARACTERS = 2_000_000
TYPICAL = 2_500  # characters of a page of the web


def run(size: int) -> None:
    """One measured run in this process; prints a JSON object with MB/s by profile."""
    from data.cleaning import CleanConfig, judge, normalise
    from data.documents import sign
    from data.edits.editing import Editor
    from data.languages.config import LanguageConfig
    from data.languages.identify import identifier
    from data.languages.judging import judge_languages
    from data.privacy.replacing import replace
    from data.quality.rules import first_broken_rules

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    texts = list(documents(size))
    total = sum(len(text.encode()) for text in texts) / 1e6
    begin = time.process_time()
    identifier()
    found = {"load": time.process_time() - begin, "total": total}
    first_broken_rules(texts[:100], CleanConfig(profile="web").quality)  # tables are made once

    def sift(batch: list[str], config: CleanConfig) -> int:
        if config.languages:
            judged = judge_languages(batch, config.languages)
            batch = [text for text, one in zip(batch, judged, strict=True) if one.reason is None]
        reasons = first_broken_rules(batch, config.quality)
        return sum(bool(sign(text.encode())) for text, one in zip(batch, reasons, strict=True) if one is None)

    for profile in PROFILES:
        config = CleanConfig.model_validate({"profile": profile})
        kept = held = 0
        batch: list[str] = []
        begin = time.process_time()
        editor = Editor(config.edits, partial(normalise, config=config))
        types = config.types_replaced(personal=False)
        for text in texts:
            text, _ = editor.edit(normalise(text, config))
            if types:
                text, _ = replace(text, types)
            if judge(text, config) is None:
                batch.append(text)
                held += len(text)
            if held >= BATCH_CHARACTERS:
                kept += sift(batch, config)
                batch, held = [], 0
        kept += sift(batch, config)
        found[profile] = total / (time.process_time() - begin)
        found[f"{profile} kept"] = 100 * kept / len(texts)
    typical = [text[:TYPICAL] for text in texts if len(text) >= TYPICAL]
    begin = time.process_time()
    judge_languages(typical, LanguageConfig(wanted=("en",)))
    found["languages"] = sum(len(text.encode()) for text in typical) / 1e6 / (time.process_time() - begin)
    print(json.dumps(found))


def main() -> int:
    """Print the table; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.megabytes * 1_000_000)
        return 0
    command = [sys.executable, "-m", "tests.benchmarks.cleaning", "--run", "--megabytes", str(arguments.megabytes)]
    runs = [json.loads(subprocess.check_output(command, text=True)) for _ in range(arguments.rounds)]
    rows: list[tuple[str, list[float], str, str]] = [
        (name, [one[name] for one in runs], "MB/s", f"at least {GOALS[name]:g}" if name in GOALS else "")
        for name in (*PROFILES, "languages")
    ]
    rows.append(("documents kept by web", [one["web kept"] for one in runs], "%", ""))
    rows.append(("loading the model of languages", [one["load"] for one in runs], "s", ""))
    print_table(f"Cleaning: {runs[0]['total']:.1f} MB, one core, {arguments.rounds} runs", rows)
    return 0 if all(median([one[name] for one in runs]) >= goal for name, goal in GOALS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
