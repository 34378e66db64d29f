"""The model: presets `gpt2` (GPT2LMHeadModel of transformers), `modern` (Qwen3ForCausalLM) and `bigram` (the same
without blocks).

Turns ids into logits. With the objective `masked` every token sees all others (BERT, arXiv 1810.04805), and the id
above the vocabulary stands for hidden tokens. Knows nothing of text, files, losses over corpora or sampling. In
training the tables are padded to a multiple of 64 rows; the padding rows stand for no id, so whoever samples or scores
cuts the logits to `config.vocab_size` columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt.config import ModelConfig
from gpt.layers import (
    EPSILON,
    Attention,
    CachedStep,
    GatedFeedForward,
    GeluFeedForward,
    LayerCache,
    LayerNorm,
    RMSNorm,
    rotary_tables,
)
from gpt.masking import targets_per_row


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)), with dropout on both branches."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, modern = config.width, config.preset == "modern"
        self.dropout = config.dropout
        self.attention_norm = RMSNorm(width) if modern else LayerNorm(width, config.bias)
        self.attention = Attention(width, config.heads, config.bias, modern, not config.masked)
        self.feed_forward_norm = RMSNorm(width) if modern else LayerNorm(width, config.bias)
        self.feed_forward = (
            GatedFeedForward(width, config.feed_forward)
            if modern
            else GeluFeedForward(width, config.feed_forward, config.bias)
        )

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor] | None, cached: CachedStep | None = None) -> Tensor:
        x = x + self._drop(self.attention(self.attention_norm(x), tables, cached))
        return x + self._drop(self.feed_forward(self.feed_forward_norm(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Cache:
    """Keys and values of all layers for `rows` sequences of at most the model's context; room is made at once."""

    def __init__(self, config: ModelConfig, rows: int, device: torch.device) -> None:
        shape = rows, config.heads, config.context, config.width // max(1, config.heads)
        self.layers = [LayerCache(*shape, device) for _ in range(config.layers)]


class GPT(nn.Module):
    """A language model after a resolved config."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.modern = config.preset != "gpt2"
        self.rotary = config.preset == "modern"
        self.embedding = nn.Embedding(config.padded_vocab, config.width)
        if self.rotary:
            tables = rotary_tables(config.context, config.width // config.heads, config.rope_theta)
            self.register_buffer("cosines", tables[0], persistent=False)
            self.register_buffer("sines", tables[1], persistent=False)
        if not self.modern:
            self.positions = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = RMSNorm(config.width) if self.modern else LayerNorm(config.width, config.bias)
        if not config.tied:
            self.head = nn.Linear(config.width, config.padded_vocab, bias=False)

    def initialise(self, seed: int) -> "GPT":
        """Set every weight to its starting value, drawn on the CPU; the first loss is about ln(vocab_size)."""
        generator = torch.Generator().manual_seed(seed)
        depth = max(1, 2 * self.config.layers) ** -0.5
        uniform = (3 / self.config.width) ** 0.5
        for name, parameter in self.named_parameters():
            with torch.no_grad():
                drawn = torch.empty(parameter.shape)
                if name.endswith("bias"):
                    drawn.zero_()
                elif name.endswith("qk_gain"):
                    drawn.fill_(1.2)
                elif parameter.ndim == 1:
                    drawn.fill_(1.0)
                elif not self.modern:
                    residual = name.endswith(("attention.out.weight", "feed_forward.down.weight"))
                    drawn.normal_(0, 0.02 * (depth if residual else 1), generator=generator)
                elif name == "embedding.weight":
                    drawn.normal_(0, 0.02 if self.config.tied else 0.8, generator=generator)
                elif name == "head.weight":
                    drawn.normal_(0, 0.001, generator=generator)
                elif name.endswith("qkv.weight"):
                    drawn.uniform_(-uniform, uniform, generator=generator)
                elif name.endswith("gate_up.weight"):
                    drawn.uniform_(-0.4 * uniform, 0.4 * uniform, generator=generator)
                else:  # the projections back into the residual stream
                    drawn.zero_()
                parameter.copy_(drawn)
        return self

    def hidden(self, ids: Tensor) -> Tensor:
        """The normed residual stream: ids (rows, n) int64, n at most the context -> (rows, n, width)."""
        length = ids.shape[1]
        x = self._embed(ids, None)
        tables = (self.cosines[:length], self.sines[:length]) if self.rotary else None
        for block in self.blocks:
            x = block(x, tables)
        return self.final_norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next id: (..., width) -> (..., padded vocabulary)."""
        return F.linear(hidden, self.embedding.weight if self.config.tied else self.head.weight)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (rows, n) int64 -> logits (rows, n, padded vocabulary)."""
        return self.logits(self.hidden(ids))

    def loss_sum(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Sum over all targets of -ln p(target) in nats; ids and targets (rows, n) int64; returns a float32 scalar."""
        hidden, targets = self.predicting(ids, targets)
        return F.cross_entropy(self.logits(hidden).flatten(0, -2).float(), targets.flatten(), reduction="sum")

    def predicting(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states (rows, m, width) that predict, and their targets (rows, m).

        All of them; with `masked` those whose target is not -100, of which each row has `targets_per_row(n)`.
        """
        hidden = self.hidden(ids)
        if not self.config.masked:
            return hidden, targets
        count = targets_per_row(ids.shape[1])
        places = (targets < 0).byte().argsort(dim=1, stable=True)[:, :count]
        return hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1])), targets.gather(1, places)

    def step(self, ids: Tensor, positions: Tensor, length: int, cache: Cache) -> Tensor:
        """Go on from a cache: ids and positions (rows, n) int64, all positions below `length` <= context.

        Each token sees the cached tokens at its own position and before, so only causal models can; returns the hidden
        states (rows, n, width).
        """
        x = self._embed(ids, positions)
        mask = (torch.arange(length, device=ids.device) <= positions[..., None])[:, None]  # (rows, 1, n, length)
        tables = (self.cosines[positions][:, None], self.sines[positions][:, None]) if self.rotary else None
        for block, layer in zip(self.blocks, cache.layers, strict=True):
            x = block(x, tables, CachedStep(layer, positions, length, mask))
        return self.final_norm(x)

    def _embed(self, ids: Tensor, positions: Tensor | None) -> Tensor:
        x = self.embedding(ids)
        if self.modern:
            if not self.config.tied:
                x = F.rms_norm(x, (self.config.width,), None, EPSILON)
        elif positions is None:
            x = x + self.positions.weight[: ids.shape[1]]
        else:
            x = x + self.positions(positions)
        return F.dropout(x, self.config.dropout, self.training) if self.config.dropout else x


def parameter_count(model: nn.Module) -> int:
    """Parameters, each counted once, without the rows that pad the vocabulary."""
    total = sum(p.numel() for p in model.parameters())
    if isinstance(model, GPT):
        tables = 1 if model.config.tied else 2
        total -= tables * (model.config.padded_vocab - model.config.table_rows) * model.config.width
    return total
