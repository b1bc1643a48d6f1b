"""Face geometry: from landmarks to the 4x4 matrix of the canonical face, in batches and differentiable.

This is MediaPipe's published pipeline. Landmarks are put onto the near plane of a camera of 63 degrees. A weighted
similarity (Procrustes) lays the canonical face onto them. Its scale gives depths, hence metric points. The same is done
once more with those points, and the last fit is the matrix.
"""

import math

import torch
from torch import Tensor, nn

from icface.analyzers.mediapipe_torch.task import MESH_POINTS, FaceTask

FIELD_OF_VIEW = math.radians(63)
"""Vertical, of MediaPipe's default camera; its near plane lies at 1."""
NEAR_HEIGHT = 2 * math.tan(FIELD_OF_VIEW / 2)
NEWTON_STEPS = 7
"""Of the polar decomposition. It converges quadratically; faces need 5."""


class FaceGeometry(nn.Module):
    """The canonical face, laid onto landmarks. Its numbers are buffers: nothing is trained."""

    canonical: Tensor
    share: Tensor
    basis: Tensor
    middle: Tensor
    flip: Tensor
    towards: Tensor

    def __init__(self, task: FaceTask) -> None:
        super().__init__()
        weights = torch.from_numpy(task.weights)
        basis = weights.nonzero()[:, 0]
        self.register_buffer("basis", basis, persistent=False)
        share = weights[basis] / weights[basis].sum()
        self.register_buffer("share", share[:, None], persistent=False)
        canonical = torch.from_numpy(task.canonical)[basis]
        self.register_buffer("canonical", canonical - (share[:, None] * canonical).sum(0), persistent=False)
        self.register_buffer("middle", (share[:, None] * canonical).sum(0), persistent=False)
        # On the device, as all constants here: a copy from the host cannot be part of a CUDA graph.
        self.register_buffer("flip", torch.tensor([NEAR_HEIGHT, -NEAR_HEIGHT, NEAR_HEIGHT]), persistent=False)
        self.register_buffer("towards", torch.tensor([1.0, 1.0, -1.0]), persistent=False)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale (B,), rotation (B, 3, 3) and translation (B, 3), centimetres, of the canonical face.

        `points` (B, 468 or more, 3): x to the right and y downwards, from the picture's centre, z away from the
        camera, in heights of the frame. MediaPipe's matrix is scale * rotation with the translation beside it.
        """
        points = points[:, :MESH_POINTS]
        screen = points * self.flip
        offset = screen[..., 2].mean(dim=1)[:, None]
        screen = screen[:, self.basis]
        first = self._fit(screen * self.towards)[0]
        second = self._fit(_metric(screen, offset, first))[0]
        return self._fit(_metric(screen, offset, first * second))

    def _fit(self, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The similarity that brings the canonical face nearest to `targets` (B, points, 3)."""
        centre = (self.share * targets).sum(1)
        products = torch.einsum("bni,nj->bij", self.share * (targets - centre[:, None]), self.canonical)
        rotation = nearest_rotation(products)
        spread = (self.share * self.canonical.square()).sum()
        scale = (rotation * products).sum((1, 2)) / spread
        translation = centre - scale[:, None] * (rotation @ self.middle)
        return scale, rotation, translation


def _metric(screen: Tensor, offset: Tensor, scale: Tensor) -> Tensor:
    """Points in space, z towards the camera, of points on the near plane."""
    depth = (screen[..., 2] - offset + 1) / scale[:, None]
    return torch.stack([screen[..., 0] * depth, screen[..., 1] * depth, -depth], dim=-1)


def nearest_rotation(matrices: Tensor) -> Tensor:
    """(B, 3, 3) the orthogonal factor of each matrix's polar decomposition: the nearest rotation.

    By Newton's iteration X <- (g X + X^-T / g) / 2, g scaling the determinant to 1. Unlike an SVD it has finite
    gradients when singular values are equal, and needs no solver on the GPU. The determinant must be positive.
    """
    for _ in range(NEWTON_STEPS):
        first, second, third = matrices.unbind(1)
        cofactors = torch.stack(
            [torch.linalg.cross(second, third), torch.linalg.cross(third, first), torch.linalg.cross(first, second)], 1
        )
        determinant = (first * cofactors[:, 0]).sum(-1)[:, None, None]
        gain = determinant.abs().clamp_min(1e-30).pow(-1 / 3)
        matrices = (gain * matrices + cofactors / (determinant * gain)) / 2
    return matrices


def matrices(scale: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """(B, 16) float32 row-major 4x4 face matrices, as MediaPipe gives them."""
    top = torch.cat([scale[:, None, None] * rotation, translation[:, :, None]], dim=2)
    bottom = top.new_tensor([[[0.0, 0.0, 0.0, 1.0]]]).expand(len(top), 1, 4)
    return torch.cat([top, bottom], dim=1).reshape(-1, 16)
