"""Where in the picture an error counts more, and where paint belongs: eyes and mouth, found by landmarks."""

from dataclasses import dataclass

import torch
from torch import Tensor

EYES = ((36, 42), (42, 48))
"""iBUG landmark ranges of the two eyes."""
MOUTH = (48, 68)
"""iBUG landmark range of the mouth."""
INNER_LIPS = (60, 68)
"""iBUG landmark range of the inner lips: from the right corner over the upper lip to the left, and back."""
OUTER_LIPS = (48, 60)
"""iBUG landmark range of the outer lips, in the same order."""
LEAST_LIPS = 0.005
"""Area between the lips, as a share of the picture, from which a mouth counts in full. A wide open one has 0.02."""
SMALLEST_SHARE = 1e-6
"""What is painted of a pixel counts as this much at least."""
OPEN_EYE, CLOSED_EYE = 0.23, 0.08
"""Height over width of an eye's landmarks from which it counts as closing, and as closed."""
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


def closed_eyes(landmarks: Tensor) -> Tensor:
    """(B, 2) how far the right and the left eye are closed, 0..1, of `landmarks` (B, 68, 2), fractions.

    By height over width of the lids' landmarks. Frames with an AU45 below 0.1 have 0.26 to 0.37 (10th to 90th
    percentile), from 0.9 on they have 0.02 to 0.11.
    """
    shapes = []
    for first, last in EYES:
        corner, up, up_too, other, down, down_too = landmarks[:, first:last].float().unbind(dim=1)
        height = ((up - down_too).norm(dim=1) + (up_too - down).norm(dim=1)) / 2
        shapes.append(height / (corner - other).norm(dim=1).clamp(min=1e-6))
    return ((OPEN_EYE - torch.stack(shapes, dim=1)) / (OPEN_EYE - CLOSED_EYE)).clamp(0, 1)


def region_weights(landmarks: Tensor, size: int, extra: float, lids: float = 0.0) -> Tensor:
    """Weight of each pixel: 1 everywhere, up to 1 + `extra` on the eyes and the mouth; mean 1 over a picture.

    `landmarks` (B, 68, 2) are fractions of the picture; returns (B, 1, size, size). `extra` of a closed eye is 1 +
    `lids` times as much.
    """
    centres = (torch.arange(size, device=landmarks.device, dtype=torch.float32) + 0.5) / size
    weights = torch.ones(len(landmarks), size, size, device=landmarks.device)
    closed = closed_eyes(landmarks).T[:, :, None, None] if lids else ()
    for number, (first, last) in enumerate((*EYES, MOUTH)):
        points = landmarks[:, first:last].float()
        low, high = points.amin(dim=1), points.amax(dim=1)
        middle, half = (low + high) / 2, (high - low).clamp(min=0.04) / 2
        half = torch.maximum(half, half.amax(dim=1, keepdim=True) / 2)  # closed eyes and mouths keep a height
        distance = [
            ((centres[None] - middle[:, axis : axis + 1]) / (SPREAD * half[:, axis : axis + 1])) for axis in (0, 1)
        ]
        bump = torch.exp(-0.5 * (distance[0][:, None, :] ** 2 + distance[1][:, :, None] ** 2))
        if number < len(closed):
            bump = bump * (1 + lids * closed[number])
        weights += extra * bump
    return (weights / weights.mean(dim=(1, 2), keepdim=True))[:, None]


@dataclass(frozen=True)
class Opening:
    """Ellipses through the corners and the middles of inner lips, B mouths; fractions of the picture."""

    middle: Tensor
    """(B, 2)."""
    axis: Tensor
    """(B, 2) unit vector from the right corner to the left."""
    half_width: Tensor
    """(B,)."""
    half_gap: Tensor
    """(B,)."""

    @classmethod
    def of(cls, landmarks: Tensor, lips: tuple[int, int] = INNER_LIPS) -> "Opening":
        """The openings of landmarks (B, 68, 2), or with `OUTER_LIPS` the mouths."""
        first, last = lips
        points = landmarks[:, first:last].float()
        half = (last - first) // 2
        across = points[:, half] - points[:, 0]
        down = points[:, half + 1 :].mean(dim=1) - points[:, 1:half].mean(dim=1)
        width = across.norm(dim=1)
        return cls(points.mean(dim=1), across / width.clamp(min=1e-6)[:, None], width / 2, down.norm(dim=1) / 2)

    @property
    def shape(self) -> Tensor:
        """(B,) height over width."""
        return self.half_gap / self.half_width.clamp(min=1e-6)

    def at(self, rows: Tensor) -> "Opening":
        """The openings of these rows."""
        return Opening(self.middle[rows], self.axis[rows], self.half_width[rows], self.half_gap[rows])

    def coordinates(self, size: int) -> tuple[Tensor, Tensor]:
        """(B, size, size) twice: where each pixel lies along and across the mouth; the ellipse's edge is at 1."""
        centres = (torch.arange(size, device=self.middle.device, dtype=torch.float32) + 0.5) / size
        x = centres[None, None, :] - self.middle[:, 0, None, None]
        y = centres[None, :, None] - self.middle[:, 1, None, None]
        cos, sin = self.axis[:, 0, None, None], self.axis[:, 1, None, None]
        along = (x * cos + y * sin) / self.half_width.clamp(min=1e-6)[:, None, None]
        return along, (y * cos - x * sin) / self.half_gap.clamp(min=1e-6)[:, None, None]

    def places(self, along: Tensor, upright: Tensor) -> Tensor:
        """(B, H, W, 2) fractions of the picture, of coordinates (B, H, W): the inverse of `coordinates`."""
        cos, sin = self.axis[:, 0, None, None], self.axis[:, 1, None, None]
        u, v = along * self.half_width[:, None, None], upright * self.half_gap[:, None, None]
        return torch.stack([u * cos - v * sin, u * sin + v * cos], dim=-1) + self.middle[:, None, None]


def between_lips(landmarks: Tensor, size: int) -> Tensor:
    """How much each pixel lies between the lips, 0..1: (B, 1, size, size) of `landmarks` (B, 68, 2), fractions.

    An `Opening`: 1 in its inner half, 0 from half beyond its edge. A closed mouth has none.
    """
    along, upright = Opening.of(landmarks).coordinates(size)
    return (1.5 - (along.square() + upright.square()).sqrt()).clamp(0, 1)[:, None]


def on_lips(landmarks: Tensor, size: int) -> Tensor:
    """How much each pixel lies on the lips and not between them, 0..1: (B, 1, size, size) of landmarks (B, 68, 2)."""
    along, upright = Opening.of(landmarks, OUTER_LIPS).coordinates(size)
    mouth = (1.5 - (along.square() + upright.square()).sqrt()).clamp(0, 1)[:, None]
    return (mouth - between_lips(landmarks, size)).clamp(min=0)


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
