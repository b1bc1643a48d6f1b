"""Why a frame with a face is dropped: each filter has a name, under which the clip's row counts it.

To add one: an option in `pipelines.config.FilterConfig` and a line in `FILTERS`. The column `dropped_NAME` follows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from icface.analyzers.face import Face
from icface.arrays import Picture
from pipelines.config import FilterConfig

BLACK, WHITE = 5, 250
"""Values (0..255) up to which, and from which on, a pixel shows no detail."""
FACE_HEIGHT = 128
"""Pixels that a face is scaled to where strokes are looked for in it."""
STROKE, CONTRAST, BRIGHT = 5, 30, 170
"""A stroke is narrower than so many of those pixels, lighter by so much than what is beside it, and so light (0..255).

Of 18 combinations this one told drawn captions from 739 real frames best. Wider strokes are teeth, darker ones brows.
"""


@dataclass(frozen=True)
class FrameFilter:
    """A reason to drop a frame."""

    name: str
    drops: Callable[[FilterConfig, Picture, Face], bool]
    """Whether the options drop a frame (H, W, 3) uint8 RGB with this main face."""


def drop_reason(options: FilterConfig, frame: Picture, face: Face) -> str:
    """The name of the first filter that drops the frame; empty when it is kept."""
    return next((known.name for known in FILTERS if known.drops(options, frame, face)), "")


def sharpness(frame: Picture, box: npt.ArrayLike, size: int = 64) -> float:
    """Variance of the Laplacian of the face's grey values (0..255), at a height of `size` pixels whatever its own."""
    x, y, width, height = np.asarray(box, np.float64)
    rows = slice(max(0, int(y)), max(1, int(y + height)))
    columns = slice(max(0, int(x)), max(1, int(x + width)))
    face = frame[rows, columns]
    if face.size == 0:
        return 0.0
    grey = cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA), cv2.CV_64F).var())


def clipped_share(frame: Picture, landmarks: npt.ArrayLike) -> float:
    """Share of the face's pixels without detail: all channels at most `BLACK`, or all at least `WHITE`.

    The face is the hull of the landmarks (68, 2) in source pixels, so that the background has no part in it.
    """
    points = np.round(np.asarray(landmarks, np.float64)).astype(np.int32)
    low = np.clip(points.min(0), 0, None)
    high = np.minimum(points.max(0) + 1, (frame.shape[1], frame.shape[0]))
    if (high <= low).any():
        return 0.0
    part = frame[low[1] : high[1], low[0] : high[0]]
    inside = np.zeros(part.shape[:2], np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(points - low), 1)
    clipped = (part.max(axis=2) <= BLACK) | (part.min(axis=2) >= WHITE)
    return float(clipped[inside > 0].mean()) if inside.any() else 0.0


def stroke_share(frame: Picture, landmarks: npt.ArrayLike) -> float:
    """Share of the face's pixels on thin bright strokes.

    The face is the hull of the landmarks (68, 2) in source pixels.
    """
    points = np.asarray(landmarks, np.float64)
    scale = FACE_HEIGHT / max(np.ptp(points[:, 1]), 1.0)
    margin = 2 * STROKE / scale
    left, top = np.clip(np.floor(points.min(0) - margin), 0, None).astype(int)
    right, bottom = np.minimum(np.ceil(points.max(0) + margin).astype(int), (frame.shape[1], frame.shape[0]))
    if right <= left or bottom <= top:
        return 0.0
    grey = cv2.cvtColor(np.ascontiguousarray(frame[top:bottom, left:right]), cv2.COLOR_RGB2GRAY)
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    inside = np.zeros(grey.shape, np.uint8)
    hull = cv2.convexHull(np.round((points - (left, top)) * scale).astype(np.int32))
    cv2.fillConvexPoly(inside, hull, 1)
    thin = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (STROKE, STROKE)))
    strokes = (thin >= CONTRAST) & (grey >= BRIGHT)
    return float(strokes[inside > 0].mean()) if inside.any() else 0.0


def _small(options: FilterConfig, frame: Picture, face: Face) -> bool:
    return bool(face.box[3] < options.min_face)


def _unsure(options: FilterConfig, frame: Picture, face: Face) -> bool:
    return face.confidence < options.min_confidence


def _turned(options: FilterConfig, frame: Picture, face: Face) -> bool:
    return bool(np.nanmax(np.abs(face.attributes[:3])) > options.max_pose)


def _blurred(options: FilterConfig, frame: Picture, face: Face) -> bool:
    return options.min_sharpness > 0 and sharpness(frame, face.box) < options.min_sharpness


def _badly_exposed(options: FilterConfig, frame: Picture, face: Face) -> bool:
    return options.max_clipped < 1 and clipped_share(frame, face.landmarks) > options.max_clipped


def _captioned(options: FilterConfig, frame: Picture, face: Face) -> bool:
    return options.max_text < 1 and stroke_share(frame, face.landmarks) > options.max_text


FILTERS = (
    FrameFilter("small_face", _small),
    FrameFilter("low_confidence", _unsure),
    FrameFilter("turned", _turned),
    FrameFilter("blurred", _blurred),
    FrameFilter("exposure", _badly_exposed),
    FrameFilter("text", _captioned),
)
