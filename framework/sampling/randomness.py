"""Random numbers that depend on the sample and not on the batch.

Token `t` of a sample is drawn with one uniform number that depends on (seed, example key, sample
index, t) and on nothing else: no generator is advanced, so the order, the batch size, a resume and
the engine make no difference. The stream is SplitMix64 (Steele, Lea, Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014), started at a 64-bit hash of the sample's name; as a
counter-based generator it is computed for all rows and positions at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def sample_key(seed: int, key: str, sample_index: int) -> int:
    """The start of a sample's stream: 64 bits, as a signed integer (torch lacks uint64 sums).

    Hashed, so that neighbouring seeds and indices start far apart.
    """
    name = f"{seed}\0{sample_index}\0{key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little", signed=True)


def uniforms(keys: Sequence[int], count: int, device: torch.device | str = "cpu") -> Tensor:
    """Uniform numbers in [0, 1) of each stream's first positions: (len(keys), count), float64.

    Computed in wrapping int64 arithmetic, which is the same on every device.
    """
    start = torch.tensor(list(keys), dtype=torch.int64, device=device)[:, None]  # (B, 1)
    position = torch.arange(1, count + 1, dtype=torch.int64, device=device)[None]  # (1, T)
    z = start + position * _signed(_GAMMA)  # (B, T)
    z = (z ^ _shift_right(z, 30)) * _signed(_MIX_1)
    z = (z ^ _shift_right(z, 27)) * _signed(_MIX_2)
    z = z ^ _shift_right(z, 31)
    return _shift_right(z, 11).to(torch.float64) * 2.0**-53


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift_right(z: Tensor, bits: int) -> Tensor:
    # `>>` of a signed integer copies the sign; the mask makes it a logical shift.
    return (z >> bits) & ((1 << (64 - bits)) - 1)
