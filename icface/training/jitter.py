"""Random looks at pictures, for a frozen network that reads them: what is there stays there, however one looks.

A network that is fixed can be pleased by patterns that mean nothing to anybody else. A pattern that has to survive
another place, size, brightness and sharpness each time is nearly always the thing itself.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE = 256
"""Pixels a side of what is seen: MediaPipe's landmark network takes that size."""
SHIFT = 0.08
"""Largest shift, half widths of the picture."""
ZOOM = 0.1
"""Largest relative change of size."""
CONTRAST, BRIGHTNESS = 0.15, 0.1
"""Largest relative change of contrast, and of brightness for pictures in [-1, 1]."""
NOISE = 0.02
"""Deviation of the noise, for pictures in [-1, 1]."""


@dataclass(frozen=True)
class Look:
    """One way to look at each of B pictures."""

    zoom: Tensor
    """(B, 1, 1) above 1: more is seen, smaller."""
    shift: Tensor
    """(B, 1, 2) half widths, of what is seen in the middle."""
    contrast: Tensor
    """(B, 1, 1, 1) factor."""
    brightness: Tensor
    """(B, 3, 1, 1) added, for each colour."""
    blur: Tensor
    """(B, 1, 1, 1) 0..1: share of the neighbours' average."""

    @classmethod
    def draw(cls, rows: int, times: int, device: torch.device) -> "Look":
        """A random look for each of `rows` pictures, by torch's own generator; the rows are repeated `times` times."""

        def drawn(*shape: int) -> Tensor:
            return (2 * torch.rand(rows, *shape, device=device) - 1).repeat(times, *[1] * len(shape))

        return cls(
            zoom=1 + ZOOM * drawn(1, 1),
            shift=SHIFT * drawn(1, 2),
            contrast=1 + CONTRAST * drawn(1, 1, 1),
            brightness=BRIGHTNESS * drawn(3, 1, 1),
            blur=drawn(1, 1, 1).clamp(min=0),
        )

    def __call__(self, pictures: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, 3, 256, 256), as seen this way; a little beyond the range at times."""
        blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        pictures = torch.lerp(pictures, blurred, self.blur)
        pictures = pictures * self.contrast + self.brightness
        pictures = pictures + NOISE * torch.randn_like(pictures)
        matrix = torch.cat([torch.eye(2, device=pictures.device) * self.zoom, self.shift.transpose(1, 2)], dim=2)
        grid = F.affine_grid(matrix, [len(pictures), 3, SIZE, SIZE], align_corners=False)
        return F.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)

    def back(self, points: Tensor) -> Tensor:
        """Points (B, N, 2) that were found in the seen pictures, fractions of them, as fractions of the pictures."""
        return ((2 * points - 1) * self.zoom + self.shift + 1) / 2
