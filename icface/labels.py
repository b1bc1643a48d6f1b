"""Raw labels made ready for training when they are read: smoothing, baselines, neutral frames, rare expressions.

Data sets store labels as measured; nothing here is ever written back. Labels are (N, 20), or (N, 36) where the sides
of the face stand behind the 20 (`icface.attributes.LABEL_NAMES`): a side is treated as its action unit is.
"""

import numpy as np
import numpy.typing as npt

from icface.arrays import Labels
from icface.attributes import ACTION_UNIT_NAMES, ATTRIBUTE_NAMES, LABEL_NAMES, POSE_NAMES, unit_of

UNSMOOTHED = ("AU45",)
"""A blink lasts 3 to 5 frames: averaging would erase it."""
BASELINE_FRAMES = 50
"""What was measured on fewer frames of a track has no baseline."""
BASELINE_PERCENTILES = {"pose_pitch": 50} | dict.fromkeys(ACTION_UNIT_NAMES, 20)
"""Where each attribute's zero lies among a track's values; yaw and roll have none that is the person's own."""
NEUTRAL_POSE = 0.17
"""Largest pitch, yaw and roll of a near-neutral frame, radians (10 degrees)."""
NEUTRAL_AU = 2.5
"""Largest action unit of a near-neutral frame: half the scale."""
NEUTRAL_AU45 = 1.0
"""Largest AU45 of a near-neutral frame: its eyes are open."""
NEUTRAL_FRAMES = 32
"""At most so many near-neutral frames serve as a track's neutral target, the nearest ones."""
PRESENT_AU = 1.0
"""An action unit counts as a frame's expression from this intensity on."""

_POSE = [ATTRIBUTE_NAMES.index(name) for name in POSE_NAMES]
_UNITS = [ATTRIBUTE_NAMES.index(name) for name in ACTION_UNIT_NAMES]
_BOTH_SIDES = slice(0, len(ATTRIBUTE_NAMES))
"""The columns without the sides, which say nothing that the 20 do not."""


def smooth(frames: npt.NDArray[np.int32], labels: Labels, width: int) -> Labels:
    """Average labels (N, 20) over `width` (odd) neighbouring frames, without delay; NaN stays out of the mean.

    `frames` (N,) ascending are the rows' places in the clip. Rows farther away than `width` // 2 kept frames do not
    count, so that a gap is not averaged over. AU45 and what was not measured stay as they are.

    >>> labels = np.zeros((3, 20), np.float32); labels[1, 1] = 3
    >>> smooth(np.array([0, 1, 2]), labels, 3)[1, 1].item()
    1.0
    """
    if width == 1 or len(labels) < 2:
        return labels
    reach = width // 2
    step = int(np.diff(frames).min())
    total = np.zeros(labels.shape, np.float64)
    count = np.zeros(labels.shape, np.int64)
    for offset in range(-reach, reach + 1):
        first, last = max(0, -offset), min(len(labels), len(labels) - offset)
        here, there = slice(first, last), slice(first + offset, last + offset)
        near = np.abs(frames[there] - frames[here]) <= reach * step
        values = labels[there]
        valid = near[:, None] & ~np.isnan(values)
        total[here] += np.where(valid, values, 0)
        count[here] += valid
    smoothed = (total / np.maximum(count, 1)).astype(np.float32)
    result = np.where(np.isnan(labels), labels, smoothed)
    for index, name in enumerate(LABEL_NAMES[: labels.shape[1]]):
        if unit_of(name) in UNSMOOTHED:
            result[:, index] = labels[:, index]
    return result


def baseline(labels: Labels, unknown: float = 0.0) -> Labels:
    """(20,) a person's own zero in the raw labels (N, 20) of a track: what a resting face measures there.

    The median pitch and the 20th percentile of each action unit; `unknown` where fewer than `BASELINE_FRAMES` are
    measured. Yaw and roll have no zero that is the person's own: always 0.

    >>> baseline(np.full((50, 20), 0.5, np.float32))[:5].tolist()
    [0.5, 0.0, 0.0, 0.5, 0.5]
    """
    zero = np.zeros(labels.shape[1], np.float32)
    for index, name in enumerate(LABEL_NAMES[: labels.shape[1]]):
        if unit_of(name) in BASELINE_PERCENTILES:
            column = labels[:, index]
            column = column[~np.isnan(column)]
            known = len(column) >= BASELINE_FRAMES
            zero[index] = np.percentile(column, BASELINE_PERCENTILES[unit_of(name)]) if known else unknown
    return zero


def less_baseline(labels: Labels, zero: Labels) -> Labels:
    """Labels (..., 20) less a person's own zero (20,): action units end at 0, below it nothing is more relaxed.

    >>> less_baseline(np.full(20, 0.5, np.float32), np.ones(20, np.float32))[[0, 3]].tolist()
    [-0.5, 0.0]
    """
    result = (labels - zero).astype(np.float32)
    units = result[..., len(POSE_NAMES) :]
    np.maximum(units, 0, out=units)
    return result


def distance_from_neutral(labels: Labels) -> Labels:
    """(N,) how far labels (N, 20) are from a relaxed face looking ahead; 1 is the edge of near-neutral.

    The largest of pose and action units in units of `NEUTRAL_POSE`, `NEUTRAL_AU`, `NEUTRAL_AU45`; nulls do not count.
    """
    limits = np.full(len(ATTRIBUTE_NAMES), NEUTRAL_AU, np.float32)
    limits[_POSE] = NEUTRAL_POSE
    limits[ATTRIBUTE_NAMES.index("AU45")] = NEUTRAL_AU45
    return np.nan_to_num(np.abs(labels[:, _BOTH_SIDES]) / limits, nan=0.0).max(axis=1)


def neutral_frames(labels: Labels) -> npt.NDArray[np.int64]:
    """Rows of the frames of labels (N, 20) that are near enough to neutral, at most `NEUTRAL_FRAMES`; may be none.

    Several rather than the one nearest, because labels are noisy and a hand may lie on a face: `medoid` chooses.
    """
    distance = distance_from_neutral(labels)
    nearest = np.argsort(distance, kind="stable")[:NEUTRAL_FRAMES]
    return np.sort(nearest[distance[nearest] <= 1])


def medoid(pictures: npt.NDArray[np.uint8]) -> int:
    """Which of (N, ...) uint8 pictures is most like all of them: the nearest to their median by L1.

    A neutraliser needs one sharp target. The mean or a changing one of many near-neutral frames teaches it blur.

    >>> medoid(np.array([[9, 9], [10, 10], [200, 10]], np.uint8))
    1
    """
    middle = np.median(pictures, axis=0)
    return int(np.abs(pictures - middle).reshape(len(pictures), -1).mean(axis=1).argmin())


def balanced_sampling_weights(labels: Labels) -> npt.NDArray[np.float64]:
    """(N,) chances, summing to 1, that give every expression of labels (N, 20) the same share.

    A frame's expression is its strongest action unit of `PRESENT_AU` or more, or none.
    """
    units = np.nan_to_num(labels[:, _UNITS], nan=0.0)
    expression = np.where(units.max(axis=1) >= PRESENT_AU, units.argmax(axis=1), -1)
    _, group, counts = np.unique(expression, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[group]
    return weights / weights.sum()
