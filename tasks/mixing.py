"""Which share of the training tokens each source gets: its weight, unless that repeats its text too often.

Pure arithmetic on numbers; where they come from is the training task's matter, drawing by shares the trainer's.
"""

from collections.abc import Mapping

from data.errors import TextmillError


def capped_weights(
    weights: Mapping[str, float], max_epochs: Mapping[str, float | None], tokens: Mapping[str, int], drawn: int
) -> dict[str, float]:
    """The weights with which no source is repeated more often than it may be.

    weights     by source, above 0, relative to each other
    max_epochs  by source, passes over its training tokens that a whole run may make; None: as many as its weight asks
    tokens      by source, its training tokens
    drawn       training tokens of the whole run

    Returned as they are when no cap binds, but 0 for a source without training tokens. A source that its cap binds gets
    just what that allows, and the others share the rest by weight. Raises TextmillError when all are bound, as there is
    nobody to take the rest.
    """
    weights = {name: weight if tokens[name] else 0.0 for name, weight in weights.items()}
    bound: dict[str, float] = {}
    while True:
        free = {name: weight for name, weight in weights.items() if weight and name not in bound}
        rest = 1 - sum(bound.values())
        if not free and rest > _ROUNDING:
            raise TextmillError(_too_much(max_epochs, tokens, drawn))
        total = sum(free.values())
        over = {}
        for name, weight in free.items():
            cap = max_epochs.get(name)
            if cap is not None and rest * weight / total > cap * tokens[name] / drawn + _ROUNDING:
                over[name] = cap * tokens[name] / drawn
        if not over:
            break
        bound |= over
    if not bound:
        return dict(weights)
    return {name: bound.get(name, rest * weight / total) for name, weight in weights.items()}


_ROUNDING = 1e-9  # a share this close to its cap keeps it


def _too_much(max_epochs: Mapping[str, float | None], tokens: Mapping[str, int], drawn: int) -> str:
    allowed = ", ".join(f"{name} {tokens[name]:,} x {cap:g}" for name, cap in max_epochs.items() if cap is not None)
    total = sum(int(tokens[name] * cap) for name, cap in max_epochs.items() if cap is not None)
    return (
        f"The run draws {drawn:,} training tokens, but the sources may give {total:,} only (tokens x max_epochs: "
        f"{allowed}). Lower training.steps, raise max_epochs, or add text."
    )
