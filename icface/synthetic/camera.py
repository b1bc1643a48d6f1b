"""From a body in motion to points in the picture: units, the head's turn, the camera."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from icface.synthetic.body import Body
from icface.synthetic.geometry import PIVOT, head_rotation

FRAME = 512
"""Side of the whole picture, pixels."""
FIELD = 4.0
"""Decimetres across the whole picture at the face."""
CENTRE = (0.0, 6.95, 1.3)
"""Middle of the face at rest; the camera looks at it."""
TORSO_SHARE = (0.0, 0.25, 0.15)
"""How far the shoulders follow the head's pitch, yaw and roll."""


@dataclass(frozen=True, eq=False)
class Motion:
    """What moves in N frames."""

    units: npt.NDArray[np.float32]
    """(N, 52) weight of each of `UNIT_NAMES`, 0..1."""
    pose: npt.NDArray[np.float32]
    """(N, 3) pitch, yaw, roll of the head, radians, OpenFace's signs."""
    place: npt.NDArray[np.float32]
    """(N, 3) where the head is, decimetres to the right, up and towards the camera of the middle."""

    def __post_init__(self) -> None:
        shapes = [self.units.shape, self.pose.shape, self.place.shape]
        if shapes != [(len(self.units), 52), (len(self.units), 3), (len(self.units), 3)]:
            raise ValueError(f"units, pose and place must be (N, 52), (N, 3) and (N, 3), not {shapes}")

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, rows: slice) -> "Motion":
        return Motion(self.units[rows], self.pose[rows], self.place[rows])


def posed(body: Body, motion: Motion, vertices: Tensor | None = None) -> Tensor:
    """(N, V, 3) where the vertices are in each frame, or those that `vertices` (v,) numbers; the camera's axes."""
    chosen = slice(None) if vertices is None else vertices
    weights = torch.from_numpy(np.ascontiguousarray(motion.units, np.float32)).to(body.device)
    rest, basis = body.vertices[chosen], body.units[:, chosen]
    shaped = rest + (weights @ basis.reshape(len(basis), -1)).reshape(len(weights), -1, 3)

    def turned(angles: npt.ArrayLike) -> Tensor:
        rotation = torch.from_numpy(head_rotation(angles).astype(np.float32)).to(body.device)
        return (shaped - pivot) @ rotation.transpose(1, 2)

    pivot, centre = (torch.tensor(point, device=body.device) for point in (PIVOT, CENTRE))
    share = body.head_weight[chosen][:, None]
    pose = np.asarray(motion.pose, np.float64)
    moved = turned(pose) * share + turned(pose * TORSO_SHARE) * (1 - share)
    place = torch.from_numpy(np.ascontiguousarray(motion.place, np.float32)).to(body.device)
    return moved + (pivot - centre) + place[:, None]


def project(points: Tensor, distance: float) -> tuple[Tensor, Tensor]:
    """Pixels (..., 2) of the whole picture, and depth (...), of points (..., 3) seen from `distance` decimetres."""
    depth = distance - points[..., 2]
    scale = FRAME / FIELD * distance / depth
    x = FRAME / 2 + scale * points[..., 0]
    y = FRAME / 2 - scale * points[..., 1]
    return torch.stack([x, y], dim=-1), depth


def in_window(pixels: Tensor, windows: Tensor, side: int) -> Tensor:
    """(N, V, 2) places in pictures of `side` px that show `windows` (N, 3) of the whole: x, y, side."""
    return (pixels - windows[:, None, :2]) * (side / windows[:, None, 2:])


def landmarks(body: Body, motion: Motion) -> npt.NDArray[np.float32]:
    """(N, 68, 2) the iBUG points in the whole picture, pixels: exact, seen or hidden."""
    points, _ = project(posed(body, motion, body.landmarks), body.person.distance)
    return points.cpu().numpy()
