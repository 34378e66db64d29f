"""Which optimizer updates which parameter, at whose learning rate: told by name and shape.

Each parameter is in exactly one group. Knows the names of `gpt.model`, and nothing of gradients or rates.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import nn

FUSED = {"qkv.weight": 3, "gate_up.weight": 2}  # matrices that are kept in one tensor, one below the other

Parameters = dict[str, nn.Parameter]


@dataclass(frozen=True)
class Groups:
    """Parameters by name.

    muon        matrices of the blocks, when Muon updates them
    matrices    the same, when AdamW does
    embeddings  tables that ids or positions look up, a head that shares one of them included
    heads       the matrix of an untied output head
    gains       gains and biases
    """

    muon: Parameters = field(default_factory=dict)
    matrices: Parameters = field(default_factory=dict)
    embeddings: Parameters = field(default_factory=dict)
    heads: Parameters = field(default_factory=dict)
    gains: Parameters = field(default_factory=dict)


def group(parameters: Iterable[tuple[str, nn.Parameter]], optimizer: str) -> Groups:
    """Sort named parameters into groups; `optimizer` ("muon" or "adamw") says who updates the blocks' matrices."""
    groups = Groups()
    for name, parameter in parameters:
        if parameter.ndim != 2 or name.endswith("qk_gain"):
            chosen = groups.gains
        elif name.startswith("blocks."):
            chosen = groups.muon if optimizer == "muon" else groups.matrices
        elif name.startswith("head."):
            chosen = groups.heads
        else:
            chosen = groups.embeddings
        chosen[name] = parameter
    return groups


def parts(name: str) -> int:
    """How many matrices of equal shape the tensor of this name holds, one below the other."""
    return next((count for ending, count in FUSED.items() if name.endswith(ending)), 1)
