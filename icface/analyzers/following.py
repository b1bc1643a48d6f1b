"""Following one face from frame to frame by overlap."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from icface.analyzers.face import Face

SAME_FACE = 0.3
"""Least intersection over union of a face with the same face one frame earlier."""


def follow(faces: Sequence[Face], box: npt.NDArray[np.float32] | None) -> Face | None:
    """The one of `faces` that overlaps `box` (x, y, width, height) most; None where none is the same face."""
    if box is None or not faces:
        return None
    overlaps = [overlap(face.box, box) for face in faces]
    best = int(np.argmax(overlaps))
    return faces[best] if overlaps[best] >= SAME_FACE else None


def overlap(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Intersection over union of two boxes (x, y, width, height).

    >>> overlap([0, 0, 2, 2], [1, 0, 2, 2]) == 1 / 3
    True
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    sides = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    total = float(np.prod(a[2:]) + np.prod(b[2:])) - shared
    return shared / total if total > 0 else 0.0
