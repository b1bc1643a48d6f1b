"""A second opinion: dlib's 68 landmarks and geometry, which no loss of ours ever saw (extra `identity`).

The detector is dlib's own (histograms of oriented gradients). The landmarks come from an ensemble of regression trees
(Kazemi and Sullivan, CVPR 2014) trained on iBUG 300-W. Neither method nor data has anything in common with MediaPipe's
networks. iBUG 300-W may not be used commercially, and so neither may these weights. Code and geometry may.
"""

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from icface.analyzers.face import Face
from icface.analyzers.landmark_geometry import GEOMETRY_VERSION, MEASURES, attributes_from_landmarks
from icface.crop import crop_image
from icface.errors import IcfaceError, first_line
from icface.weights import LANDMARKS_68, fetch, sha256_of
from icface.words import pip_install

SMALLEST = 256
"""Frames whose shorter side is below this are enlarged before detection: the detector looks for faces of 80 px."""
ENLARGED = 384
"""The surroundings of a face are brought to this many pixels a side: dlib gives landmarks as whole pixels."""
SURROUNDINGS = 1.5
"""Side of the surroundings over that of the detector's box."""
SHIFTS = ((0.0, 0.0), (0.03, 0.0), (-0.03, 0.0), (0.0, 0.03), (0.0, -0.03))
"""The landmarks are the mean of five, the box shifted by these fractions of its side: r of the brows rises by .03."""


class DlibAnalyzer:
    """Landmarks, pose and six action units of the faces in each frame, about 20 ms of one core a frame at 64 to 256 px.

    Each frame is looked at by itself, so a result depends on neither order nor neighbours. Raises IcfaceError when
    dlib or the weights are missing.
    """

    name = "dlib"
    measures = MEASURES

    def __init__(self, weights: str | Path | None = None, batch_size: int = 32) -> None:
        """`weights`: shape_predictor_68_face_landmarks.dat, by default fetched."""
        path = Path(weights) if weights else fetch(LANDMARKS_68)
        if not path.is_file():
            raise IcfaceError(f"{path} is not a file; leave the weights out to have them fetched")
        try:
            self._dlib: Any = import_module("dlib")
        except ImportError:
            raise IcfaceError(f"the analyzer dlib needs dlib: {pip_install('dlib-bin')}") from None
        try:
            self._predictor = self._dlib.shape_predictor(str(path))
        except RuntimeError as error:
            raise IcfaceError(f"{path} cannot be loaded as dlib's landmarks: {first_line(error)}") from None
        self._detector = self._dlib.get_frontal_face_detector()
        self.batch_size = batch_size
        sha256 = LANDMARKS_68.sha256 if weights is None else sha256_of(path)
        self.fingerprint = f"dlib {self._dlib.__version__}, weights {sha256[:16]}, geometry {GEOMETRY_VERSION}"

    def analyze(self, frames: npt.NDArray[np.uint8], frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        """Faces of each frame (N, H, W, 3) uint8 RGB, largest first; see `Analyzer`."""
        return [self._faces(frame) for frame in frames]

    def close(self) -> None:
        """Give back the landmarks' trees (100 MB)."""
        self._predictor = self._detector = None

    def _faces(self, frame: npt.NDArray[np.uint8]) -> list[Face]:
        factor = max(1.0, SMALLEST / min(frame.shape[:2]))
        size = (round(frame.shape[1] * factor), round(frame.shape[0] * factor))
        enlarged = frame if factor == 1 else cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
        boxes, scores, _ = self._detector.run(np.ascontiguousarray(enlarged), 0, 0.0)
        if not boxes:
            return []
        landmarks = np.stack([self._landmarks(frame, box, factor) for box in boxes])
        faces = [
            Face(landmarks=points, attributes=attributes, confidence=1 / (1 + math.exp(-score)))
            for points, attributes, score in zip(landmarks, attributes_from_landmarks(landmarks), scores, strict=True)
        ]
        return sorted(faces, key=lambda face: -float(face.box[2] * face.box[3]))

    def _landmarks(self, frame: npt.NDArray[np.uint8], box: Any, factor: float) -> npt.NDArray[np.float32]:
        """(68, 2) in pixels of `frame`; `box` was found in the frame enlarged by `factor`."""
        side = box.width() / factor * SURROUNDINGS
        centre = np.array([box.left() + box.right() + 1, box.top() + box.bottom() + 1]) / 2 / factor
        corner = centre - side / 2
        picture = crop_image(frame, (*corner, side), ENLARGED)
        half = ENLARGED / SURROUNDINGS / 2
        found = []
        for shift in SHIFTS:
            x, y = ENLARGED / 2 + np.array(shift) * 2 * half
            place = self._dlib.rectangle(round(x - half), round(y - half), round(x + half) - 1, round(y + half) - 1)
            found.append([(point.x, point.y) for point in self._predictor(picture, place).parts()])
        # Pixel i has its centre at i + 0.5, in the cut as in the frame.
        return ((np.mean(found, axis=0) + 0.5) * side / ENLARGED + corner - 0.5).astype(np.float32)
