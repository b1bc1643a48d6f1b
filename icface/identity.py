"""Whether clips show the same person: dlib's face recognition network (extra `identity`).

It serves to find clips that lie in the wrong person's folder. Embeddings identify people: they are compared and
dropped, never stored. dlib is imported when an embedder is made.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from icface.errors import IcfaceError, first_line
from icface.images import resize
from icface.weights import FACE_RECOGNITION, fetch
from icface.words import pip_install

SAME_PERSON = 0.6
"""L2 distance of two embeddings below which dlib takes two faces for one person's."""
ENLARGED = 384
"""Crops are brought to this many pixels a side: dlib takes landmarks as whole pixels."""

Embeddings = npt.NDArray[np.float64]


class FaceEmbedder:
    """128 numbers of a face that are near each other for one person; about 0.2 s of one core a face.

    Bit-identical in every process on one type of CPU. Raises IcfaceError when dlib or the weights are missing.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        """`weights`: dlib's face recognition network as a file, by default fetched."""
        path = Path(weights) if weights else fetch(FACE_RECOGNITION)
        try:
            self._dlib: Any = import_module("dlib")
        except ImportError:
            raise IcfaceError(f"comparing faces needs dlib: {pip_install('dlib-bin')}") from None
        try:
            self._network = self._dlib.face_recognition_model_v1(str(path))
        except RuntimeError as error:
            raise IcfaceError(f"{path} cannot be loaded as dlib's network: {first_line(error)}") from None

    def __call__(self, crop: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.float32]) -> Embeddings:
        """(128,) embedding of the face in `crop` (H, H, 3) uint8 RGB; `landmarks` (68, 2) iBUG, fractions of it."""
        dlib = self._dlib
        picture = resize(crop, ENLARGED)
        points = [dlib.point(round(float(x)), round(float(y))) for x, y in landmarks * ENLARGED]
        (left, top), (right, bottom) = (landmarks.min(axis=0) * ENLARGED), (landmarks.max(axis=0) * ENLARGED)
        box = dlib.rectangle(round(float(left)), round(float(top)), round(float(right)), round(float(bottom)))
        shape = dlib.full_object_detection(box, points)
        return np.array(self._network.compute_face_descriptor(np.ascontiguousarray(picture), shape), np.float64)


def distances(embeddings: Embeddings) -> Embeddings:
    """(N, N) L2 distances of embeddings (N, D)."""
    return np.linalg.norm(embeddings[:, None] - embeddings[None], axis=-1)


def mismatched_identities(distances: npt.NDArray[np.float64], threshold: float = SAME_PERSON) -> npt.NDArray[np.bool_]:
    """Which of N faces are not the person that most of them are.

    `apart` (N, N): their distances. Faces nearer than `threshold` belong together, and so does whoever is near one of
    them; the largest such group is the person. Where two groups are equally large nobody can say who is meant, and
    all are mismatched. Returns (N,) bool.

    >>> mismatched_identities(np.array([[0.0, 0.4, 0.9], [0.4, 0.0, 0.8], [0.9, 0.8, 0.0]])).tolist()
    [False, False, True]
    """
    group = np.arange(len(distances))
    for one, other in np.argwhere(distances < threshold):
        group[group == group[other]] = group[one]
    names, sizes = np.unique(group, return_counts=True)
    largest = names[sizes == sizes.max(initial=0)]
    return np.asarray(group != largest[0] if len(largest) == 1 else np.full(len(distances), True))
