"""The numpy mapping of `blendshapes` and `pose` in torch: the same constants, with gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor

from icface.analyzers.blendshapes import (
    INNER_BROWS,
    LEAST_COSINE,
    NOSTRILS,
    OUTER_EYES,
    side_units,
    units_from_blendshapes,
)
from icface.attributes import ACTION_UNIT_NAMES, SIDE_NAMES


def pose_of(rotation: Tensor) -> Tensor:
    """(B, 3) pitch, yaw, roll in radians, as `pose.pose_from_matrix`, of rotations (B, 3, 3) of the canonical face."""
    # OpenFace's axes are MediaPipe's, turned by 180 degrees about x: entries of the first row or column change sign.
    pitch = torch.atan2(-rotation[:, 1, 2], rotation[:, 2, 2])
    yaw = torch.asin((-rotation[:, 0, 2]).clamp(-1 + 1e-6, 1 - 1e-6))
    roll = torch.atan2(rotation[:, 0, 1], rotation[:, 0, 0])
    return torch.stack([pitch, yaw, roll], dim=1)


def action_units_of(blendshapes: Tensor, pose: Tensor, landmarks: Tensor) -> Tensor:
    """(B, 17) action units in the order of `ACTION_UNIT_NAMES`, not clipped to 0..5, NaN where not measured.

    `blendshapes` (B, 52); `pose` (B, 3) radians; `landmarks` (B, 68, 2) iBUG points in any unit.
    """
    units = units_from_blendshapes(blendshapes.unbind(1), _brow_to_nostril(landmarks, pose))
    unknown = blendshapes.new_full((len(blendshapes),), float("nan"))
    return torch.stack([units.get(name, unknown) for name in ACTION_UNIT_NAMES], dim=1)


def sides_of_units(blendshapes: Tensor) -> Tensor:
    """(B, 16) action units of one side in the order of `SIDE_NAMES`, not clipped, of blendshapes (B, 52)."""
    units = side_units(blendshapes.unbind(1))
    return torch.stack([units[name] for name in SIDE_NAMES], dim=1)


def _at(points: Tensor, places: Sequence[int]) -> Tensor:
    """(B, n, 2) of points (B, 68, 2). A list as an index would travel from the host to the device each time."""
    return torch.stack([points[:, place] for place in places], dim=1)


def _brow_to_nostril(points: Tensor, pose: Tensor) -> Tensor:
    """(B,) see `blendshapes`."""
    centre = _at(points, INNER_BROWS).mean(dim=1) - _at(points, NOSTRILS).mean(dim=1)
    height = centre.norm(dim=1) / pose[:, 0].cos().clamp_min(LEAST_COSINE)
    outer = _at(points, OUTER_EYES)
    width = (outer[:, 1] - outer[:, 0]).norm(dim=1) / pose[:, 1].cos().clamp_min(LEAST_COSINE)
    return height / width.clamp_min(1e-6)
