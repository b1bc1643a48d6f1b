"""From MediaPipe's blendshapes, face matrix and landmarks to the 20 attributes on OpenFace's scale.

A function of what a data set stores, so that labels can be made again without any video. Which blendshape stands for
which action unit was measured against OpenFace on two VoxCeleb clips. Pearson r within a clip: AU01 .78/.82, AU02
.53/.79, AU04 .72/-, AU05 .91/-, AU12 .78/-, AU25 .72/.50, AU26 .45/.47, AU45 .85/.88 are usable. AU06, AU07, AU09, AU10
are moderate. AU14, AU15, AU17, AU20 and AU23 are not recovered (their blendshapes are nearly constant), so they are
NaN.

5 x a blendshape overshoots OpenFace's intensities, so each has its own gain. Those of AU01, AU02, AU07, AU12, AU25,
AU26 and AU45 (with its intercept) are the pooled slopes measured there. The others are round numbers near the slopes on
one of these clips. Over 110 clips, they do not press against the ends of the scale. More digits would fit two people.
So a full smile is an AU12 of about 1.9, as OpenFace would have it, not 5.

Pitch has a bias that differs from clip to clip: their medians lie between -6.9 and +8.7 degrees (10th to 90th
percentile). Clip baselines take it away where labels are read, not here.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from icface.analyzers.pose import pose_from_matrix
from icface.arrays import Array
from icface.attributes import ATTRIBUTE_NAMES, AU_RANGE, SIDE_NAMES, SIDES

if TYPE_CHECKING:
    from torch import Tensor

MAPPING_VERSION = 1
"""Raised whenever the same blendshapes give other attributes."""

# fmt: off
BLENDSHAPE_NAMES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)
# fmt: on
"""The 52 blendshapes in MediaPipe's order."""

NOT_MEASURED = frozenset({"AU14", "AU15", "AU17", "AU20", "AU23"})
MEASURES = frozenset(ATTRIBUTE_NAMES) - NOT_MEASURED

BROW_TO_NOSTRIL = 0.70
"""Height from nostrils to inner brows over the width between the outer eye corners from which a nose counts as
wrinkled. Relaxed people differ: .67 to .80 from the 10th to the 90th percentile of 110 clips, median .73. A person
below it has a constant AU09, which the clip's baseline takes away."""
BROW_TO_NOSTRIL_GAIN = 20.0

INNER_BROWS, NOSTRILS, OUTER_EYES = [21, 22], [31, 35], [36, 45]
"""iBUG points between which a wrinkled nose is measured."""
LEAST_COSINE = 0.5
"""Foreshortening by pose is undone up to 60 degrees."""

Numbers = TypeVar("Numbers", npt.NDArray[Any], "Tensor")


def attributes_from_blendshapes(blendshapes: npt.ArrayLike, matrices: npt.ArrayLike, landmarks: npt.ArrayLike) -> Array:
    """(N, 20) float32 attributes in the order of `ATTRIBUTE_NAMES`: radians, AUs 0..5, NaN where not measured.

    `blendshapes` (N, 52) 0..1 in MediaPipe's order. `matrices` (N, 16): row-major face matrices. `landmarks` (N, 68,
    2): iBUG points in any unit, as long as it is the same for x and y.
    """
    shapes = np.asarray(blendshapes, np.float32).reshape(-1, len(BLENDSHAPE_NAMES))
    points = np.asarray(landmarks, np.float32).reshape(-1, 68, 2)

    pose = pose_from_matrix(matrices)
    units = units_from_blendshapes(list(shapes.T), _brow_to_nostril(points, pose))
    attributes = np.full((len(shapes), len(ATTRIBUTE_NAMES)), np.nan, np.float32)
    attributes[:, :3] = pose
    for name, values in units.items():
        attributes[:, ATTRIBUTE_NAMES.index(name)] = np.clip(values, 0, AU_RANGE)
    return attributes


def sides_from_blendshapes(blendshapes: npt.ArrayLike) -> Array:
    """(N, 16) float32 `SIDE_NAMES` 0..5 of blendshapes (N, 52) 0..1; NaN where these are.

    The mean of both sides is the action unit of `attributes_from_blendshapes`, but for what is cut off at 0 and 5.
    """
    shapes = np.asarray(blendshapes, np.float32).reshape(-1, len(BLENDSHAPE_NAMES))
    sides = side_units(list(shapes.T))
    return np.clip(np.stack([sides[name] for name in SIDE_NAMES], axis=1), 0, AU_RANGE)


def side_units(shapes: Sequence[Numbers]) -> dict[str, Numbers]:
    """`SIDE_NAMES` from the 52 blendshapes, each for all faces at once; not yet clipped to 0..5.

    Left is the person's own. Gains are those of both sides together (`units_from_blendshapes`).
    """

    def units(word: str) -> dict[str, Numbers]:
        return _sided(lambda name: shapes[BLENDSHAPE_NAMES.index(name + word)], _mean(shapes, "eyeSquint"))

    both = zip(SIDES, (units("Left"), units("Right")), strict=True)
    return {unit + side: values for side, found in both for unit, values in found.items()}


def units_from_blendshapes(shapes: Sequence[Numbers], brow_to_nostril: Numbers) -> dict[str, Numbers]:
    """The action units that MediaPipe can measure, not yet clipped to 0..5, by name.

    `shapes`: the 52 blendshapes, each for all faces at once; `brow_to_nostril`: height between brows and nostrils
    over the width between the eyes. Arithmetic alone, so that numpy's arrays and torch's tensors share one mapping.
    """

    def shape(name: str) -> Numbers:
        if name in BLENDSHAPE_NAMES:
            return shapes[BLENDSHAPE_NAMES.index(name)]
        return _mean(shapes, name)

    return {
        **_sided(shape, shape("eyeSquint")),
        "AU01": shape("browInnerUp") * 1.9,
        # noseSneer hardly moves; a wrinkled nose brings brows and nostrils together.
        "AU09": (BROW_TO_NOSTRIL - brow_to_nostril) * BROW_TO_NOSTRIL_GAIN,
        "AU25": (shape("jawOpen") + shape("mouthLowerDown") + shape("mouthUpperUp") - shape("mouthClose")) * 1.7,
        "AU26": shape("jawOpen") * 3.5,
    }


def _mean(shapes: Sequence[Numbers], name: str) -> Numbers:
    """The mean of a blendshape's left and right."""
    left, right = (shapes[BLENDSHAPE_NAMES.index(name + side)] for side in ("Left", "Right"))
    return (left + right) / 2


def _sided(shape: Callable[[str], Numbers], squint: Numbers) -> dict[str, Numbers]:
    """`SIDED_UNITS` of one side or of both, as `shape` tells a blendshape; `squint` is that of both eyes."""
    return {
        "AU02": shape("browOuterUp") * 0.7,
        "AU04": shape("browDown") * 2.0,
        "AU05": shape("eyeWide") * 8.0,
        # cheekSquint is always 0: cheeks rise where a smile narrows the eyes. By both eyes, so that a wink lifts none.
        "AU06": shape("mouthSmile") * 2.5 * squint,
        "AU07": shape("eyeSquint") * 3.2,
        "AU10": shape("mouthUpperUp") * 1.5,
        "AU12": shape("mouthSmile") * 1.9,
        "AU45": shape("eyeBlink") * 2.2 - 0.3,
    }


def _brow_to_nostril(points: Array, pose: Array) -> Array:
    """(N,) height between brows and nostrils over the width between the eyes, foreshortening by pose undone."""
    centre = points[:, INNER_BROWS].mean(axis=1) - points[:, NOSTRILS].mean(axis=1)
    height = np.linalg.norm(centre, axis=1) / np.maximum(np.cos(pose[:, 0]), LEAST_COSINE)
    outer = points[:, OUTER_EYES]
    width = np.linalg.norm(outer[:, 1] - outer[:, 0], axis=1) / np.maximum(np.cos(pose[:, 1]), LEAST_COSINE)
    return np.asarray(height / np.maximum(width, 1e-6), np.float32)
