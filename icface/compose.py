"""Pictures beside and inside each other: side by side, and a face put back into the full picture."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from icface.arrays import Picture
from icface.images import resize

SOFT_EDGE = 0.15
"""Share of the square over which a face that is put back fades into the picture."""


def paste_back(picture: Picture, square: tuple[float, float, float], face: Picture, edge: float = SOFT_EDGE) -> Picture:
    """`picture` (H, W, 3) uint8 with `face` (S, S, 3) uint8 in `square` (x, y, side; pixels, may lie between them).

    Towards the rim of the square the face fades out over `edge` of its side; outside of it nothing changes.
    """
    x, y, side = square
    size = len(face)
    left, top = max(0, int(np.floor(x))), max(0, int(np.floor(y)))
    right = min(picture.shape[1], int(np.ceil(x + side)))
    bottom = min(picture.shape[0], int(np.ceil(y + side)))
    scale = size / side
    # Pixel i has its centre at i + 0.5, in both pictures.
    matrix = np.array(
        [[scale, 0, (left + 0.5 - x) * scale - 0.5], [0, scale, (top + 0.5 - y) * scale - 0.5]], np.float64
    )
    put = cv2.warpAffine(
        face,
        matrix,
        (right - left, bottom - top),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    across, down = _ramp(left, right, x, side, edge), _ramp(top, bottom, y, side, edge)
    weight = (down[:, None] * across[None])[..., None]
    result = picture.copy()
    below = picture[top:bottom, left:right].astype(np.float32)
    result[top:bottom, left:right] = np.rint(below + weight * (put.astype(np.float32) - below)).astype(np.uint8)
    return result


def side_by_side(pictures: Sequence[Picture], height: int) -> Picture:
    """Pictures (H, W, 3) uint8 in a row, all brought to one height; each keeps its shape."""
    return np.concatenate(
        [resize(picture, (height, max(1, round(picture.shape[1] * height / len(picture))))) for picture in pictures],
        axis=1,
    )


def _ramp(first: int, last: int, start: float, side: float, edge: float) -> npt.NDArray[np.float32]:
    """Weight of each pixel from `first` to `last`: 0 at the square's rims, 1 from `edge` of the side inwards."""
    at = (np.arange(first, last) + 0.5 - start) / side
    share = np.clip(np.minimum(at, 1 - at) / edge, 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)
