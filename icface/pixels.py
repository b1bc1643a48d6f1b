"""Between pictures (uint8, 0..255) and what networks see (float, -1..1)."""

from torch import Tensor

HALF = 127.5
"""Grey values in a unit of the networks' range."""


def to_range(pictures: Tensor) -> Tensor:
    """uint8 0..255 as float32 in [-1, 1], of any shape."""
    return pictures.float().div_(HALF).sub_(1)


def to_bytes(images: Tensor) -> Tensor:
    """Float in [-1, 1] as uint8 0..255, rounded, of any shape; what lies outside is clamped."""
    return ((images.float() + 1) * HALF).round().clamp(0, 255).byte()
