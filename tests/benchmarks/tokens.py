"""The tokens stage, Parquet in and .npy out, against the same stage with tiktoken on two threads.

`python -m tests.benchmarks.tokens [--rounds N] [--megabytes M] [--threads T]`. Every run is a fresh process, so that
no cache knows the text; the two take turns, and the ratio is the median over pairs, which other work on the machine
disturbs least. Set-up (imports, loading the tokenizer) is printed apart. Both must write the same bytes.

The text: all sentences of the sample folder's books and web articles (25 MB; Python's own documentation where the
folder is missing), in a new order in every pass over them, until it is long enough. So that later passes bring new
words at the rate at which more real text would (the number of different pieces grows with the text's length to the
power 0.55), 2% of their longer words are spliced from the halves of two words.
"""

import argparse
import importlib
import itertools
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.table import median, print_table

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
DOCUMENT_CHARACTERS = (500, 12_000)  # shortest and longest
VALIDATION_SHARE = 0.05
SPLICED = 0.02  # of the longer words, from the second pass on
VOCABULARY = 32_768
SMALL_VOCABULARY = 8_192  # where the shared text is not there, whose words are many more
GOAL = 8.0


def sentences() -> list[str]:
    """The real sentences that all text here is made of."""
    texts = []
    if SHARED.is_dir():
        for path in sorted((SHARED / "gutenberg").glob("*.txt")):
            raw = path.read_bytes()
            texts.append(raw.decode("latin-1" if path.stem.endswith("-8") else "utf-8-sig").replace("\r\n", "\n"))
        articles = (SHARED / "prose" / "web_articles.jsonl").read_text(encoding="utf-8").splitlines()
        texts += [json.loads(line)["text"] for line in articles]
    else:
        texts += importlib.import_module("pydoc_data.topics").topics.values()
    return [sentence for text in texts for sentence in re.findall(r"[^.\n]*[.\n]+\s*", text)]


def documents(total: int) -> Iterator[str]:
    """About `total` bytes of documents; the same ones every time."""
    rng = random.Random(0)
    pool = sentences()
    words = re.findall(r"[^\W\d_]{4,}", " ".join(rng.sample(pool, min(len(pool), 20_000))))

    def splice(match: re.Match[str]) -> str:
        word = str(match[0])
        if rng.random() >= SPLICED:
            return word
        other = rng.choice(words)
        return f"{word[: len(word) // 2]}{other[len(other) // 2 :]}"

    made = 0
    for turn in itertools.count():
        rng.shuffle(pool)
        rest = iter(pool)
        while document := list(_until(rest, rng.randint(*DOCUMENT_CHARACTERS))):
            text = "".join(document)
            if turn:
                text = re.sub(r"[^\W\d_]{4,}", splice, text)
            yield text
            made += len(text.encode())
            if made >= total:
                return


def _until(parts: Iterator[str], size: int) -> Iterator[str]:
    for part in parts:
        yield part
        size -= len(part)
        if size <= 0:
            return


def make_inputs(folder: Path, total: int) -> int:
    """Write a corpus slot and a tokenizer trained on a tenth of it; returns the bytes of text."""
    from data.shards import CORPUS, ShardWriter, table_of
    from data.tokenizers.config import TokenizerConfig
    from data.tokenizers.make import make_tokenizer

    corpus, tokenizer = folder / "corpus", folder / "tokenizer"
    corpus.mkdir()
    tokenizer.mkdir()
    texts = list(documents(total))
    cut = int(len(texts) * (1 - VALIDATION_SHARE))
    for side, rows in (("train", texts[:cut]), ("validation", texts[cut:])):
        n = len(rows)
        columns: dict[str, list[object]] = {
            "native_id": [f"{side}-{number}" for number in range(n)],
            "authors": [[]] * n,
            "text": list(rows),
            "source": ["benchmark"] * n,
            "url": [None] * n,
            "created": [None] * n,
            "licence": ["mixed"] * n,
            "meta": ['{"look":0}'] * n,
            "passage": [0] * n,
            "passages": [1] * n,
        }
        with ShardWriter(corpus / f"{side}.parquet", CORPUS) as writer:
            writer.write(table_of(CORPUS, columns))
    size = min(VOCABULARY if SHARED.is_dir() else SMALL_VOCABULARY, max(512, total // 2000))
    config = TokenizerConfig(vocab_size=size, sample_bytes=max(1000, total // 10))
    make_tokenizer({"benchmark": [corpus / "train.parquet"]}, [], config, tokenizer)
    return sum(len(text.encode()) for text in texts)


def run_stage(which: str, folder: Path, threads: int) -> None:
    """One measured run in this process; prints a JSON object with seconds, and digests of what was written."""
    begin = time.perf_counter()
    import hashlib

    import numpy as np
    import pyarrow as pa

    from data.tokenizers.bulk import BulkEncoder, Encoded
    from data.tokenizers.gigatoken_encoder import GigatokenEncoder
    from data.tokenizers.load import Tokenizer, load_tokenizer
    from data.tokenizers.load import tiktoken_encoding as encoding_of
    from data.tokens import write_slot

    class TiktokenOnThreads:
        """The peer: lists of texts in, lists of ids out, as tiktoken gives them in bulk."""

        def __init__(self, tokenizer: Tokenizer) -> None:
            self._encoding = encoding_of(tokenizer.vocabulary)

        def encode(self, texts: pa.StringArray) -> Encoded:
            rows = self._encoding.encode_ordinary_batch(texts.to_pylist(), num_threads=threads)
            offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
            return Encoded(np.frombuffer(b"".join(array("I", row) for row in rows), np.uint32), offsets)

    tokenizer = load_tokenizer(folder / "tokenizer")
    ours = which == "ours"
    encoder: BulkEncoder = GigatokenEncoder(folder / "tokenizer", tokenizer) if ours else TiktokenOnThreads(tokenizer)
    ready, work_begin = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=folder) as out:
        facts = write_slot(folder / "corpus", tokenizer, encoder, Path(out), threads if ours else 1)
        done, work_done = time.perf_counter(), time.process_time()
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(out).iterdir())]
    tokens = facts.counts["train_tokens"] + facts.counts["validation_tokens"]
    seconds = {"setup": ready - begin, "stage": done - ready, "processor": work_done - work_begin}
    print(json.dumps(seconds | {"tokens": tokens, "digests": digests}))


def main() -> int:
    """Print the table; exit code 1 when the goal is missed or the two differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", choices=("ours", "tiktoken"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_stage(arguments.run, arguments.folder, arguments.threads)
        return 0
    with tempfile.TemporaryDirectory() as name:
        size = make_inputs(Path(name), arguments.megabytes * 1_000_000)
        runs: dict[str, list[dict[str, float]]] = {"ours": [], "tiktoken": []}
        written = set()
        for turn in range(arguments.rounds):
            for which in list(runs)[:: 1 if turn % 2 else -1]:
                command = [sys.executable, "-m", "tests.benchmarks.tokens", "--run", which, "--folder", name]
                command += ["--threads", str(arguments.threads)]
                result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                written.add(tuple(result.pop("digests")))
                runs[which].append(result)
    pairs = {
        what: [theirs[what] / ours[what] for ours, theirs in zip(runs["ours"], runs["tiktoken"], strict=True)]
        for what in ("stage", "processor")
    }
    rows: list[tuple[str, list[float], str, str]] = []
    for which, results in runs.items():
        rows.append((f"{which}: stage", [run["stage"] for run in results], "s", ""))
        rows.append((f"{which}: stage", [size / 1e6 / run["stage"] for run in results], "MB/s", ""))
        rows.append((f"{which}: stage, processor time", [run["processor"] for run in results], "s", ""))
        rows.append((f"{which}: set-up, not in the stage", [run["setup"] for run in results], "s", ""))
    rows.append(("tiktoken's processor time / ours, by pairs", pairs["processor"], "x", ""))
    rows.append(("tiktoken's time / ours, by pairs", pairs["stage"], "x", f"at least {GOAL:g}"))
    tokens = int(runs["ours"][0]["tokens"])
    print_table(
        f"Tokens stage: {size / 1e6:.1f} MB, {tokens:,} tokens, {arguments.threads} threads, "
        f"{arguments.rounds} runs each",
        rows,
    )
    same = len(written) == 1
    print(f"  both wrote {'the same bytes' if same else 'DIFFERENT bytes'}")
    return 0 if same and median(pairs["stage"]) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
