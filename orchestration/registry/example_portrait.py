"""A drawn face: the input example of registered models. It shows nobody, and analyzers find it."""

import cv2
import numpy as np

from icface.arrays import Picture
from icface.images import encode_png

SIDE = 256
SKIN, SHADE, HAIR, IRIS, LIPS, LINE = (
    (226, 184, 158),
    (205, 155, 130),
    (70, 50, 40),
    (70, 50, 35),
    (190, 100, 100),
    (130, 60, 65),
)
WHITE, BLACK, WALL, SHIRT = (250, 248, 246), (10, 10, 10), (186, 196, 204), (60, 80, 120)


def portrait() -> Picture:
    """(256, 256, 3) uint8 RGB."""
    picture = np.full((SIDE, SIDE, 3), WALL, np.uint8)

    def oval(
        x: float, y: float, width: float, height: float, colour: tuple[int, int, int], arc: bool = False, line: int = -1
    ) -> None:
        """An ellipse by its middle and half axes, in shares of the picture; of `arc` the upper half alone."""
        middle, axes = (round(x * SIDE), round(y * SIDE)), (round(width * SIDE), round(height * SIDE))
        cv2.ellipse(picture, middle, axes, 0, 180 if arc else 0, 360, colour, line, cv2.LINE_AA)

    oval(0.5, 0.45, 0.30, 0.36, HAIR)
    oval(0.5, 0.98, 0.42, 0.18, SHIRT)
    oval(0.5, 0.82, 0.10, 0.14, SHADE)
    oval(0.5, 0.52, 0.235, 0.31, SKIN)
    for x in (0.41, 0.59):
        oval(x, 0.47, 0.045, 0.024, WHITE)
        oval(x, 0.47, 0.021, 0.022, IRIS)
        oval(x, 0.47, 0.009, 0.009, BLACK)
        oval(x, 0.405, 0.055, 0.014, HAIR, arc=True)
        oval(x, 0.468, 0.047, 0.026, HAIR, arc=True, line=2)
    oval(0.5, 0.585, 0.035, 0.02, SHADE)
    for x in (0.485, 0.515):
        oval(x, 0.592, 0.008, 0.006, LINE)
    oval(0.5, 0.69, 0.075, 0.022, LIPS)
    ends = [(round(x * SIDE), round(0.69 * SIDE)) for x in (0.43, 0.57)]
    cv2.line(picture, ends[0], ends[1], LINE, 2, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), SIDE / 180), np.uint8)


def portrait_png() -> bytes:
    """The same as a PNG file."""
    return encode_png(portrait())
