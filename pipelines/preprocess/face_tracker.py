"""Following the main face of a clip from frame to frame: one person without a cut is a track."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from icface.analyzers.face import Face
from icface.analyzers.following import SAME_FACE, follow, overlap

LOST_SECONDS = 0.5
"""A face that was not found for longer than this is a new track when it comes back."""
SCENE_CUT = 40.0
"""Mean difference of two neighbouring frames' thumbnails (0..255) above which there is a cut between them."""
OTHER_FACE = 0.5
"""Another face counts when it is at least this high, as a share of the main face's height."""
THUMBNAIL = 16

Thumbnail = npt.NDArray[np.float32]


class FaceTracker:
    """Follows the main face; call `update` for each frame in order.

    The main face of a new track is the largest; from then on it is the one that overlaps most with where it was.
    A cut, a jump, or half a second without it ends the track.
    """

    def __init__(self) -> None:
        self.tracks = 0
        """Tracks so far."""
        self._box: npt.NDArray[np.float32] | None = None
        self._seen: float | None = None
        self._thumbnail: Thumbnail | None = None

    def update(self, frame: npt.NDArray[np.uint8], faces: Sequence[Face], time: float) -> tuple[Face | None, int, bool]:
        """The main face of a frame (H, W, 3) or None, its track, and whether another face counts beside it.

        `time`: when the frame is shown, seconds.
        """
        if self._seen is None:
            self._seen = time
        small = thumbnail(frame)
        if self._thumbnail is not None and float(np.abs(small - self._thumbnail).mean()) > SCENE_CUT:
            self._box = None
        self._thumbnail = small
        main = self._follow(faces)
        if main is None:
            if time - self._seen > LOST_SECONDS:
                self._box = None
            return None, self.tracks - 1, False
        self._box, self._seen = main.box, time
        several = any(
            face is not main and face.box[3] >= OTHER_FACE * main.box[3] and overlap(face.box, main.box) < SAME_FACE
            for face in faces
        )
        return main, self.tracks - 1, several

    def _follow(self, faces: Sequence[Face]) -> Face | None:
        if not faces:
            return None
        same = follow(faces, self._box)
        if same is not None:
            return same
        self.tracks += 1
        return max(faces, key=lambda face: float(face.box[2] * face.box[3]))


def thumbnail(frame: npt.NDArray[np.uint8]) -> Thumbnail:
    """(16, 16, 3) float32: what is left of a frame when details do not count."""
    # A stride first: averaging every pixel of a large frame costs more than finding its face's place.
    step = max(1, min(frame.shape[:2]) // (8 * THUMBNAIL))
    small = cv2.resize(
        np.ascontiguousarray(frame[::step, ::step]), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA
    )
    return np.asarray(small, np.float32)
