"""Labels that OpenFace 2 made beforehand: its csv files, one beside each clip or in a tree of their own."""

from collections.abc import Sequence

import fsspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.analyzers.face import Analyzer, Face
from icface.analyzers.openface_csv import (
    LANDMARK_COLUMNS,
    LEAST_CONFIDENCE,
    attributes_from_row,
    attributes_from_rows,
    one_face,
    read_openface_csv,
    sure,
)
from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError

TREES = ("", "mp4", "dev/mp4", "test/mp4")
"""Where under the root the identities' folders may lie: VoxCeleb2's trees besides the plain one."""


class OpenFaceAnalyzer:
    """Reads pose, AUs and landmarks of each frame from `ROOT/[mp4/]identity/video/clip.csv`.

    Frames with success 0 or too low a confidence have no face. A file with several rows a frame (OpenFace's
    multi-face output) gives several faces. Where the file has no landmarks (OpenFace run without `-2Dfp`), those of
    the largest face that MediaPipe sees are taken.
    """

    name = "openface"
    measures = frozenset(ATTRIBUTE_NAMES)

    def __init__(self, root: str, confidence: float = LEAST_CONFIDENCE, batch_size: int = 32) -> None:
        """`root`: local folder or fsspec URL; `confidence`: 0..1, rows below it are dropped."""
        if not 0 <= confidence <= 1:
            raise ValueError(f"confidence {confidence} lies outside 0..1")
        self._files, self._root = fsspec.core.url_to_fs(str(root))
        if not self._files.isdir(self._root):
            raise IcfaceError(f"{root} is not a folder; name the one under which OpenFace's csv files lie")
        self.batch_size = batch_size
        self.least_confidence = confidence
        self.fingerprint = f"openface csv, confidence {confidence:g}"
        self._clip: str | None = None
        self._table = pd.DataFrame()
        self._one: pd.DataFrame | None = None
        self._landmarker: Analyzer | None = None

    def frames(self, clip: str) -> int:
        """Number of frames that the clip's csv file has rows of.

        A caller that knows how many frames the clip has compares: other rows than frames mean another video.
        """
        return int(self._rows(clip).index.max()) + 1

    def attributes(self, clip: str, frame: int) -> npt.NDArray[np.float32]:
        """(20,) attributes of the clip's person in one frame (`one_face`), all NaN where no face of theirs is sure.

        Raises IcfaceError when the clip has no csv file, or it ends before that frame.
        """
        if frame >= self.frames(clip):
            raise IcfaceError(f"{clip}: OpenFace's csv ends before frame {frame}; run OpenFace on this clip again")
        if clip != self._clip or self._one is None:
            self._one = one_face(self._rows(clip), self.least_confidence)
        if frame not in self._one.index:
            return np.full(len(ATTRIBUTE_NAMES), np.nan, np.float32)
        return attributes_from_rows(self._one.loc[[frame]])[0]

    def analyze(self, frames: npt.NDArray[np.uint8], frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        """Faces of each frame, largest first; see `Analyzer`. `clip` is identity/video/stem.

        Raises IcfaceError when the clip has no csv file, the file lacks columns, or ends before these frames.
        """
        table = self._rows(clip)
        count = self.frames(clip)
        if len(frame_indices) and max(frame_indices) >= count:
            raise IcfaceError(
                f"{clip}: OpenFace's csv has rows of {count} frames, the clip has more; run OpenFace on this clip again"
            )
        return [
            self._faces(frame, table.loc[[index]], clip) for frame, index in zip(frames, frame_indices, strict=True)
        ]

    def close(self) -> None:
        """Give back the table in hand and the landmarker, if one was needed."""
        self._clip, self._table, self._one = None, pd.DataFrame(), None
        if self._landmarker is not None:
            self._landmarker.close()
            self._landmarker = None

    def _faces(self, frame: npt.NDArray[np.uint8], rows: pd.DataFrame, clip: str) -> list[Face]:
        faces = []
        for _, row in sure(rows, self.least_confidence).iterrows():
            landmarks = self._landmarks(frame, row, clip)
            if landmarks is None:
                continue
            faces.append(
                Face(
                    landmarks=landmarks,
                    attributes=attributes_from_row(row),
                    confidence=float(row["confidence"]),
                )
            )
        return sorted(faces, key=lambda face: -float(face.box[2] * face.box[3]))

    def _landmarks(
        self, frame: npt.NDArray[np.uint8], row: "pd.Series[float]", clip: str
    ) -> npt.NDArray[np.float32] | None:
        if LANDMARK_COLUMNS[0] in row.index:
            points = row[list(LANDMARK_COLUMNS)].to_numpy(np.float32).reshape(68, 2)
            return points if np.isfinite(points).all() else None
        if self._landmarker is None:
            from icface.analyzers.mediapipe import MediaPipeAnalyzer

            self._landmarker = MediaPipeAnalyzer()
        found = self._landmarker.analyze(frame[None], [0], clip)[0]
        return found[0].landmarks if found else None

    def _rows(self, clip: str) -> pd.DataFrame:
        """The clip's table, its index the position of the frame; the last one is kept."""
        if clip != self._clip:
            self._table, self._one = self._read(clip), None
            self._clip = clip
        return self._table

    def _read(self, clip: str) -> pd.DataFrame:
        paths = ["/".join(part for part in (self._root, tree, f"{clip}.csv") if part) for tree in TREES]
        path = next((path for path in paths if self._files.isfile(path)), None)
        if path is None:
            raise IcfaceError(f"{clip}: there is no OpenFace csv {clip}.csv under {self._root}")
        try:
            with self._files.open(path, "rb") as stream:
                table = read_openface_csv(stream, path)
        except OSError as error:
            raise IcfaceError(f"{path} cannot be read: {error}") from None
        return table
