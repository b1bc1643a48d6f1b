"""Pictures against the driving frames, pixel by pixel."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from icface.arrays import Pictures
from icface.evaluation.measurements import Columns
from icface.evaluation.pairs import EvaluationPair
from icface.metrics.landmarks import eye_boxes, mouth_boxes
from icface.metrics.pictures import (
    HIGHEST_PSNR,
    MS_SSIM_SIZE,
    box_l1,
    box_ms_ssim,
    box_psnr,
    l1,
    laplacian_variance,
    ms_ssim,
    psnr,
    similarity,
)

PIXELS = (
    *("face_l1", "l1", "face_psnr", "psnr", "face_ssim", "ssim", "face_ms_ssim", "ms_ssim"),
    *("eyes_l1", "mouth_l1", "laplacian"),
)
"""Measured against the driving frame, of each pair of kind `self`."""


def pixel_scores(pictures: Pictures, targets: Pictures, pairs: Sequence[EvaluationPair]) -> Columns:
    """`PIXELS` of pictures (N, S, S, 3) against the driving frames at their size: (N,) each."""
    boxes = np.stack([pair.box for pair in pairs])
    points = np.stack([pair.landmarks for pair in pairs])
    if pictures is targets:  # the real frames themselves: only their sharpness is not known beforehand
        zero, one = np.zeros(len(pairs)), np.ones(len(pairs))
        return {
            **dict.fromkeys(("face_l1", "l1"), zero),
            **dict.fromkeys(("face_psnr", "psnr"), one * HIGHEST_PSNR),
            **dict.fromkeys(("face_ssim", "ssim"), one),
            **dict.fromkeys(("face_ms_ssim", "ms_ssim"), one if pictures.shape[1] >= MS_SSIM_SIZE else one * np.nan),
            **dict.fromkeys(("eyes_l1", "mouth_l1"), np.where(np.isfinite(points).all(axis=(1, 2)), 0.0, np.nan)),
            "laplacian": laplacian_variance(pictures, boxes),
        }
    structure = similarity(pictures, targets, boxes)
    return {
        "face_l1": box_l1(pictures, targets, boxes),
        "l1": l1(pictures, targets),
        "face_psnr": box_psnr(pictures, targets, boxes),
        "psnr": psnr(pictures, targets),
        "face_ssim": structure.box,
        "ssim": structure.whole,
        "face_ms_ssim": box_ms_ssim(pictures, targets, boxes),
        "ms_ssim": ms_ssim(pictures, targets),
        "eyes_l1": _known_l1(pictures, targets, eye_boxes(points)),
        "mouth_l1": _known_l1(pictures, targets, mouth_boxes(points)),
        "laplacian": laplacian_variance(pictures, boxes),
    }


def _known_l1(pictures: Pictures, targets: Pictures, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    known = np.isfinite(boxes).all(axis=1)
    result = np.full(len(pictures), np.nan)
    if known.any():
        result[known] = box_l1(pictures[known], targets[known], boxes[known])
    return result
