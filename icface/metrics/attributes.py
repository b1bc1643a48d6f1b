"""Metrics of attributes: how well what was asked for is found again in a picture. NaN means not measured."""

import math

import numpy as np
import numpy.typing as npt

from icface.attributes import POSE_NAMES

LEAST_PAIRS = 5
"""A correlation over fewer pairs than this says nothing."""
LEAST_DEVIATION = {"rad": math.radians(1.0), "intensity": 0.1}
"""Standard deviation, by unit, that what is asked for must have: a correlation with what hardly varies is noise."""


def pearson(x: npt.ArrayLike, y: npt.ArrayLike, least_deviation: float = 0.0) -> tuple[float | None, int]:
    """Pearson's r of two (N,) series over the places where both are measured, and their number.

    r is None where it says nothing: under `LEAST_PAIRS` places, x varying by no more than `least_deviation`
    (standard deviation), or y constant.

    >>> pearson([0, 1, 2, 3, 4, np.nan], [1, 3, 5, 7, 9, 0])
    (1.0, 5)
    >>> pearson([0, 0, 0, 0, 0], [1, 2, 3, 4, 5])
    (None, 5)
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"two series of one length are needed, not {a.shape} and {b.shape}")
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < LEAST_PAIRS or _constant(a) or _constant(b) or a.std() <= least_deviation:
        return None, len(a)
    a, b = a - a.mean(), b - b.mean()
    r = float((a @ b) / math.sqrt((a @ a) * (b @ b)))
    return min(1.0, max(-1.0, r)), len(a)


def centred(values: npt.ArrayLike, groups: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N, n) values less the mean of their group, NaN where not measured; `groups` (N,) are labels of any kind.

    A correlation of centred values leaves out what merely differs between people.

    >>> centred([[1.0], [3.0], [10.0]], ["a", "a", "b"]).ravel().tolist()
    [-1.0, 1.0, 0.0]
    """
    result = np.array(values, np.float64)
    labels = np.asarray(groups)
    for group in np.unique(labels):
        rows = result[labels == group]
        count = np.isfinite(rows).sum(axis=0)
        total = np.nansum(rows, axis=0)
        result[labels == group] = rows - np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return result


def mean_error(asked: npt.ArrayLike, found: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(n,) mean absolute difference of (N, n) values where both are measured; NaN where none is.

    >>> mean_error([[1.0, 0.0], [2.0, np.nan]], [[2.0, 1.0], [2.0, 1.0]]).tolist()
    [0.5, 1.0]
    """
    difference = np.abs(np.asarray(asked, np.float64) - np.asarray(found, np.float64))
    measured = np.isfinite(difference)
    total, count = np.where(measured, difference, 0.0).sum(axis=0), measured.sum(axis=0)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def pose_error_degrees(asked: npt.ArrayLike, found: npt.ArrayLike) -> dict[str, float]:
    """Mean absolute pose error in degrees, by name; `asked`, `found` (N, 3) pitch, yaw, roll in radians.

    A difference is taken the short way around the circle. NaN where nothing is measured.

    >>> {k: round(v, 6) for k, v in pose_error_degrees([[0, 0.1, np.pi]], [[0, 0.0, -np.pi]]).items()}
    {'pose_pitch': 0.0, 'pose_yaw': 5.729578, 'pose_roll': 0.0}
    """
    difference = np.asarray(asked, np.float64) - np.asarray(found, np.float64)
    turned = (difference + np.pi) % (2 * np.pi) - np.pi
    errors = np.degrees(mean_error(turned, np.zeros_like(turned)))
    return dict(zip(POSE_NAMES, errors.tolist(), strict=True))


def geodesic_degrees(asked: npt.ArrayLike, found: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N,) angle of the one rotation that leads from each asked pose to the one found, 0..180 degrees; NaN if unknown.

    `asked`, `found` (N, 3): pitch, yaw, roll in radians, applied as rotations about x, y, z of the turning head
    (OpenFace's order). One number for all three axes, as pose estimation reports it (Huynh 2009, metric 6).

    >>> geodesic_degrees([[0, np.pi / 6, 0]], [[0, 0, 0]]).round(6).tolist()
    [30.0]
    """
    from scipy.spatial.transform import Rotation

    a, b = np.asarray(asked, np.float64), np.asarray(found, np.float64)
    angles = np.full(len(a), np.nan)
    known = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    if known.any():
        turns = Rotation.from_euler("XYZ", a[known]).inv() * Rotation.from_euler("XYZ", b[known])
        angles[known] = np.degrees(turns.magnitude())
    return angles


def _constant(values: npt.NDArray[np.float64]) -> bool:
    return bool(values.std() <= 1e-12 * max(1.0, float(np.abs(values).max(initial=0.0))))
