"""How much a track's landmarks tremble: what is left when the head's own motion is taken away."""

import numpy as np
import numpy.typing as npt

from icface.metrics.landmarks import OUTER_EYE_CORNERS


def jitter(landmarks: npt.NDArray[np.float32], places: npt.NDArray[np.int64]) -> float:
    """Median over the frames of the mean second difference of the landmarks, % of the distance between the eyes.

    `landmarks`: (N, 68, 2) in pixels. `places`: (N,) numbers of the frames; only three in a row count. The landmarks'
    mean is taken off each frame first. NaN without three frames in a row.
    """
    points = np.asarray(landmarks, np.float64)
    left, right = OUTER_EYE_CORNERS
    eyes = float(np.median(np.linalg.norm(points[:, left] - points[:, right], axis=1)))
    steps = np.diff(places)
    following = (steps[:-1] == 1) & (steps[1:] == 1)
    if not following.any() or eyes <= 0:
        return float("nan")
    shapes = points - points.mean(axis=1, keepdims=True)
    second = np.linalg.norm(shapes[2:] - 2 * shapes[1:-1] + shapes[:-2], axis=2).mean(axis=1)
    return 100 * float(np.median(second[following])) / eyes
