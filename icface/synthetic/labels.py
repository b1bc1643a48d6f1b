"""What a synthetic face shows, in the project's attributes: exact, since nothing is measured.

Units that MediaPipe measures come from the weights of the ARKit units, by the mapping and gains of real clips
(`icface.analyzers.blendshapes`). So both kinds of data mean the same by an AU12 of 1. Where that mapping has to guess,
the weight itself is taken:

- AU06 (cheeks up) is cheekSquint, AU09 (nose wrinkled) is noseSneer;
- AU14 (dimple) is mouthDimple, AU15 (lip corners down) mouthFrown, AU17 (chin up) mouthShrugLower, AU20 (lips
  stretched) mouthStretch, AU23 (lips tight) mouthPress. Real labels have no scale for these five; `OWN_GAIN` puts them
  between that of a smile and that of a jaw.
"""

import numpy as np
import numpy.typing as npt

from icface.analyzers.blendshapes import BLENDSHAPE_NAMES, units_from_blendshapes
from icface.attributes import ATTRIBUTE_NAMES, AU_RANGE, POSE_NAMES
from icface.synthetic.camera import CENTRE, Motion
from icface.synthetic.geometry import PIVOT, head_rotation
from icface.synthetic.head import UNIT_NAMES

LABEL_VERSION = 1
"""Raised whenever the same weights give other attributes."""
OWN = {
    "AU06": "cheekSquint", "AU09": "noseSneer", "AU14": "mouthDimple", "AU15": "mouthFrown", "AU17": "mouthShrugLower",
    "AU20": "mouthStretch", "AU23": "mouthPress",
}  # fmt: skip
"""Action units that one ARKit unit stands for."""
OWN_GAIN = 2.5
"""Intensity at full weight."""
CENTIMETRES = 10.0
"""MediaPipe's face matrix is in centimetres, the head in decimetres."""

Array = npt.NDArray[np.float32]


def blendshapes(motion: Motion) -> Array:
    """(N, 52) weights under MediaPipe's names and in its order; `_neutral` is 0, the tongue is left out."""
    found = np.zeros((len(motion), len(BLENDSHAPE_NAMES)), np.float32)
    found[:, 1:] = motion.units[:, [UNIT_NAMES.index(name) for name in BLENDSHAPE_NAMES[1:]]]
    return found


def attributes(motion: Motion) -> Array:
    """(N, 20) in the order of `ATTRIBUTE_NAMES`: radians, AUs 0..5; nothing is NaN."""
    shapes = blendshapes(motion)
    units = units_from_blendshapes(list(shapes.T), np.zeros(len(motion), np.float32))
    units |= {name: OWN_GAIN * _both(shapes, shape) for name, shape in OWN.items()}
    values = [*motion.pose.T, *(np.clip(units[name], 0, AU_RANGE) for name in ATTRIBUTE_NAMES[len(POSE_NAMES) :])]
    return np.stack(values, axis=1).astype(np.float32)


def face_matrices(motion: Motion, distance: float) -> Array:
    """(N, 16) row-major transformation of the face in MediaPipe's axes (y up, z towards the camera), centimetres.

    `distance`: of the camera, decimetres.
    """
    turn = head_rotation(motion.pose)
    middle = np.array(CENTRE) - PIVOT
    found = np.tile(np.eye(4), (len(motion), 1, 1))
    found[:, :3, :3] = turn
    found[:, :3, 3] = (turn @ middle - middle + motion.place - (0, 0, distance)) * CENTIMETRES
    return found.reshape(-1, 16).astype(np.float32)


def _both(shapes: Array, name: str) -> Array:
    """(N,) the mean of both sides, or the unit itself where it has none."""
    if name in BLENDSHAPE_NAMES:
        return shapes[:, BLENDSHAPE_NAMES.index(name)]
    left, right = (shapes[:, BLENDSHAPE_NAMES.index(name + side)] for side in ("Left", "Right"))
    return np.asarray((left + right) / 2, np.float32)
