"""The rules of quality against datatrove's filters, document by document, and in speed.

`python -m tests.benchmarks.quality_agreement [--environment FOLDER] [--megabytes M]`. datatrove is none of our
libraries: it is installed, with pip as it is configured, into an environment of its own, which later runs find again
(`textmill/datatrove-...` in the user's cache unless a folder is given).

A document counts as agreed on where both keep it with the same text, or both drop it by the same rule: with datatrove's
words and sentences given to our rules, with its words alone, and with all our own. Every group judges the documents as
they are; `all four` is FineWeb's pipeline (repetition, Gopher, C4 without its rule of line ends, FineWeb), and this is
what is timed, finding words and sentences included. The documents: web articles full of markup, and pages of books in
five languages, as they are wrapped and with every paragraph in one line.
"""

import argparse
import importlib
import importlib.metadata
import itertools
import json
import os
import re
import subprocess
import sys
import time
import venv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.tokens import SHARED

DATATROVE = "0.10.1"
REQUIREMENTS = (f"datatrove=={DATATROVE}", "spacy==3.8.18", "nltk==3.10.4", "regex", "xxhash==3.8.2")
OUR_LIBRARIES = ("numpy", "pydantic", "tokenizers")  # in the same versions as here
ROOT = Path(__file__).parents[2]
PAGE_CHARACTERS = 6_000
BATCH_CHARACTERS = 2_000_000
GOAL = 98.0  # percent of documents on which C4's rules with our own words and sentences decide alike
SHOWN = 12  # differing documents by group
FINEWEB_C4 = {"unended_lines": None}
GROUPS: dict[str, dict[str, Any]] = {
    "repetition": {"repetition": {}},
    "gopher": {"gopher": {}},
    "c4": {"c4": {}},
    "c4, any line ends": {"c4": FINEWEB_C4},
    "fineweb": {"fineweb": {}},
    "all four": {"repetition": {}, "gopher": {}, "c4": FINEWEB_C4, "fineweb": {}},
}
OUR_NAMES = {
    "dup_para_frac": "repetition_max_duplicate_paragraphs",
    "dup_para_char_frac": "repetition_max_duplicate_paragraph_characters",
    "dup_line_frac": "repetition_max_duplicate_lines",
    "dup_line_char_frac": "repetition_max_duplicate_line_characters",
    **{f"top_{n}_gram": f"repetition_max_top_{n}_grams" for n in range(2, 5)},
    **{f"duplicated_{n}_n_grams": f"repetition_max_duplicate_{n}_grams" for n in range(5, 11)},
    "gopher_short_doc": "gopher_min_words",
    "gopher_long_doc": "gopher_max_words",
    "gopher_below_avg_threshold": "gopher_min_mean_word_length",
    "gopher_above_avg_threshold": "gopher_max_mean_word_length",
    "gopher_too_many_hashes": "gopher_max_hashes_per_word",
    "gopher_too_many_ellipsis": "gopher_max_ellipses_per_word",
    "gopher_too_many_bullets": "gopher_max_bullet_lines",
    "gopher_too_many_end_ellipsis": "gopher_max_ellipsis_lines",
    "gopher_below_alpha_threshold": "gopher_min_words_with_letter",
    "gopher_enough_stop_words": "gopher_min_stop_words",
    "lorem_ipsum": "c4_lorem_ipsum",
    "curly_bracket": "c4_curly_bracket",
    "too_few_sentences": "c4_min_sentences",
    "empty": "fineweb_min_punctuated_lines",
    "line_punct_ratio": "fineweb_min_punctuated_lines",
    "short_line_ratio": "fineweb_max_short_lines",
    "char_dup_ratio": "fineweb_max_duplicate_line_characters",
    "list_ratio": "fineweb_max_line_feeds_per_word",
}


class Decision(NamedTuple):
    """What became of a document: the rule by which it fell, or its text."""

    rule: str | None
    text: str


def collections(size: int) -> dict[str, list[tuple[str, str]]]:
    """(id, text) of documents by collection, about `size` bytes of each."""
    articles: list[tuple[str, str]] = []
    books: list[tuple[str, str]] = []
    if SHARED.is_dir():
        for line in (SHARED / "prose" / "web_articles.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            articles.append((row["id"], row["text"]))
        for path in sorted((SHARED / "gutenberg").glob("*.txt")):
            raw = path.read_bytes().decode("latin-1" if path.stem.endswith("-8") else "utf-8-sig")
            books += [(f"{path.stem}:{n}", page) for n, page in enumerate(_pages(raw.replace("\r\n", "\n")))]
    else:
        articles += importlib.import_module("pydoc_data.topics").topics.items()
    unwrapped = [(name, "\n\n".join(part.replace("\n", " ") for part in page.split("\n\n"))) for name, page in books]
    found = {"articles": articles, "pages": books, "unwrapped pages": unwrapped}
    return {name: _part(rows, size) for name, rows in found.items() if rows}


def _pages(book: str) -> Iterator[str]:
    """Paragraphs of a book, as many in one as reach the length of a page."""
    page = ""
    for paragraph in re.split(r"\n{2,}", book):
        page += ("\n\n" if page else "") + paragraph
        if len(page) >= PAGE_CHARACTERS:
            yield page
            page = ""


def _part(rows: list[tuple[str, str]], size: int) -> list[tuple[str, str]]:
    """Every n-th of the documents, so that about `size` characters are left."""
    rows = [(name, text.strip("\n")) for name, text in rows if text.strip()]
    return rows[:: max(1, round(sum(len(text) for _, text in rows) / size))]


def compare(size: int) -> bool:
    """Compare on all collections and print what was found; whether the goal is met. Runs in datatrove's environment."""
    from data.quality.rules import QualityConfig, judged

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    theirs_by_group = _datatrove()
    words, sentences, forget = _given()
    configs = {group: QualityConfig.model_validate(values) for group, values in GROUPS.items()}
    judged(["Tables are made once."], configs["all four"])
    met = True
    for collection, rows in collections(size).items():
        agreed: dict[str, Counter[str]] = {group: Counter() for group in GROUPS}
        differing: dict[str, list[str]] = {group: [] for group in GROUPS}
        seconds = {"theirs": 0.0, "ours": 0.0}
        for batch in _batches(rows):
            texts = [text for _, text in batch]
            for group, config in configs.items():
                timed = group == "all four"
                forget(timed)
                begin = time.process_time()
                theirs = [theirs_by_group(group, text) for text in texts]
                between = time.process_time()
                ours = [Decision(one.reason, "" if one.reason else one.text) for one in judged(texts, config)]
                done = time.process_time()
                if timed:
                    seconds["theirs"] += between - begin
                    seconds["ours"] += done - between
                    forget(False)
                given, half = (
                    [Decision(one.reason, "" if one.reason else one.text) for one in judged(texts, config, words, *way)]
                    for way in ((sentences,), ())
                )
                for (name, _), their, our, same, own in zip(batch, theirs, ours, given, half, strict=True):
                    agreed[group].update(given=same == their, sentences=own == their, ours=our == their)
                    if same != their:
                        differing[group].append(f"{name}: {_told(their)}, with the same words {_told(same)}")
                    elif our != their:
                        differing[group].append(f"{name}: {_told(their)}, ours {_told(our)}")
        size_of_all = sum(len(text.encode()) for _, text in rows) / 1e6
        print(f"\n{collection}: {len(rows):,} documents, {size_of_all:.1f} MB; agreed on, in %")
        print(f"  {'':<22}{'same words and sentences':>26}{'same words':>14}{'all our own':>14}")
        for group, counts in agreed.items():
            shares = [100 * counts[which] / len(rows) for which in ("given", "sentences", "ours")]
            print(f"  {group:<22}{shares[0]:>26.2f}{shares[1]:>14.2f}{shares[2]:>14.2f}")
            met &= shares[0] == 100 and (shares[2] >= GOAL or not group.startswith("c4"))
        for group, lines in differing.items():
            print("".join(f"    {group}: {line}\n" for line in lines[:SHOWN]), end="")
            if len(lines) > SHOWN:
                print(f"    {group}: and {len(lines) - SHOWN} others")
        speeds = {which: size_of_all / seconds[which] for which in ("theirs", "ours")}
        ratio = speeds["ours"] / speeds["theirs"]
        print(f"  all four: datatrove {speeds['theirs']:.3g} MB/s, ours {speeds['ours']:.3g} MB/s, ratio {ratio:.3g}")
    return met


def _told(decision: Decision) -> str:
    return decision.rule or f"kept, {len(decision.text):,} characters"


def _batches(rows: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    ends = itertools.accumulate(len(text) for _, text in rows)
    for _, part in itertools.groupby(zip(rows, ends, strict=True), lambda pair: pair[1] // BATCH_CHARACTERS):
        yield [row for row, _ in part]


def _datatrove() -> Callable[[str, str], Decision]:
    """A function that lets datatrove's filters of a group decide about a text."""
    filters: Any = importlib.import_module("datatrove.pipeline.filters")
    document: Any = importlib.import_module("datatrove.data").Document
    repetition, gopher = filters.GopherRepetitionFilter(), filters.GopherQualityFilter()
    c4, c4_of_fineweb = filters.C4QualityFilter(), filters.C4QualityFilter(filter_no_terminal_punct=False)
    fineweb = filters.FineWebQualityFilter()
    chains = {
        "repetition": [repetition],
        "gopher": [gopher],
        "c4": [c4],
        "c4, any line ends": [c4_of_fineweb],
        "fineweb": [fineweb],
        "all four": [repetition, gopher, c4_of_fineweb, fineweb],
    }

    def decide(group: str, text: str) -> Decision:
        about = document(text=text, id="")
        for one in chains[group]:
            result = one.filter(about)
            if result is not True:
                return Decision(OUR_NAMES[result[1]], "")
        return Decision(None, about.text)

    return decide


def _given() -> tuple[Callable[..., Any], Callable[..., Any], Callable[[bool], None]]:
    """datatrove's words and its sentences, as our rules take them, and a function that forgets what it found so far and
    gives it its own small memory back, or (False) a large one."""
    import numpy as np

    from data.quality.columns import Spans, Texts
    from data.quality.edits import strings_of

    module: Any = importlib.import_module("datatrove.utils.text")
    small = module.split_into_parts
    large = lru_cache(maxsize=None)(small.__wrapped__)

    def words(texts: Texts) -> Spans:
        starts, ends = [], []
        for begin, text in zip(texts.starts.tolist(), strings_of(texts), strict=True):
            at = 0
            for word in module.split_into_words(text) if text else ():
                at = text.index(word, at)
                starts.append(begin + at)
                at += len(word)
                ends.append(begin + at)
        return texts.spans(np.array(starts, np.int64), np.array(ends, np.int64))

    def sentences(texts: Texts, lines: Spans, _: Spans) -> Any:
        joined = texts.codes.tobytes().decode("utf-32-le", "surrogatepass")
        parts = [joined[a:b] for a, b in zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)]
        return np.array([len(module.split_into_sentences(part)) for part in parts], np.int64)

    def forget(timed: bool) -> None:
        small.cache_clear()
        large.cache_clear()
        module.split_into_parts = small if timed else large

    return words, sentences, forget


def environment_at(folder: Path) -> Path:
    """The interpreter of an environment with datatrove; it is made if it is not there."""
    python = folder / "bin" / "python"
    done = folder / "installed"
    ours = [f"{name}=={importlib.metadata.version(name)}" for name in OUR_LIBRARIES]
    wanted = "\n".join([*REQUIREMENTS, *ours])
    if not done.exists() or done.read_text() != wanted:
        print(f"Installing datatrove {DATATROVE} into {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted.split()], check=True)
        done.write_text(wanted)
    return python


def main() -> int:
    """Print the comparison; exit code 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--environment", type=Path, default=cache / "textmill" / f"datatrove-{DATATROVE}")
    parser.add_argument("--megabytes", type=float, default=2, help="of each collection, about")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        return 0 if compare(round(arguments.megabytes * 1e6)) else 1
    python = environment_at(arguments.environment)
    command = [
        str(python),
        "-m",
        "tests.benchmarks.quality_agreement",
        "--run",
        "--megabytes",
        f"{arguments.megabytes:g}",
    ]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode


if __name__ == "__main__":
    sys.exit(main())
