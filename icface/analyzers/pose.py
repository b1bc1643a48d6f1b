"""Head pose: from MediaPipe's face matrix to OpenFace's three angles."""

import numpy as np
import numpy.typing as npt

_AXES = np.diag([1.0, -1.0, -1.0])
"""MediaPipe's y points up and z towards the camera; OpenFace's y down and z away from it."""


def pose_from_matrix(matrices: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """(N, 3) float32 pitch, yaw, roll in radians (OpenFace's pose_Rx, pose_Ry, pose_Rz) of face matrices (N, 16).

    A face matrix is MediaPipe's row-major 4x4 transformation of the canonical face. NaN where it is NaN.
    """
    rotation = np.asarray(matrices, np.float64).reshape(-1, 4, 4)[:, :3, :3]
    with np.errstate(invalid="ignore"):  # NaN in, NaN out
        scale = np.cbrt(np.linalg.det(rotation))
    return euler_from_rotation(_AXES @ (rotation / scale[:, None, None]) @ _AXES)


def euler_from_rotation(rotations: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """(N, 3) float32 angles x, y, z in radians of rotations (N, 3, 3) = Rx @ Ry @ Rz, as OpenFace decomposes them."""
    r = np.asarray(rotations, np.float64).reshape(-1, 3, 3)
    x = np.arctan2(-r[:, 1, 2], r[:, 2, 2])
    y = np.arcsin(np.clip(r[:, 0, 2], -1, 1))
    z = np.arctan2(-r[:, 0, 1], r[:, 0, 0])
    return np.stack([x, y, z], axis=1).astype(np.float32)


def rotation_from_euler(angles: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N, 3, 3) rotations Rx @ Ry @ Rz of angles (N, 3) in radians; `euler_from_rotation` undoes it."""
    x, y, z = np.asarray(angles, np.float64).reshape(-1, 3).T
    zero, one = np.zeros_like(x), np.ones_like(x)

    def matrix(*entries: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.stack(entries, axis=-1).reshape(-1, 3, 3)

    about_x = matrix(one, zero, zero, zero, np.cos(x), -np.sin(x), zero, np.sin(x), np.cos(x))
    about_y = matrix(np.cos(y), zero, np.sin(y), zero, one, zero, -np.sin(y), zero, np.cos(y))
    about_z = matrix(np.cos(z), -np.sin(z), zero, np.sin(z), np.cos(z), zero, zero, zero, one)
    return about_x @ about_y @ about_z


def rolled(angles: npt.ArrayLike, turn: float) -> npt.NDArray[np.float32]:
    """Pose (N, 3) radians after the picture was turned clockwise by `turn` radians in its plane."""
    return euler_from_rotation(rotation_from_euler([[0, 0, turn]]) @ rotation_from_euler(angles))
