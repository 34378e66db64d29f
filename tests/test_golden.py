"""What each stage writes, pinned: whoever changes the meaning of a stage must raise its version, and finds out here.

The digests are over what files say (see data/digests.py). When one differs on purpose, raise the version of that stage
in tasks/registry.py and put the new digest beside it.
"""

import hashlib
import json
from pathlib import Path

import pytest

from data.cleaning import CleanConfig
from data.corpus import SplitConfig, split_slot
from data.digests import logical_digest, payload_digest
from data.documents import SIGNATURES_FILE, clean_slot
from data.duplicates import DROPS_FILE, exact_duplicates
from data.ledger import assign
from data.sources.folder import FolderConfig
from data.tokenizers.config import TokenizerConfig
from data.tokenizers.make import make_tokenizer
from data.tokens import encode_slot
from gpt.jobfile import read_job
from gpt.jobs import RunJob
from gpt.metrics import read_lines
from gpt.stop import Stop
from gpt.trainer import Trainer
from tasks.registry import VERSIONS
from tests.gpt_toys import write_job

TEXTS = {
    "a.txt": "The cat sat on the mat.\r\n\r\n\r\n\r\nIt sat there for a long time, and no one came.  \n",
    "b.txt": "Ein Käfer krabbelt über die Straße; caf\u0065\u0301 ist zu. <|endoftext|> steht hier als Text.\n" * 30,
    "c.txt": "\n\n".join(f"Line {n} of a longer story goes on and on, {n * n} words long." for n in range(60)),
    "copy of a.txt": "The cat sat on the mat.\n\nIt sat there for a long time, and no one came.\n",
    "short.txt": "too short",
}
GOLDEN = {
    ("raw", 1): "7905534f3a3ea8522c6faefef0eb1a1043563927ed5ef3c66b861405c0229a24",
    ("documents", 1): "8f520362775410bfdade7f9153c633ab28915acd30ef74d9ab33e5e109bf6d81",
    ("duplicates", 1): "b5d94adfc64cf7915d0e3c1b29e54851c383ae070d0e8e74ac1977f8a1226716",
    ("corpus", 1): "0eef58263d07801ca531bbbd1a00979569cae0214b3efd6ea7b65733ff92f7a8",
    ("tokenizer", 1): "5c78967af4efbfa688c5f0407437fd2ccb48552b6b02564dc07b0e6b85525510",
    ("tokens", 1): "18329b06b431d1dff722af8225ea34a28868de6cb0ceb2589e1229ed41504a03",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """{stage: folder} of the stages run one after the other on `TEXTS`."""
    base = tmp_path_factory.mktemp("golden")
    texts = base / "texts"
    texts.mkdir()
    for name, text in TEXTS.items():
        (texts / name).write_bytes(text.encode())
    folders = {stage: base / stage for stage, _ in GOLDEN}
    for folder in [*folders.values(), base / "keep"]:
        folder.mkdir()
    source = FolderConfig(kind="folder", name="texts", path=str(texts), licence="CC0-1.0")
    _, slots, _ = assign(None, source.look(Path("/")), source.slot_bytes, "2026-01-01T00:00:00")
    source.fetch(slots[0].items, Path("/"), folders["raw"], base / "keep")
    clean_slot(source.read(folders["raw"]), folders["documents"], CleanConfig(), "texts", source.licence)
    exact_duplicates([folders["documents"] / SIGNATURES_FILE], folders["duplicates"])
    split = SplitConfig(max_whole_bytes=500, passage_bytes=300, min_passages=4)
    split_slot(folders["documents"], folders["duplicates"] / DROPS_FILE, folders["corpus"], split, 4, 1_000_000)
    shards = {side: [folders["corpus"] / f"{side}.parquet"] for side in ("train", "validation")}
    config = TokenizerConfig(vocab_size=300)
    make_tokenizer({"texts": shards["train"]}, shards["validation"], config, folders["tokenizer"])
    encode_slot(folders["corpus"], folders["tokenizer"], folders["tokens"])
    return folders


@pytest.mark.parametrize("stage", [stage for stage, _ in GOLDEN])
def test_a_stage_writes_what_its_version_says(written, stage):
    assert (stage, VERSIONS[stage]) in GOLDEN, f"{stage} has version {VERSIONS[stage]}: pin what it writes here"
    folder = written[stage]
    files = [path for path in folder.rglob("*") if path.is_file() and "observed" not in path.parts]
    digests = {path.relative_to(folder).as_posix(): logical_digest(path) for path in files}
    assert payload_digest(digests) == GOLDEN[stage, VERSIONS[stage]], f"{stage} now writes {payload_digest(digests)}"


# What training does, as numbers rather than bytes: the last bits depend on torch's build and the processor. By preset:
# training loss of step 1 and 20, validation bits per byte over the whole split, and what is written at step 0.
NUMBERS = {
    ("model", "modern", 1): (4.1582, 1.4238, 2.5895, [[48, 5, 38, 30, 23], [46, 33, 36, 27, 41, 49, 30, 30]]),
    ("model", "gpt2", 1): (4.1834, 2.7474, 3.5253, [[20, 40, 49, 41, 46, 1, 12, 34], [32, 25, 7, 31, 34, 48, 19, 35]]),
}
BATCHES = "2a4018efe8549344"  # of the 20 batches' ids


@pytest.mark.parametrize("preset", ["modern", "gpt2"])
def test_training_does_what_the_versions_say(tmp_path, preset):
    job = write_job(tmp_path, {"preset": preset}, steps=20, evaluation_every=10, log_every=10, learning_rate=1e-2)
    trainer = Trainer(read_job(RunJob, job), Stop(), print)
    batches = b"".join(trainer.learner.batches.batch(step).tobytes() for step in range(20))
    assert hashlib.sha256(batches).hexdigest()[:16] == BATCHES
    trainer.run()
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    score = json.loads((tmp_path / "run" / "summary.json").read_text())["val_bpb"]
    drawn = [line["ids"] for line in read_lines(tmp_path / "run" / "samples.jsonl") if line["step"] == 0]
    assert {VERSIONS[stage] for stage in ("model", "evaluation", "samples")} == {1}, "pin the new version's numbers"
    first, last, bits, ids = NUMBERS["model", preset, 1]
    assert (losses[0], losses[-1], score) == pytest.approx((first, last, bits), abs=2e-3)
    assert drawn == ids
