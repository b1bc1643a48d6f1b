"""Metrics of landmarks (68 points, iBUG order), and the boxes of eyes and mouth that they draw."""

import numpy as np
import numpy.typing as npt

OUTER_EYE_CORNERS = (36, 45)
EYES, MOUTH = slice(36, 48), slice(48, 68)
EYES_MARGIN, MOUTH_MARGIN = (0.15, 0.35), (0.15, 0.15)
"""Added on each side of the points' box, in shares of its width (across) and of half its width (up and down)."""

Points = npt.NDArray[np.floating]


def landmark_distance(found: Points, real: Points) -> npt.NDArray[np.float64]:
    """(N,) mean distance of 68 points (N, 68, 2) in % of the real face's inter-ocular distance; NaN where unknown.

    The inter-ocular distance is that of the outer eye corners (300-W, Sagonas et al. 2013). 0 is perfect.

    >>> real = np.zeros((1, 68, 2)); real[0, 45, 0] = 0.5
    >>> landmark_distance(real + [0.05, 0.0], real).round(6).tolist()
    [10.0]
    """
    a, b = np.asarray(found, np.float64), np.asarray(real, np.float64)
    left, right = OUTER_EYE_CORNERS
    between = np.linalg.norm(b[:, left] - b[:, right], axis=1)
    apart = np.linalg.norm(a - b, axis=2).mean(axis=1)
    return 100 * np.divide(apart, between, out=np.full(len(a), np.nan), where=between > 0)


def eye_boxes(landmarks: Points) -> npt.NDArray[np.float64]:
    """(N, 4) x, y, width, height around both eyes, in the unit of `landmarks` (N, 68, 2); NaN where unknown."""
    return _boxes(np.asarray(landmarks, np.float64)[:, EYES], *EYES_MARGIN)


def mouth_boxes(landmarks: Points) -> npt.NDArray[np.float64]:
    """(N, 4) x, y, width, height around the mouth, in the unit of `landmarks` (N, 68, 2); NaN where unknown."""
    return _boxes(np.asarray(landmarks, np.float64)[:, MOUTH], *MOUTH_MARGIN)


def _boxes(points: Points, across: float, upright: float) -> npt.NDArray[np.float64]:
    low, high = points.min(axis=1), points.max(axis=1)
    width = high[:, :1] - low[:, :1]
    margin = np.concatenate([width * across, width * upright / 2], axis=1)
    return np.concatenate([low - margin, high - low + 2 * margin], axis=1)
