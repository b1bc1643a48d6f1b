"""Where in the picture an error counts more, and where paint belongs: eyes and mouth, found by landmarks."""

import torch
from torch import Tensor

EYES = ((36, 42), (42, 48))
"""iBUG landmark ranges of the two eyes."""
MOUTH = (48, 68)
"""iBUG landmark range of the mouth."""
INNER_LIPS = (60, 68)
"""iBUG landmark range of the inner lips: from the right corner over the upper lip to the left, and back."""
LEAST_LIPS = 0.005
"""Area between the lips, as a share of the picture, from which a mouth counts in full. A wide open one has 0.02."""
SMALLEST_SHARE = 1e-6
"""What is painted of a pixel counts as this much at least."""
MOVABLE = 3.0
"""What a landmark of lids and lips counts, against all others."""
SPREAD = 0.7
"""Standard deviation of a region's weight, in half-widths of the region."""


def landmark_weights() -> Tensor:
    """(68, 1) what each iBUG landmark counts where flows are held against them: lids and lips `MOVABLE`, mean 1.

    They move by less than a head that turns, and say more.
    """
    weights = torch.ones(68, 1)
    for first, last in (*EYES, MOUTH):
        weights[first:last] = MOVABLE
    return weights / weights.mean()


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


def between_lips(landmarks: Tensor, size: int) -> Tensor:
    """How much each pixel lies between the lips, 0..1: (B, 1, size, size) of `landmarks` (B, 68, 2), fractions.

    An ellipse through the corners and the middles of the inner lips: 1 in its inner half, 0 from half beyond its edge.
    A closed mouth has none.
    """
    lips = landmarks[:, slice(*INNER_LIPS)].float()
    across, down = lips[:, 4] - lips[:, 0], lips[:, 5:8].mean(dim=1) - lips[:, 1:4].mean(dim=1)
    width, gap = across.norm(dim=1), down.norm(dim=1)
    axis = across / width.clamp(min=1e-6)[:, None]
    centres = (torch.arange(size, device=landmarks.device, dtype=torch.float32) + 0.5) / size
    x = centres[None, None, :] - lips[:, :, 0].mean(dim=1)[:, None, None]
    y = centres[None, :, None] - lips[:, :, 1].mean(dim=1)[:, None, None]
    cos, sin = axis[:, 0, None, None], axis[:, 1, None, None]
    along = (x * cos + y * sin) / (width / 2).clamp(min=1e-6)[:, None, None]
    upright = (y * cos - x * sin) / (gap / 2).clamp(min=1e-6)[:, None, None]
    return (1.5 - (along.square() + upright.square()).sqrt()).clamp(0, 1)[:, None]


def misplaced_paint(kept: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """What is painted elsewhere, and what is not painted between the lips, where a closed mouth has nothing to move.

    `kept` (B, 1, S, S): the share of every pixel that is moved; `landmarks` (B, 68, 2), fractions of the picture. The
    first is the mean share over the picture. The second is the mean of -log of the painted share over what lies between
    the lips. So a mask that is all but closed learns as fast as an open one. Mouths smaller than `LEAST_LIPS` count by
    their area. The network does not find out by itself: paint that has not learned yet what a mouth's inside
    looks like never pays.
    """
    inside = between_lips(landmarks, kept.shape[-1])
    elsewhere = ((1 - kept) * (1 - inside)).mean()
    unpainted = -(1 - kept).clamp(min=SMALLEST_SHARE).log() * inside
    area = inside.sum(dim=(1, 2, 3)).clamp(min=LEAST_LIPS * kept.shape[-1] ** 2)
    return elsewhere, (unpainted.sum(dim=(1, 2, 3)) / area).mean()
