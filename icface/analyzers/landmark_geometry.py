"""From 68 landmarks to pose and six action units by geometry alone.

The head's pose is found first; then the landmarks are turned back to a frontal view, in which every distance is
measured. So a turned head changes little. Lengths are centimetres of MediaPipe's canonical face, whose outer eye
corners lie 8.9 apart. Every face is brought to that size by its rigid points, the ones that no expression moves.

Each measure, on the frontal landmarks, and where it comes from:

- AU01: height of the inner brow ends (21, 22) over the root of the nose (27). FACS: inner brow raised.
- AU02: height of the outer brows (17-19, 24-26) over the line of the eye corners. FACS: outer brow raised.
- AU12: half the width between the inner lip corners (60, 64). Added is the height of the outer corners (48, 54) over
  the middle of the lips (51, 57, 62, 66). FACS: lip corners pulled outwards and up.
- AU25: gap between the inner lips, (65, 66, 67) under (61, 62, 63). FACS: lips part.
- AU26: drop of chin (7-9) and lower lip (56-58, 65-67) under the line of the eye corners. FACS: the jaw drops, the
  lower lip with it; the chin alone is noisier.
- AU45: eye aspect ratio, mean of both eyes. Soukupova and Cech, "Real-Time Eye Blink Detection using Facial
  Landmarks" (CVWW 2016), equation 1.

A measure m becomes an intensity as gain x (m - zero), clipped to 0..5. `GAINS` are slopes over 2,150 frames of 109
clips (64 px crops): a unit of MediaPipe's mapping becomes a unit here. The scale is shared, the measurement is not.
`ZEROS` are values that nine of ten resting faces exceed. People differ in the height of their brows and the width of
their eyes and lips. So a resting face reads 0.3 to 1, and only changes within a person's track mean anything.
"""

import cv2
import numpy as np
import numpy.typing as npt

from icface.analyzers.pose import euler_from_rotation
from icface.arrays import Array
from icface.attributes import ATTRIBUTE_NAMES, AU_RANGE, POSE_NAMES

GEOMETRY_VERSION = 1
"""Raised whenever the same landmarks give other attributes."""

MEASURES = frozenset({*POSE_NAMES, "AU01", "AU02", "AU12", "AU25", "AU26", "AU45"})

GAINS = {"AU01": 2.35, "AU02": 0.8, "AU12": 1.13, "AU25": 1.17, "AU26": 1.26, "AU45": -7.4}
"""Intensity for each centimetre (AU45: for each unit of the aspect ratio, which falls when the eye closes)."""
ZEROS = {"AU01": 1.15, "AU02": 1.75, "AU12": 2.05, "AU25": 0.05, "AU26": 8.4, "AU45": 0.39}
"""The measure at intensity 0."""

# fmt: off
CANONICAL = np.array([
    [-7.74, 2.36, -2.01], [-7.66, 0.67, -2.44], [-7.54, -1.05, -2.43], [-6.72, -4.79, -1.75], [-5.94, -6.22, -0.63],
    [-5.09, -7.18, 0.71], [-3.21, -8.53, 2.80], [-1.29, -9.30, 4.09], [0.00, -9.40, 4.26], [1.29, -9.30, 4.09],
    [3.21, -8.53, 2.80], [5.09, -7.18, 0.71], [5.94, -6.22, -0.63], [6.72, -4.79, -1.75], [7.54, -1.05, -2.43],
    [7.66, 0.67, -2.44], [7.74, 2.36, -2.01],  # jaw
    [-5.72, 4.25, 2.83], [-4.99, 4.80, 3.75], [-3.99, 5.11, 4.47], [-2.76, 5.10, 5.02], [-1.40, 5.01, 5.32],
    [1.40, 5.01, 5.32], [2.76, 5.10, 5.02], [3.99, 5.11, 4.47], [4.99, 4.80, 3.75], [5.72, 4.25, 2.83],  # brows
    [0.00, 3.27, 5.24], [0.00, 1.73, 6.32], [0.00, 0.37, 7.24], [0.00, -0.46, 7.59],  # ridge of the nose
    [-1.04, -1.46, 5.66], [-0.60, -2.01, 5.87], [0.00, -2.09, 6.06], [0.60, -2.01, 5.87], [1.04, -1.46, 5.66],
    [-4.45, 2.66, 3.17], [-3.67, 2.93, 3.72], [-2.72, 2.96, 3.87], [-1.86, 2.59, 3.76], [-2.72, 2.32, 3.78],
    [-3.67, 2.36, 3.64], [1.86, 2.59, 3.76], [2.72, 2.96, 3.87], [3.67, 2.93, 3.72], [4.45, 2.66, 3.17],
    [3.67, 2.36, 3.64], [2.72, 2.32, 3.78],  # eyes
    [-2.46, -4.34, 4.28], [-1.43, -3.50, 5.50], [-0.71, -3.33, 5.88], [0.00, -3.41, 5.98], [0.71, -3.33, 5.88],
    [1.43, -3.50, 5.50], [2.46, -4.34, 4.28], [1.33, -5.11, 5.21], [0.70, -5.29, 5.45], [0.00, -5.37, 5.54],
    [-0.70, -5.29, 5.45], [-1.33, -5.11, 5.21],  # outer lips
    [-2.15, -4.28, 4.04], [-0.53, -3.99, 5.14], [0.00, -3.99, 5.22], [0.53, -3.99, 5.14], [2.15, -4.28, 4.04],
    [0.58, -4.52, 5.34], [0.00, -4.54, 5.40], [-0.58, -4.52, 5.34],  # inner lips
]) * (1, -1, -1)
# fmt: on
"""(68, 3) iBUG points of MediaPipe's canonical face (Apache-2.0), cm; x to the right of the picture, y down, z away."""
RIGID = [0, 1, 15, 16, *range(27, 36), 36, 39, 42, 45]
"""Points that no expression moves: before the ears, nose, eye corners. Only they decide the pose."""
FOCAL = 100.0
"""Focal length in units of the face's radius: a camera far away that looks at the face, wherever it is in a frame. So
a face and its crop have the same pose."""

Points = npt.NDArray[np.float64]


def attributes_from_landmarks(landmarks: npt.ArrayLike) -> Array:
    """(N, 20) float32 attributes of iBUG landmarks (N, 68, 2): radians, AUs 0..5, NaN where not measured.

    Landmarks may be in any unit, as long as it is the same for x and y; place and size do not matter.
    """
    points = np.asarray(landmarks, np.float64).reshape(-1, 68, 2)
    rotations, frontal = _frontal(points)
    attributes = np.full((len(points), len(ATTRIBUTE_NAMES)), np.nan, np.float32)
    attributes[:, : len(POSE_NAMES)] = euler_from_rotation(rotations)
    for name, measure in _measures(frontal).items():
        values = GAINS[name] * (measure - ZEROS[name])
        attributes[:, ATTRIBUTE_NAMES.index(name)] = np.clip(values, 0, AU_RANGE)
    return attributes


def _frontal(points: Points) -> tuple[Points, Points]:
    """Rotations (N, 3, 3), and the points (N, 68, 2) as a camera straight ahead would see them, cm."""
    rotations, frontal = np.empty((len(points), 3, 3)), np.empty_like(points)
    camera = np.array([[FOCAL, 0, 0], [0, FOCAL, 0], [0, 0, 1]])
    for index, face in enumerate(points):
        centred = face - face.mean(axis=0)
        centred /= max(np.linalg.norm(centred, axis=1).mean(), 1e-9)
        _, turn, place = cv2.solvePnP(
            CANONICAL[RIGID],
            centred[RIGID],
            camera,
            None,
            rvec=np.zeros((3, 1)),
            tvec=np.array([[0.0], [0.0], [FOCAL * 6]]),
            useExtrinsicGuess=True,
            flags=cv2.SOLVEPNP_ITERATIVE,
        )
        rotation = rotations[index] = cv2.Rodrigues(turn)[0]
        # In centimetres at the head's distance; each point's canonical depth shifts it when the head turns.
        seen = centred * place[2] / FOCAL - place[:2, 0] - CANONICAL[:, 2:] * rotation[:2, 2]
        frontal[index] = seen @ np.linalg.inv(rotation[:2, :2]).T
    return rotations, frontal


def _measures(frontal: Points) -> dict[str, npt.NDArray[np.float64]]:
    """(N,) each unit's measure, see the head of this file."""

    def height(*members: int) -> npt.NDArray[np.float64]:
        return np.asarray(frontal[:, members, 1].mean(axis=1))

    half_width = (frontal[:, 64, 0] - frontal[:, 60, 0]) / 2
    return {
        "AU01": height(27) - height(21, 22),
        "AU02": height(36, 39, 42, 45) - height(17, 18, 19, 24, 25, 26),
        "AU12": half_width + height(51, 57, 62, 66) - height(48, 54),
        "AU25": height(65, 66, 67) - height(61, 62, 63),
        "AU26": height(7, 8, 9, 56, 57, 58, 65, 66, 67) - height(36, 39, 42, 45),
        "AU45": (_aspect_ratio(frontal[:, 36:42]) + _aspect_ratio(frontal[:, 42:48])) / 2,
    }


def _aspect_ratio(eye: Points) -> npt.NDArray[np.float64]:
    """(N,) of an eye's six points (N, 6, 2) in iBUG's order: heights over width, 0 when closed."""

    def length(one: int, other: int) -> npt.NDArray[np.float64]:
        return np.asarray(np.linalg.norm(eye[:, one] - eye[:, other], axis=1))

    return (length(1, 5) + length(2, 4)) / np.maximum(2 * length(0, 3), 1e-9)
