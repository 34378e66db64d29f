"""What all ways of generating share: how a prompt begins, and how an id is drawn from logits."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gpt.errors import GPTError


def choose(logits: Tensor, temperature: float, top_k: int, top_p: float, uniforms: Tensor) -> list[int]:
    """Draw one id per row of logits (rows, vocab) by the inverse of the filtered distribution at uniforms (rows,).

    The ids left are those of the k largest logits (ties: the lower id first) and of those the fewest whose
    probability, after temperature and k, reaches top_p.
    """
    if temperature == 0:
        return logits.argmax(-1).tolist()
    ranked, ids = logits.double().sort(dim=-1, descending=True, stable=True)
    if top_k:
        ranked, ids = ranked[:, :top_k], ids[:, :top_k]
    reached = torch.softmax(ranked / temperature, -1).cumsum(-1)
    before = torch.cat((torch.zeros_like(reached[:, :1]), reached[:, :-1]), -1)
    kept = before < top_p  # the first always is
    total = torch.where(kept, reached, 0).amax(-1, keepdim=True)
    place = ((reached > uniforms[:, None] * total) & kept).int().argmax(-1, keepdim=True)
    return ids.gather(-1, place).squeeze(-1).tolist()


def opened(prompt: Sequence[int], eot_id: int, known: int) -> list[int]:
    """The prompt as the beginning of a document. Raises GPTError for ids outside of [0, known)."""
    for token in prompt:
        if not 0 <= token < known:
            raise GPTError(f"The prompt holds id {token}, but the model knows ids 0 to {known - 1} only.")
    return list(prompt) if prompt and prompt[0] == eot_id else [eot_id, *prompt]
