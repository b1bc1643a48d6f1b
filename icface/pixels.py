"""Between pictures (uint8, 0..255) and what networks see (float, -1..1), and between their sizes."""

import torch
import torch.nn.functional as functional
from torch import Tensor

HALF = 127.5
"""Grey values in a unit of the networks' range."""


def to_range(pictures: Tensor, order: torch.memory_format = torch.preserve_format) -> Tensor:
    """uint8 0..255 as float32 in [-1, 1], of any shape, in the memory order `order`."""
    return pictures.to(torch.float32, memory_format=order).div_(HALF).sub_(1)


def to_bytes(images: Tensor) -> Tensor:
    """Float in [-1, 1] as uint8 0..255, rounded, of any shape; what lies outside is clamped."""
    return ((images.float() + 1) * HALF).round().clamp(0, 255).byte()


def cubic_matrix(cells: int, size: int, device: torch.device | None = None) -> Tensor:
    """(size, cells) float32: times a column of `cells` values, that column enlarged as bicubic interpolation does it.

    Its gradient is a matrix product too. `functional.interpolate`'s took 6 ms of a GPU for fields of 8 x 8.

    >>> cubic_matrix(2, 4).shape
    torch.Size([4, 2])
    """
    identity = torch.eye(cells, device=device)[None, :, :, None]  # a channel for each cell, one pixel wide
    made = functional.interpolate(identity, size=(size, 1), mode="bicubic", align_corners=False)
    return made[0, :, :, 0].T.contiguous()
