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


def _small(options: FilterConfig, frame: Picture, face: Face) -> bool:
    return bool(face.box[3] < options.min_face)


def _unsure(options: FilterConfig, frame: Picture, face: Face) -> bool:
    return face.confidence < options.min_confidence


def _turned(options: FilterConfig, frame: Picture, face: Face) -> bool:
    return bool(np.nanmax(np.abs(face.attributes[:3])) > options.max_pose)


def _blurred(options: FilterConfig, frame: Picture, face: Face) -> bool:
    return options.min_sharpness > 0 and sharpness(frame, face.box) < options.min_sharpness


FILTERS = (
    FrameFilter("small_face", _small),
    FrameFilter("low_confidence", _unsure),
    FrameFilter("turned", _turned),
    FrameFilter("blurred", _blurred),
)
