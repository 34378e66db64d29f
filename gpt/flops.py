"""How much arithmetic a training token takes, and how much a card can do: model FLOPs utilisation (MFU).

FLOPs per token = 6 N + 12 d D T (PaLM, arXiv 2204.02311, appendix B): N parameters of block matrices and output head,
d layers, D width, T context; attention is counted in full although half of it is masked, as is usual.
"""

from gpt.config import ModelConfig
from gpt.plan import matrix_parameters

PEAKS = {
    "B200": 2250.0,
    "GH200": 989.0,
    "H200 NVL": 835.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "H20": 148.0,
    "A100": 312.0,
    "A800": 312.0,
    "A40": 150.0,
    "A30": 165.0,
    "A10G": 70.0,
    "A10": 125.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "RTX A6000": 155.0,
    "RTX 5090": 209.5,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
    "V100": 125.0,
    "T4": 65.0,
}
"""Dense TFLOP/s in bfloat16 (V100, T4: float16) with float32 sums, from the makers' data sheets.

Longer names stand before the shorter ones that they hold.
"""


def flops_per_token(model: ModelConfig) -> float:
    """Floating-point operations of forward and backward pass per training token; `model` is resolved."""
    return 6.0 * matrix_parameters(model) + 12.0 * model.layers * model.width * model.context


def peak_flops(card: str) -> float | None:
    """What a card of this name could do per second, or None if it is not in the table."""
    words = card.replace("-", " ").split()
    for name, teraflops in PEAKS.items():
        if "Laptop" not in words and all(part in words for part in name.split()):
            return teraflops * 1e12
    return None


def utilisation(tokens_per_second: float, model: ModelConfig, card: str) -> float | None:
    """The share of the card's peak that goes into the model's arithmetic, in [0, 1]; None for unknown cards."""
    peak = peak_flops(card)
    return None if peak is None else tokens_per_second * flops_per_token(model) / peak
