"""Metrics of pictures (N, H, W, 3) uint8 RGB. Every function returns one number a picture.

PSNR, SSIM and MS-SSIM are torchmetrics'. Our own is what is particular to faces: L1, and the others within a box.
The box's MS-SSIM needs the maps of every scale, which torchmetrics does not give, so it is computed here.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from icface.arrays import Doubles, Pictures

PerPicture = npt.NDArray[np.float64]

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in brightness (ITU-R BT.601)."""
SSIM_BORDER = 5
"""Pixels at the edge where the 11 x 11 window of SSIM would leave the picture: they do not count."""
MS_SSIM_SIZE = 176
"""Smallest side for the five scales of MS-SSIM: each halves the picture, and the last must hold an 11 x 11 window."""
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, from the finest to the coarsest (Wang, Simoncelli and Bovik 2003)."""
SSIM_WINDOW = cv2.getGaussianKernel(2 * SSIM_BORDER + 1, 1.5)
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
HIGHEST_PSNR = 60.0
"""dB. Equal pictures have no finite PSNR; above this a difference lies below the rounding to 8 bits (58.9 dB)."""


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


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Structural similarity of whole pictures and within boxes."""

    whole: PerPicture
    box: PerPicture


def similarity(pictures: Pictures, targets: Pictures, boxes: npt.ArrayLike | None = None) -> Similarity:
    """SSIM (Wang et al. 2004), -1..1, 1 for equal pictures: torchmetrics' map, its mean over the picture and the box.

    The window is an 11 x 11 Gaussian of sigma 1.5; where it would leave the picture nothing is counted. `boxes` (N, 4)
    as in `box_l1`; a box without any such place has the whole picture's value. Computed in float32 (about 1e-5).
    Raises ValueError for pictures under 11 px.

    >>> grey = np.full((1, 16, 16, 3), 128, np.uint8)
    >>> similarity(grey, grey).whole.round(6).tolist()
    [1.0]
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _check_alike(pictures, targets)
    height, width = pictures.shape[1:3]
    if min(height, width) <= 2 * SSIM_BORDER:
        raise ValueError(f"SSIM needs pictures of at least {2 * SSIM_BORDER + 1} px, not {width} x {height}")
    _, full = structural_similarity_index_measure(
        _tensor(pictures), _tensor(targets), sigma=1.5, data_range=255.0, reduction="none", return_full_image=True
    )
    places = np.asarray(full.mean(dim=1), np.float64)
    inner = slice(SSIM_BORDER, -SSIM_BORDER)
    whole = places[:, inner, inner].mean(axis=(1, 2))
    if boxes is None:
        return Similarity(whole=whole, box=whole)
    windows = pixel_boxes(boxes, height, width)
    low = np.clip(windows[:, :2], SSIM_BORDER, None)
    high = np.minimum(windows[:, 2:], [width - SSIM_BORDER, height - SSIM_BORDER])
    within = [
        places[index, top:bottom, left:right].mean() if left < right and top < bottom else whole[index]
        for index, ((left, top), (right, bottom)) in enumerate(zip(low, high, strict=True))
    ]
    return Similarity(whole=whole, box=np.array(within))


def ssim(pictures: Pictures, targets: Pictures) -> PerPicture:
    """(N,) SSIM of whole pictures, see `similarity`."""
    return similarity(pictures, targets).whole


def ms_ssim(pictures: Pictures, targets: Pictures) -> PerPicture:
    """(N,) multi-scale SSIM (Wang, Simoncelli and Bovik 2003), 0..1, 1 for equal pictures; torchmetrics'.

    NaN for pictures under `MS_SSIM_SIZE` px: they cannot be halved four times. Negative contrast counts as 0.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    _check_alike(pictures, targets)
    if min(pictures.shape[1:3]) < MS_SSIM_SIZE:
        return np.full(len(pictures), np.nan)
    found = multiscale_structural_similarity_index_measure(
        _tensor(pictures), _tensor(targets), data_range=255.0, reduction="none", normalize="relu"
    )
    return np.asarray(found, np.float64)


def box_ms_ssim(pictures: Pictures, targets: Pictures, boxes: npt.ArrayLike) -> PerPicture:
    """(N,) MS-SSIM within a box, 0..1, 1 for equal pictures. `boxes` (N, 4) as in `box_l1`.

    The definition of `ms_ssim`, but each scale's mean is over the windows whose centres lie in the box (and which lie
    in the picture), as in `similarity`. So it needs a large picture, not a large box. NaN for pictures under
    `MS_SSIM_SIZE` px, and where no window of some scale has its centre in the box: a box at the edge, or under 16 px.
    """
    _check_alike(pictures, targets)
    height, width = pictures.shape[1:3]
    if min(height, width) < MS_SSIM_SIZE:
        return np.full(len(pictures), np.nan)
    both = zip(pictures, targets, np.asarray(boxes, np.float64), strict=True)
    return np.array([_one_box_ms_ssim(picture, target, box) for picture, target, box in both])


def _one_box_ms_ssim(picture: Pictures, target: Pictures, box: npt.NDArray[np.float64]) -> float:
    a, b = picture.astype(np.float64), target.astype(np.float64)
    product = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        if scale:
            height, width = a.shape[0] // 2, a.shape[1] // 2
            a, b = (
                each[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean(axis=(1, 3)) for each in (a, b)
            )
        ((left, top, right, bottom),) = pixel_boxes(box[None], *a.shape[:2])
        rows = slice(max(top, SSIM_BORDER), min(bottom, a.shape[0] - SSIM_BORDER))
        columns = slice(max(left, SSIM_BORDER), min(right, a.shape[1] - SSIM_BORDER))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return float("nan")
        # Only what the windows of the box see has to be looked at.
        seen = tuple(slice(part.start - SSIM_BORDER, part.stop + SSIM_BORDER) for part in (rows, columns))
        similar = _ssim_map(a[seen], b[seen], luminance=scale == len(MS_SSIM_WEIGHTS) - 1)
        product *= max(float(similar.mean()), 0.0) ** weight
    return product


def _ssim_map(a: Doubles, b: Doubles, *, luminance: bool) -> Doubles:
    """(H - 10, W - 10, 3) SSIM of each window of (H, W, 3); contrast and structure alone without `luminance`."""

    def blurred(values: Doubles) -> Doubles:
        found = cv2.sepFilter2D(values, cv2.CV_64F, SSIM_WINDOW, SSIM_WINDOW)
        return np.asarray(found[SSIM_BORDER:-SSIM_BORDER, SSIM_BORDER:-SSIM_BORDER])

    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b, both = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2, blurred(a * b) - mean_a * mean_b
    similar = (2 * both + SSIM_C2) / (var_a + var_b + SSIM_C2)
    light = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1) if luminance else 1.0
    return np.asarray(similar * light)


def psnr(pictures: Pictures, targets: Pictures) -> PerPicture:
    """(N,) peak signal-to-noise ratio, dB, 10 log10(255^2 / mean squared error), at most `HIGHEST_PSNR`; torchmetrics'.

    >>> psnr(np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 255, np.uint8)).tolist()
    [0.0]
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    _check_alike(pictures, targets)
    found = peak_signal_noise_ratio(
        _tensor(pictures), _tensor(targets), data_range=255.0, dim=(1, 2, 3), reduction="none"
    )
    return np.minimum(np.asarray(found, np.float64), HIGHEST_PSNR)


def box_psnr(pictures: Pictures, targets: Pictures, boxes: npt.ArrayLike) -> PerPicture:
    """(N,) PSNR within a box, dB, see `psnr`. `boxes` (N, 4) as in `box_l1`."""
    _check_alike(pictures, targets)
    windows = pixel_boxes(boxes, pictures.shape[1], pictures.shape[2])
    squares = (pictures.astype(np.float64) - targets) ** 2
    errors = np.array(
        [s[top:bottom, left:right].mean() for s, (left, top, right, bottom) in zip(squares, windows, strict=True)]
    )
    least = 255**2 / 10 ** (HIGHEST_PSNR / 10)
    return np.asarray(10 * np.log10(255**2 / np.maximum(errors, least)))


def laplacian_variance(pictures: Pictures, boxes: npt.ArrayLike | None = None) -> PerPicture:
    """(N,) variance of the Laplacian of brightness (0..255), 0 or more: sharpness (Pech-Pacheco et al. 2000).

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


def _tensor(pictures: Pictures) -> Tensor:
    """(N, 3, H, W) float32, 0..255."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float()


def _check_alike(pictures: Pictures, targets: Pictures) -> None:
    if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
        raise ValueError(f"pictures must be (N, H, W, 3) uint8, not {pictures.shape} {pictures.dtype}")
    if pictures.shape != targets.shape or targets.dtype != np.uint8:
        raise ValueError(f"targets {targets.shape} {targets.dtype} must be like the pictures, {pictures.shape} uint8")
