"""The default analyzer: MediaPipe's Face Landmarker on the CPU."""

import weakref
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import mediapipe as mp
import numpy as np
import numpy.typing as npt

from icface.analyzers.blendshapes import MAPPING_VERSION, MEASURES, attributes_from_blendshapes
from icface.analyzers.enlarging import enlarged
from icface.analyzers.face import Face
from icface.analyzers.landmarks import IBUG_FROM_MESH
from icface.analyzers.second_look import Squares, look_again
from icface.arrays import Array
from icface.errors import IcfaceError, first_line
from icface.notices import without_notices
from icface.weights import FACE_LANDMARKER, fetch, sha256_of

if TYPE_CHECKING:
    from icface.analyzers.mediapipe_torch.geometry import FaceGeometry

NOTICES = (
    b"Logging before InitGoogle() is written to STDERR",
    b"Sets FaceBlendshapesGraph acceleration to xnnpack by default",
    b"Created TensorFlow Lite XNNPACK delegate for CPU",
    b"Feedback manager requires a model with a single signature inference",
)
"""What MediaPipe prints whenever a landmarker starts; none of it asks for anything."""

LOOK_SIZE = 512
"""Pixels a side of the squares of a second look, as MediaPipe is shown them."""

Measured = tuple[Array, Array, Array]
"""Landmarks (68, 2) in pixels, blendshapes (52,) and face matrix (16,)."""


class MediaPipeAnalyzer:
    """Landmarks, blendshapes and pose of the faces in each frame, about 20 ms of one core a frame.

    Each frame is looked at by itself (IMAGE mode), so a result is bit-identical in every process. It depends on
    neighbours only where the second look finds a face (`second_look`). MediaPipe tells no confidence: it is 1 always.
    Raises IcfaceError when the weights are not at hand.
    """

    name = "mediapipe"
    measures = MEASURES

    def __init__(self, weights: str | Path | None = None, faces: int = 3, batch_size: int = 32) -> None:
        """`weights`: a face_landmarker.task, by default fetched; `faces`: at most so many a frame are found."""
        path = Path(weights) if weights else fetch(FACE_LANDMARKER)
        if not path.is_file():
            raise IcfaceError(f"{path} is not a file; leave the weights out to have them fetched")
        self.batch_size = batch_size
        self._weights = path
        self._geometry: FaceGeometry | None = None
        sha256 = FACE_LANDMARKER.sha256 if weights is None else sha256_of(path)
        self.fingerprint = f"mediapipe {mp.__version__}, weights {sha256[:16]}, mapping {MAPPING_VERSION}"
        with without_notices(NOTICES):
            self._landmarker = _landmarker(path, faces)
        # At exit too: a landmarker left to the interpreter's end prints a traceback from its destructor.
        self._close = weakref.finalize(self, _close, self._landmarker)

    def analyze(self, frames: npt.NDArray[np.uint8], frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        """Faces of each frame (N, H, W, 3) uint8 RGB, largest first; see `Analyzer`."""
        height, width = frames.shape[1:3]

        def look(places: list[int], squares: Squares) -> list[list[Face]]:
            return self._faces([self._see_in(frames[at], square) for at, square in zip(places, squares, strict=True)])

        return look_again(self._faces([self._see(frame) for frame in frames]), width, height, look)

    @staticmethod
    def _faces(seen: list[list[Measured]]) -> list[list[Face]]:
        """Faces of each picture, largest first."""
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

    def _see_in(self, frame: npt.NDArray[np.uint8], square: npt.NDArray[np.float64]) -> list[Measured]:
        """The same of the part of a frame in a square (x, y, side), with the pose that the whole frame gives."""
        height, width = frame.shape[:2]
        left, top, side = square
        step = side / LOOK_SIZE
        # Pixel centres: the first one of the picture lies half a step inside the square.
        place = np.array([[step, 0, left + (step - 1) / 2], [0, step, top + (step - 1) / 2]])
        flags = (cv2.INTER_AREA if step > 1 else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
        picture = cv2.warpAffine(frame, place, (LOOK_SIZE, LOOK_SIZE), flags=flags)
        found = self._landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=picture))
        measured = []
        for mesh, shapes in zip(found.face_landmarks, found.face_blendshapes, strict=True):
            points = np.array(
                [(point.x * side + left, point.y * side + top, point.z * side) for point in mesh], np.float32
            )
            scores = np.array([shape.score for shape in shapes], np.float32)
            measured.append((points[IBUG_FROM_MESH, :2], scores, self._pose(points, width, height)))
        return measured

    def _pose(self, points: Array, width: int, height: int) -> Array:
        """The face matrix (16,) of a mesh (478, 3) in a frame's pixels, as MediaPipe computes it of a whole frame."""
        import torch

        from icface.analyzers.mediapipe_torch.geometry import FaceGeometry, matrices
        from icface.analyzers.mediapipe_torch.task import load_task

        if self._geometry is None:
            self._geometry = FaceGeometry(load_task(self._weights))
        centred = (points - np.array([width / 2, height / 2, 0], np.float32)) / height
        with torch.inference_mode():
            return np.asarray(matrices(*self._geometry(torch.from_numpy(centred[None])))[0].numpy(), np.float32)

    def _see(self, frame: npt.NDArray[np.uint8]) -> list[Measured]:
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
