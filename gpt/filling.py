"""Filling hidden tokens by mask-predict (Ghazvininejad et al. 2019, arXiv 1904.09324): guess all, keep the surest.

In each round every hidden token is guessed from all that is visible; then those guesses of which the model is least
sure are hidden again, fewer from round to round. Works on ids; the id `vocab_size` marks a hidden token. The
end-of-text id is never a guess. Each sequence has its own seeded random numbers, drawn on the CPU.
"""

from collections.abc import Sequence

import numpy as np
import torch

from gpt.drawing import choose, opened
from gpt.errors import GPTError
from gpt.masking import SHARE
from gpt.model import GPT

ROUNDS = 10  # the paper's: more bring little


def fill(
    model: GPT,
    prompt: Sequence[int],
    tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    eot_id: int,
) -> list[int]:
    """The whole text with its holes filled, the end-of-text id before it left out; without holes, what comes next.

    A continuation is always of `tokens` tokens. It is filled in pieces, so that hidden tokens stay about as rare as in
    training, each behind at most a context of known ones. Raises GPTError when a text with holes exceeds the context.
    """
    config = model.config
    generator = np.random.default_rng(seed)
    ids = opened(prompt, eot_id, config.table_rows)
    begin = len(ids)

    def filled(part: list[int]) -> list[int]:
        return _fill_holes(model, part, temperature, top_k, top_p, generator, eot_id)

    if config.vocab_size in ids:
        if len(ids) > config.context:
            raise GPTError(
                f"The text to be filled in has {len(ids)} tokens, but the model sees {config.context} at once: "
                f"shorten it, or fill it part by part."
            )
        return filled(ids)[1:]
    while len(ids) < begin + tokens:
        piece = max(1, round(min(len(ids), config.context) * SHARE))
        piece = min(piece, begin + tokens - len(ids))
        known = ids[-(config.context - piece) :]
        ids += filled(known + [config.vocab_size] * piece)[len(known) :]
    return ids[begin:]


@torch.inference_mode()
def _fill_holes(
    model: GPT,
    ids: list[int],
    temperature: float,
    top_k: int,
    top_p: float,
    generator: np.random.Generator,
    eot_id: int,
) -> list[int]:
    device, vocab_size = next(model.parameters()).device, model.config.vocab_size
    text = torch.tensor(ids)
    holes = (text == vocab_size).nonzero()[:, 0]
    sureness = torch.zeros(len(holes), dtype=torch.float64)
    rounds = min(ROUNDS, len(holes))
    for number in range(rounds):
        hidden = (text[holes] == vocab_size).nonzero()[:, 0]  # which of the holes
        logits = model.logits(model.hidden(text[None].to(device))[0, holes[hidden].to(device)])
        logits = logits[:, :vocab_size].float().cpu()
        logits[:, eot_id] = float("-inf")
        guesses = torch.tensor(
            choose(logits, temperature, top_k, top_p, torch.from_numpy(generator.random(len(hidden))))
        )
        text[holes[hidden]] = guesses
        sureness[hidden] = logits.double().softmax(-1).gather(1, guesses[:, None])[:, 0]
        again = len(holes) * (rounds - 1 - number) // rounds
        text[holes[sureness.argsort(stable=True)[:again]]] = vocab_size
    return text.tolist()
