"""Metrics of pictures (N, H, W, 3) uint8 RGB: L1, SSIM, sharpness. Every function returns one number a picture."""

import cv2
import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]
PerPicture = npt.NDArray[np.float64]

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in brightness (ITU-R BT.601)."""
SSIM_SIGMA = 1.5
SSIM_RADIUS = 5
"""An 11 x 11 Gaussian window (Wang et al. 2004, section III)."""
SSIM_K1, SSIM_K2 = 0.01, 0.03


def l1(pictures: Pictures, targets: Pictures) -> PerPicture:
    """(N,) mean absolute difference, 0..1 (1: black against white).

    >>> l1(np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 51, np.uint8)).tolist()
    [0.2]
    """
    _check_alike(pictures, targets)
    difference = np.abs(pictures.astype(np.int16) - targets.astype(np.int16))
    return difference.mean(axis=(1, 2, 3), dtype=np.float64) / 255


def box_l1(pictures: Pictures, targets: Pictures, boxes: npt.ArrayLike) -> PerPicture:
    """(N,) L1 within a box, 0..1. `boxes` (N, 4): x, y, width, height in fractions of the picture.

    >>> picture, target = np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3), np.uint8)
    >>> target[:, :2, :2] = 255
    >>> box_l1(picture, target, [[0, 0, 0.5, 0.5]]).tolist(), l1(picture, target).tolist()
    ([1.0], [0.25])
    """
    _check_alike(pictures, targets)
    windows = pixel_boxes(boxes, pictures.shape[1], pictures.shape[2])
    return np.array(
        [
            l1(picture[None, top:bottom, left:right], target[None, top:bottom, left:right])[0]
            for picture, target, (left, top, right, bottom) in zip(pictures, targets, windows, strict=True)
        ]
    )


def ssim(pictures: Pictures, targets: Pictures) -> PerPicture:
    """(N,) structural similarity, -1..1, 1 for equal pictures: the mean over the three colours.

    Wang et al. 2004: Gaussian window of 11 x 11, sigma 1.5, K1 0.01, K2 0.03, covariance over the window's weights;
    the mean is taken where the window lies within the picture, so pictures must be at least 11 px each way.

    >>> picture = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(1, 16, 16, 3)
    >>> ssim(picture, picture).tolist()
    [1.0]
    """
    _check_alike(pictures, targets)
    if min(pictures.shape[1:3]) < 2 * SSIM_RADIUS + 1:
        raise ValueError(f"SSIM needs pictures of {2 * SSIM_RADIUS + 1} px or more, not {pictures.shape[1:3]}")
    return np.array([_ssim(x, y) for x, y in zip(pictures, targets, strict=True)])


def laplacian_variance(pictures: Pictures, boxes: npt.ArrayLike | None = None) -> PerPicture:
    """(N,) variance of the Laplacian of brightness (0..255), the usual measure of sharpness.

    `boxes` (N, 4): x, y, width, height in fractions restrict it to a part of each picture. The Laplacian is the
    4-neighbour one; the edge of the picture is mirrored.

    >>> laplacian_variance(np.full((1, 8, 8, 3), 200, np.uint8)).round(9).tolist()
    [0.0]
    """
    whole = np.tile([0.0, 0.0, 1.0, 1.0], (len(pictures), 1))
    windows = pixel_boxes(whole if boxes is None else boxes, pictures.shape[1], pictures.shape[2])
    variances = []
    for picture, (left, top, right, bottom) in zip(pictures, windows, strict=True):
        edges = cv2.Laplacian(picture.astype(np.float64) @ np.array(LUMA), cv2.CV_64F)
        variances.append(float(edges[top:bottom, left:right].var()))
    return np.array(variances)


def pixel_boxes(boxes: npt.ArrayLike, height: int, width: int) -> npt.NDArray[np.int64]:
    """(N, 4) left, top, right, bottom in pixels, end exclusive, of boxes x, y, width, height in fractions.

    Boxes are cut at the picture's edge and keep at least one pixel.

    >>> pixel_boxes([[0.25, 0.5, 0.5, 1.0]], height=8, width=8).tolist()
    [[2, 4, 6, 8]]
    """
    fractions = np.asarray(boxes, np.float64)
    if fractions.ndim != 2 or fractions.shape[1] != 4 or not np.isfinite(fractions).all():
        raise ValueError(f"boxes must be (N, 4) and finite, not {fractions.shape}")
    size = np.array([width, height])
    # Rounded first, so that 0.2 + 0.4 of 20 px ends at 12 and not in the thirteenth.
    low = np.clip(np.floor(np.round(fractions[:, :2] * size, 6)), 0, size - 1)
    high = np.clip(np.ceil(np.round((fractions[:, :2] + fractions[:, 2:]) * size, 6)), low + 1, size)
    return np.concatenate([low, high], axis=1).astype(np.int64)


def _ssim(x: npt.NDArray[np.uint8], y: npt.NDArray[np.uint8]) -> float:
    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        window = 2 * SSIM_RADIUS + 1
        blurred = cv2.GaussianBlur(values, (window, window), SSIM_SIGMA)
        return np.asarray(blurred[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS])

    a, b = x.astype(np.float64), y.astype(np.float64)
    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = (SSIM_K1 * 255) ** 2, (SSIM_K2 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return float((luminance * structure).mean())


def _check_alike(pictures: Pictures, targets: Pictures) -> None:
    if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
        raise ValueError(f"pictures must be (N, H, W, 3) uint8, not {pictures.shape} {pictures.dtype}")
    if pictures.shape != targets.shape or targets.dtype != np.uint8:
        raise ValueError(f"targets {targets.shape} {targets.dtype} must be like the pictures, {pictures.shape} uint8")
