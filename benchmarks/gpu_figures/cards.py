"""Cards, and the roofline: the longest of moving the bytes, multiplying, and launching.

A prediction from data sheets, never from a run. Bandwidth and products are peaks that real kernels
do not reach, the same for all engines.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.gpu_figures.counter import Tally


@dataclass(frozen=True)
class Card:
    name: str
    gigabytes: int
    bandwidth: float  # GB/s
    teraflops: float  # 16-bit tensor cores, dense, summing in float32
    cache: float  # MB of L2
    processors: int
    capability: tuple[int, int]
    source: str


AMPERE = "NVIDIA, GA102 whitepaper (Ampere), and the card's product page"
ADA = "NVIDIA, Ada architecture whitepaper v2, and the card's product page"
CARDS = (
    Card("RTX 3060 12 GB", 12, 360, 25.5, 3, 28, (8, 6), AMPERE),
    Card("RTX 4070", 12, 504, 58.3, 36, 46, (8, 9), ADA),
    Card("RTX 4090", 24, 1008, 165.2, 72, 128, (8, 9), ADA),
    Card(
        "T4", 16, 320, 65, 4, 40, (7, 5), "NVIDIA, T4 data sheet; float16, for it has no bfloat16"
    ),
    Card("L4", 24, 300, 121, 48, 58, (8, 9), "NVIDIA, L4 data sheet (half of the sparse figure)"),
    Card("H100 SXM", 80, 3350, 989, 50, 132, (9, 0), "NVIDIA, H100 data sheet, dense"),
)


def device_seconds(tally: Tally, card: Card) -> float:
    """Each operation takes the longer of its bytes and its products, one after the other.

    A dequantised weight that fits into the L2 cache is not charged: it is written and read at once.
    """
    total = 0.0
    for op, count in tally.operations.items():
        moved = op.read + op.written
        if op.buffered <= card.cache * 1e6:
            moved -= op.buffered
        total += count * max(moved / (card.bandwidth * 1e9), op.flops / (card.teraflops * 1e12))
    return total
