"""The head's turn: OpenFace's angles as rotations of the mesh."""

import numpy as np
import numpy.typing as npt

from icface.analyzers.pose import rotation_from_euler

PIVOT = (0.0, 6.4, 0.35)
"""Where the skull sits on the neck; the head turns about it. Decimetres in the head's coordinates."""
_FLIP = np.diag([1.0, -1.0, -1.0])
"""OpenFace's y points down and z away from the camera."""


def head_rotation(pose: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N, 3, 3) rotations in the head's axes (y up, z towards the camera) of `pose` (N, 3), radians."""
    return np.asarray(_FLIP @ rotation_from_euler(pose) @ _FLIP)
