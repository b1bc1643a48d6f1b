"""Where a face is looked for: rotated rectangles of frames, and the pictures that they cut out.

Lengths are pixels of the frame. A rectangle's width and height may differ; then the picture is stretched, as
MediaPipe's is.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from icface.analyzers.enlarging import SMALLEST

EXPANSION = 1.5
"""Side of the rectangle that the landmark network sees over that of the face's box."""
EYES = (33, 263)
"""Mesh points of the outer eye corners: the line through them lies level in the rectangle."""


@dataclass(frozen=True)
class Regions:
    """N rectangles, float32."""

    frame: Tensor
    """(N,) which frame of the batch, int64."""
    centre: Tensor
    """(N, 2)."""
    size: Tensor
    """(N, 2) width and height before rotation."""
    angle: Tensor
    """(N,) radians, clockwise."""

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, choice: Tensor | slice) -> "Regions":
        return Regions(self.frame[choice], self.centre[choice], self.size[choice], self.angle[choice])

    def matrices(self, side: int) -> Tensor:
        """(N, 2, 3): where in the frame the corner points of a picture of `side` pixels lie, affine."""
        steps = self.size / side
        cosine, sine = self.angle.cos(), self.angle.sin()
        linear = torch.stack(
            [
                torch.stack([cosine * steps[:, 0], -sine * steps[:, 1]], dim=1),
                torch.stack([sine * steps[:, 0], cosine * steps[:, 1]], dim=1),
            ],
            dim=1,
        )
        corner = self.centre - linear.sum(2) * side / 2
        return torch.cat([linear, corner[:, :, None]], dim=2)

    def project(self, points: Tensor) -> Tensor:
        """Points (N, P, 3) as fractions of the rectangles, in the frame's pixels; z grows with the width."""
        x, y = points[..., 0] - 0.5, points[..., 1] - 0.5
        cosine, sine = self.angle.cos()[:, None], self.angle.sin()[:, None]
        return torch.stack(
            [
                (cosine * x - sine * y) * self.size[:, :1] + self.centre[:, :1],
                (sine * x + cosine * y) * self.size[:, 1:] + self.centre[:, 1:],
                points[..., 2] * self.size[:, :1],
            ],
            dim=-1,
        )


def around_boxes(frame: Tensor, low: Tensor, high: Tensor, eyes: Tensor) -> Regions:
    """Rectangles around boxes from corner `low` to `high` (N, 2), level with the line of `eyes` (N, 2, 2)."""
    line = eyes[:, 1] - eyes[:, 0]
    return Regions(frame, (low + high) / 2, (high - low) * EXPANSION, torch.atan2(line[:, 1], line[:, 0]))


def around_landmarks(frame: Tensor, points: Tensor) -> Regions:
    """Where to look for faces again whose mesh points (N, 478, 2 or 3) are known: squares."""
    low, high = points[..., :2].amin(dim=1), points[..., :2].amax(dim=1)
    found = around_boxes(frame, low, high, points[:, EYES, :2])
    side = found.size.amax(dim=1, keepdim=True)
    return Regions(found.frame, found.centre, side.expand(-1, 2), found.angle)


def pictures_by_opencv(frames: npt.NDArray[np.uint8], regions: Regions, side: int, zeros: bool) -> Tensor:
    """(N, side, side, 3) uint8 on the CPU: what the rectangles hold, as MediaPipe samples it.

    `zeros`: what lies outside the frame is black; else it repeats the frame's edge.
    """
    made = np.empty((len(regions), side, side, 3), np.uint8)
    border = cv2.BORDER_CONSTANT if zeros else cv2.BORDER_REPLICATE
    matrices = regions.matrices(side).double().numpy()
    for picture, frame, matrix in zip(made, regions.frame.tolist(), matrices, strict=True):
        cv2.warpAffine(frames[frame], matrix, (side, side), picture, cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, border)
    return torch.from_numpy(made)


def pictures_by_torch(frames: Tensor, regions: Regions, side: int, zeros: bool) -> Tensor:
    """The same of frames (B, H, W, 3) uint8 on any device, all at once."""
    height, width = frames.shape[1:3]
    places = torch.arange(side, device=frames.device, dtype=torch.float32)
    matrices = regions.matrices(side)
    x = matrices[:, :, 0, None] * places
    y = matrices[:, :, 1, None] * places
    grid = x[:, :, None, :] + y[:, :, :, None] + matrices[:, :, 2, None, None]
    # grid_sample with align_corners counts from the centre of the first pixel to that of the last: -1 to 1.
    span = grid.new_tensor([width - 1, height - 1]).view(2, 1, 1)
    grid = (2 * grid / span - 1).permute(0, 2, 3, 1)
    source = frames.permute(0, 3, 1, 2)[regions.frame].float()
    padding = "zeros" if zeros else "border"
    sampled = functional.grid_sample(source, grid, padding_mode=padding, align_corners=True)
    return sampled.round().to(torch.uint8).permute(0, 2, 3, 1)


def enlarged_by_torch(frames: Tensor) -> Tensor:
    """`enlarging.enlarged` of frames (B, H, W, 3) uint8 on any device, all at once."""
    height, width = frames.shape[1:3]
    factor = SMALLEST / min(height, width)
    if factor <= 1:
        return frames
    size = (round(height * factor), round(width * factor))
    larger = functional.interpolate(frames.permute(0, 3, 1, 2).float(), size, mode="bicubic", align_corners=False)
    return larger.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
