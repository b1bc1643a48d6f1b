"""The one crop rule: which square of a frame the networks see.

Preprocessing, evaluation, animation, the Studio and serving all cut through here. Data sets and bundles record the
rule, so that a face is seen at the scale that the networks were trained on.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from icface.errors import IcfaceError
from icface.mappings import read

CropMode = Literal["smooth", "track", "frame", "centred"]
FOLLOWING: tuple[CropMode, ...] = ("smooth", "centred")
"""Modes whose square follows the face from frame to frame."""
Squares = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class CropRule:
    """How a square is laid around the face in the frames of a track.

    >>> rule = CropRule(mode="track")
    >>> rule.squares([[40, 40, 20, 20], [44, 40, 20, 20]], fps=25, width=100, height=100).tolist()
    [[36.0, 34.0, 32.0], [36.0, 34.0, 32.0]]
    """

    mode: CropMode = "smooth"
    """`smooth`: centre and size for each frame, smoothed without delay; `track`: one square for a whole track;
    `frame`: the largest square of the frame, whatever the face does. `centred` is `smooth`, but its square may leave
    the frame: a face near the edge, or one that fills the frame, keeps its place and size in the square."""
    scale: float = 1.6
    """Side of the square over the longer side of the landmarks' box."""
    smoothing_seconds: float = 1.0
    """Width of the smoothing window of `smooth` and `centred`, in seconds; 0 follows the box of every frame."""

    def __post_init__(self) -> None:
        if self.mode not in get_args(CropMode):
            raise ValueError(f"crop mode {self.mode!r} is not one of {', '.join(get_args(CropMode))}")
        if not 1 <= self.scale <= 10:
            raise ValueError(f"crop scale {self.scale} lies outside 1..10")
        if not 0 <= self.smoothing_seconds <= 60:
            raise ValueError(f"crop smoothing_seconds {self.smoothing_seconds} lies outside 0..60")

    def squares(self, boxes: npt.ArrayLike, fps: float, width: int, height: int) -> Squares:
        """The squares of one track.

        `boxes` (N, 4): x, y, width, height of the face in consecutive frames, pixels of a frame of `width` x `height`;
        `fps`: of these frames (after `every`). Returns (N, 3) float32: x and y of the upper left corner and the side,
        pixels. But for `centred`, a square that would leave the frame is shifted inwards. One larger than the frame's
        shorter side is first shrunk to it about its own centre.
        """
        boxes = np.asarray(boxes, np.float64)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes must be (N, 4), not {boxes.shape}")
        count = len(boxes)
        centres = boxes[:, :2] + boxes[:, 2:] / 2
        sides = boxes[:, 2:].max(axis=1, initial=0.0) * self.scale
        if self.mode == "frame":
            centres = np.full((count, 2), (width / 2, height / 2))
            sides = np.full(count, float(min(width, height)))
        elif self.mode == "track" and count:
            centres = np.broadcast_to(np.median(centres, axis=0), (count, 2))
            sides = np.full(count, np.median(sides))
        elif self.mode in FOLLOWING:
            frames = fps * self.smoothing_seconds
            smoothed = smooth(np.column_stack([centres, sides]), frames)
            centres, sides = smoothed[:, :2], smoothed[:, 2]
        if self.mode == "centred":
            return _corners(centres, np.maximum(sides, 1.0))
        return _inside(centres, sides, width, height)

    def to_json(self) -> dict[str, Any]:
        """A plain dict that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "CropRule":
        """The rule that `to_json` wrote. Raises IcfaceError on unknown fields or bad values."""
        try:
            return read(cls, entry)
        except ValueError as error:
            raise IcfaceError(f"this crop rule cannot be read: {error}") from None


def smooth(values: npt.NDArray[np.float64], window: float) -> npt.NDArray[np.float64]:
    """Average (N, C) along the first axis by a Hann window of `window` frames, centred, so without delay.

    Near the ends the window is cut and reweighted, so a constant stays constant and nothing is invented.
    """
    reach = int(window / 2)
    if reach < 1 or len(values) < 2:
        return values
    weights = np.hanning(2 * reach + 3)[1:-1]
    total = np.convolve(np.ones(len(values)), weights)[reach:-reach]
    columns = [np.convolve(column, weights)[reach:-reach] / total for column in values.T]
    return np.column_stack(columns)


def crop_image(frame: npt.NDArray[np.uint8], square: npt.ArrayLike, size: int) -> npt.NDArray[np.uint8]:
    """The square (x, y, side) of `frame` (H, W, 3) uint8, brought to (size, size, 3) uint8.

    The corner may lie between pixels. An output pixel is the mean of bilinear samples of the area that it covers. They
    are evenly spaced, at most one source pixel apart. What lies outside the frame repeats its edge.
    """
    x, y, side = (float(value) for value in np.asarray(square))
    if not side > 0:
        raise ValueError(f"a crop square must have a positive side, not {side}")
    samples = max(1, math.ceil(side / size))
    step = side / (size * samples)
    # Pixel i has its centre at i + 0.5: sample j lies at x + (j + 0.5) * step.
    matrix = np.array([[step, 0, x + step / 2 - 0.5], [0, step, y + step / 2 - 0.5]])
    fine = cv2.warpAffine(
        frame,
        matrix,
        (size * samples, size * samples),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if samples > 1:
        fine = cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(fine, np.uint8)


def _inside(centres: npt.NDArray[np.float64], sides: npt.NDArray[np.float64], width: int, height: int) -> Squares:
    sides = np.clip(sides, 1.0, float(min(width, height)))
    room = np.array([width, height], np.float64) - sides[:, None]
    squares = _corners(centres, sides)
    squares[:, :2] = np.clip(squares[:, :2], 0.0, room)
    return squares


def _corners(centres: npt.NDArray[np.float64], sides: npt.NDArray[np.float64]) -> Squares:
    return np.column_stack([centres - sides[:, None] / 2, sides]).astype(np.float32)
