"""Small frames are enlarged before MediaPipe's networks see them, by whichever analyzer runs these."""

import cv2
import numpy as np
import numpy.typing as npt

SMALLEST = 256
"""Frames whose shorter side is below this are enlarged before analysis: crops of 64 or 128 px are found less well."""


def enlarged(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """`frame` (H, W, 3) with its shorter side brought to `SMALLEST` where it is shorter."""
    height, width = frame.shape[:2]
    if min(height, width) >= SMALLEST:
        return frame
    factor = SMALLEST / min(height, width)
    size = (round(width * factor), round(height * factor))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC), np.uint8)
