"""Where in the picture a reconstruction error counts more: eyes and mouth, found by the stored landmarks."""

import torch
from torch import Tensor

EYES = ((36, 42), (42, 48))
"""iBUG landmark ranges of the two eyes."""
MOUTH = (48, 68)
"""iBUG landmark range of the mouth."""
SPREAD = 0.7
"""Standard deviation of a region's weight, in half-widths of the region."""


def region_weights(landmarks: Tensor, size: int, extra: float) -> Tensor:
    """Weight of each pixel: 1 everywhere, up to 1 + `extra` on the eyes and the mouth; mean 1 over a picture.

    `landmarks` (B, 68, 2) are fractions of the picture; returns (B, 1, size, size).
    """
    centres = (torch.arange(size, device=landmarks.device, dtype=torch.float32) + 0.5) / size
    weights = torch.ones(len(landmarks), size, size, device=landmarks.device)
    for first, last in (*EYES, MOUTH):
        points = landmarks[:, first:last].float()
        low, high = points.amin(dim=1), points.amax(dim=1)
        middle, half = (low + high) / 2, (high - low).clamp(min=0.04) / 2
        half = torch.maximum(half, half.amax(dim=1, keepdim=True) / 2)  # closed eyes and mouths keep a height
        distance = [
            ((centres[None] - middle[:, axis : axis + 1]) / (SPREAD * half[:, axis : axis + 1])) for axis in (0, 1)
        ]
        weights += extra * torch.exp(-0.5 * (distance[0][:, None, :] ** 2 + distance[1][:, :, None] ** 2))
    return (weights / weights.mean(dim=(1, 2), keepdim=True))[:, None]
