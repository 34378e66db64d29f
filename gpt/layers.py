"""The parts of a transformer block, and the cache of keys and values.

Knows tensors only: no configs, no files, no vocabulary. Parts that stand for a block of a published architecture
compute what `transformers` computes for it, in the same order of operations.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORT = 128  # tokens up to which attention on the CPU is spelt out
EPSILON = 1e-6  # of RMSNorm
LAYER_NORM_EPSILON = 1e-5  # GPT-2's


class RMSNorm(nn.Module):
    """x / rms(x) x gain over the last dimension, gain of shape (width,)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, EPSILON)


class LayerNorm(nn.Module):
    """GPT-2's norm over the last dimension, with or without bias."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, LAYER_NORM_EPSILON)


def rotary_tables(context: int, head_width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary positions, each (context, head_width) float32; halves are repeated."""
    frequencies = 1.0 / theta ** (torch.arange(0, head_width, 2, dtype=torch.float32) / head_width)
    angles = torch.arange(context, dtype=torch.float32)[:, None] * frequencies
    return torch.cat((angles, angles), -1).cos(), torch.cat((angles, angles), -1).sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn the pairs (i, i + half) of the last dimension of x by the angles of tables that broadcast against x."""
    left, right = x.chunk(2, -1)
    return x * cosines + torch.cat((-right, left), -1) * sines


class LayerCache:
    """Keys and values of one layer for a batch of sequences, (rows, heads, context, head width) each."""

    def __init__(self, rows: int, heads: int, context: int, head_width: int, device: torch.device) -> None:
        self.keys = torch.zeros(rows, heads, context, head_width, device=device)
        self.values = torch.zeros_like(self.keys)

    def extend(self, keys: Tensor, values: Tensor, positions: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Store keys and values (rows, heads, n, head width) at positions (rows, n); return `length` columns."""
        where = positions[:, None, :, None].expand_as(keys)
        self.keys.scatter_(2, where, keys.to(self.keys.dtype))
        self.values.scatter_(2, where, values.to(self.values.dtype))
        return self.keys[:, :, :length], self.values[:, :, :length]


def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool = True) -> Tensor:
    """softmax(query x key / sqrt(head width)) x value; `causal`: each token sees itself and what came before, else all.

    All (rows, heads, n, head width). Short sequences on the CPU are spelt out: up to 128 tokens that is faster there
    than the fused kernel (by 1.4 at 64 tokens, forward and backward), which wins on longer ones.
    """
    length = query.shape[-2]
    if query.device.type != "cpu" or length > SHORT:
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    scale = query.shape[-1] ** -0.5
    rows, columns = query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
    if causal:
        future = torch.full((length, length), float("-inf"), dtype=query.dtype).triu(1)
        scores = torch.baddbmm(future, rows, columns, alpha=scale)
    else:
        scores = torch.bmm(rows * scale, columns)
    return torch.bmm(scores.softmax(-1), value.flatten(0, 1)).view_as(query)


class Attention(nn.Module):
    """Self-attention over `heads` heads; with `rotary`, queries and keys are normed per head and then turned."""

    def __init__(self, width: int, heads: int, bias: bool, rotary: bool, causal: bool = True) -> None:
        super().__init__()
        self.causal = causal
        self.heads = heads
        self.head_width = width // heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)  # rows: all queries, all keys, all values
        self.out = nn.Linear(width, width, bias=bias)
        # one gain for the queries of every head and one for the keys, (2, head width)
        self.qk_gain = nn.Parameter(torch.full((2, self.head_width), 1.2)) if rotary else None

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor] | None, cached: "CachedStep | None" = None) -> Tensor:
        """x (rows, n, width); tables (n, head width), or (rows, 1, n, head width); returns (rows, n, width)."""
        rows, length, width = x.shape
        qkv = self.qkv(x).view(rows, length, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        if self.qk_gain is not None and tables is not None:
            normed = F.rms_norm(qkv[:2].contiguous(), (self.head_width,), None, EPSILON)
            query, key = rotate(normed * self.qk_gain[:, None, None, None], *tables).to(qkv.dtype)
            value = qkv[2]
        else:
            query, key, value = qkv
        if cached is None:
            mixed = attend(query, key, value, self.causal)
        else:
            key, value = cached.layer.extend(key, value, cached.positions, cached.length)
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=cached.mask)
        return self.out(mixed.transpose(1, 2).reshape(rows, length, width))


class CachedStep:
    """What attention needs to go on from a cache: where the new tokens stand and what they may see."""

    def __init__(self, layer: LayerCache, positions: Tensor, length: int, mask: Tensor) -> None:
        self.layer = layer
        self.positions = positions  # (rows, n) int64
        self.length = length  # columns of the cache in use
        self.mask = mask  # (rows, 1, n, length) bool, True where a new token may look


class GeluFeedForward(nn.Module):
    """GPT-2's two-layer block with the tanh approximation of GELU."""

    def __init__(self, width: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class GatedFeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) x up(x)); gate and up are one matrix, the gate's rows first."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)
