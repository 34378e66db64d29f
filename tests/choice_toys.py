"""Items of multiple choice in made-up ids."""

import numpy as np

from gpt.choices import Questions
from tests.gpt_toys import EOT, VOCAB


def made_up(count=12, longest=30, seed=3, endings=(2, 5)):
    """Items of ragged lengths: (context, endings, label, bytes of each ending)."""
    draw = np.random.default_rng(seed)

    def ids(low, high):
        return draw.integers(1, VOCAB, draw.integers(low, high, endpoint=True)).tolist()

    items = []
    for _ in range(count):
        parts = [ids(1, longest) for _ in range(draw.integers(*endings, endpoint=True))]
        sizes = draw.integers(1, 40, len(parts)).tolist()
        items.append(([EOT, *ids(0, longest)], parts, int(draw.integers(len(parts))), sizes))
    return items


def questions(items):
    passages = [np.array([*context, *ending], np.uint16) for context, endings, *_ in items for ending in endings]
    begins = [len(context) for context, endings, *_ in items for _ in endings]
    sizes = [size for *_, its in items for size in its]
    counts, labels = [len(endings) for _, endings, *_ in items], [label for *_, label, _ in items]
    return Questions(passages, *(np.array(one, np.int64) for one in (begins, sizes, counts, labels)))
