"""Between pictures (uint8, 0..255) and what networks see (float, -1..1)."""

import torch
from torch import Tensor

HALF = 127.5
"""Grey values in a unit of the networks' range."""


def to_range(pictures: Tensor, order: torch.memory_format = torch.preserve_format) -> Tensor:
    """uint8 0..255 as float32 in [-1, 1], of any shape, in the memory order `order`."""
    return pictures.to(torch.float32, memory_format=order).div_(HALF).sub_(1)


def to_bytes(images: Tensor) -> Tensor:
    """Float in [-1, 1] as uint8 0..255, rounded, of any shape; what lies outside is clamped."""
    return ((images.float() + 1) * HALF).round().clamp(0, 255).byte()
