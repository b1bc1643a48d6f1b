"""The default analyzer: MediaPipe's Face Landmarker on the CPU."""

import weakref
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import mediapipe as mp
import numpy as np
import numpy.typing as npt

from icface.analyzers.blendshapes import MAPPING_VERSION, MEASURES, attributes_from_blendshapes
from icface.analyzers.enlarging import enlarged
from icface.analyzers.face import Face
from icface.analyzers.landmarks import IBUG_FROM_MESH
from icface.arrays import Array
from icface.errors import IcfaceError, first_line
from icface.notices import without_notices
from icface.weights import FACE_LANDMARKER, fetch, sha256_of

NOTICES = (
    b"Logging before InitGoogle() is written to STDERR",
    b"Sets FaceBlendshapesGraph acceleration to xnnpack by default",
    b"Created TensorFlow Lite XNNPACK delegate for CPU",
    b"Feedback manager requires a model with a single signature inference",
)
"""What MediaPipe prints whenever a landmarker starts; none of it asks for anything."""


class MediaPipeAnalyzer:
    """Landmarks, blendshapes and pose of the faces in each frame, about 20 ms of one core a frame.

    Each frame is looked at by itself (IMAGE mode), so a result depends on neither order nor neighbours and is the
    same to the bit in every process. Raises IcfaceError when the weights are not at hand.
    """

    name = "mediapipe"
    measures = MEASURES

    def __init__(self, weights: str | Path | None = None, faces: int = 3, batch_size: int = 32) -> None:
        """`weights`: a face_landmarker.task, by default fetched; `faces`: at most so many a frame are found."""
        path = Path(weights) if weights else fetch(FACE_LANDMARKER)
        if not path.is_file():
            raise IcfaceError(f"{path} is not a file; leave the weights out to have them fetched")
        self.batch_size = batch_size
        sha256 = FACE_LANDMARKER.sha256 if weights is None else sha256_of(path)
        self.fingerprint = f"mediapipe {mp.__version__}, weights {sha256[:16]}, mapping {MAPPING_VERSION}"
        with without_notices(NOTICES):
            self._landmarker = _landmarker(path, faces)
        # At exit too: a landmarker left to the interpreter's end prints a traceback from its destructor.
        self._close = weakref.finalize(self, _close, self._landmarker)

    def analyze(self, frames: npt.NDArray[np.uint8], frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        """Faces of each frame (N, H, W, 3) uint8 RGB, largest first; see `Analyzer`."""
        seen = [self._see(frame) for frame in frames]
        parts = [part for found in seen for part in found]
        if not parts:
            return [[] for _ in seen]
        # All at once: numpy's overhead is paid once for the window and not for each face.
        landmarks, shapes, matrices = (np.stack(columns) for columns in zip(*parts, strict=True))
        attributes = attributes_from_blendshapes(shapes, matrices, landmarks)
        faces = (
            Face(
                landmarks=landmarks[index],
                attributes=attributes[index],
                confidence=1.0,
                blendshapes=shapes[index],
                face_matrix=matrices[index],
            )
            for index in range(len(parts))
        )
        return [sorted(islice(faces, len(found)), key=lambda face: -float(face.box[2] * face.box[3])) for found in seen]

    def close(self) -> None:
        """Give back the landmarker's memory and threads."""
        self._close()

    def _see(self, frame: npt.NDArray[np.uint8]) -> list[tuple[Array, Array, Array]]:
        """Landmarks (68, 2) in pixels, blendshapes (52,) and face matrix (16,) of each face in a frame."""
        height, width = frame.shape[:2]
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(enlarged(frame)))
        found = self._landmarker.detect(image)
        return [
            (
                np.array([(mesh[point].x * width, mesh[point].y * height) for point in IBUG_FROM_MESH], np.float32),
                np.array([shape.score for shape in shapes], np.float32),
                np.asarray(matrix, np.float32).reshape(16),
            )
            for mesh, shapes, matrix in zip(
                found.face_landmarks, found.face_blendshapes, found.facial_transformation_matrixes, strict=True
            )
        ]


def _landmarker(weights: Path, faces: int) -> mp.tasks.vision.FaceLandmarker:
    vision = mp.tasks.vision
    options = vision.FaceLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(weights)),
        running_mode=vision.RunningMode.IMAGE,
        num_faces=faces,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    try:
        return vision.FaceLandmarker.create_from_options(options)
    except OSError as error:
        raise IcfaceError(f"MediaPipe cannot start ({error}); on Debian install libegl1 libgles2 libgl1") from None
    except (RuntimeError, ValueError) as error:
        raise IcfaceError(f"{weights} cannot be loaded as a face landmarker: {first_line(error)}") from None


def _close(landmarker: mp.tasks.vision.FaceLandmarker) -> None:
    try:
        landmarker.close()
    except RuntimeError:
        # Its thread is gone: the interpreter is at its end, and so is the landmarker.
        landmarker._handle = None
