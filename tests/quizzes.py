"""Files of benchmark items for the tests of whole runs."""

import json
import random
from pathlib import Path

HELLASWAG = Path(__file__).parents[2] / "shared" / "data" / "hellaswag" / "hellaswag_val_sample.jsonl"
COUNT = 60
WORDS = ["the", "cat", "dog", "sees", "a", "house", "tree", "and", "runs", "to", "under", "blue", "green", "river"]


def write_items(path):
    """Real items where the sample folder is there, else made up; returns them."""
    if HELLASWAG.is_file():
        items = [json.loads(line) for line in HELLASWAG.read_text(encoding="utf-8").splitlines()[:COUNT]]
    else:
        items = [_made_up(random.Random(number)) for number in range(COUNT)]
    write(path, items)
    return items


def write(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items) + '{"ctx_a": "cut off')


def _made_up(draw):
    def some(count):
        return " ".join(draw.choice(WORDS) for _ in range(count))

    endings = [some(draw.randint(3, 9)) for _ in range(4)]
    context = {"activity_label": "Toys", "ctx_a": some(12), "ctx_b": some(2)}
    return context | {"endings": endings, "label": draw.randrange(4)}
