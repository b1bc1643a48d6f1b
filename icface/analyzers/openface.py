"""Labels that OpenFace 2 made beforehand: its csv files, one beside each clip or in a tree of their own."""

from collections.abc import Sequence

import fsspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.analyzers.face import Analyzer, Face
from icface.attributes import ACTION_UNIT_NAMES, ATTRIBUTE_NAMES, AU_RANGE
from icface.errors import IcfaceError

POSE_COLUMNS = ("pose_Rx", "pose_Ry", "pose_Rz")
AU_COLUMNS = tuple(f"{name}_r" for name in ACTION_UNIT_NAMES)
LANDMARK_COLUMNS = tuple(f"{axis}_{point}" for point in range(68) for axis in "xy")
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

    def __init__(self, root: str, confidence: float = 0.8, batch_size: int = 32) -> None:
        """`root`: local folder or fsspec URL; `confidence`: 0..1, rows below it are dropped."""
        if not 0 <= confidence <= 1:
            raise ValueError(f"confidence {confidence} lies outside 0..1")
        self._files, self._root = fsspec.core.url_to_fs(str(root))
        if not self._files.isdir(self._root):
            raise IcfaceError(f"{root} is no folder; name the one under which OpenFace's csv files lie")
        self.batch_size = batch_size
        self.least_confidence = confidence
        self.fingerprint = f"openface csv, confidence {confidence:g}"
        self._clip: str | None = None
        self._table = pd.DataFrame()
        self._landmarker: Analyzer | None = None

    def frames(self, clip: str) -> int:
        """Number of frames that the clip's csv file has rows of.

        A caller that knows how many frames the clip has compares: other rows than frames mean another video.
        """
        return int(self._rows(clip).index.max()) + 1

    def attributes(self, clip: str, frame: int) -> npt.NDArray[np.float32]:
        """(20,) attributes of the surest face in one frame, all NaN where the file has none that is sure enough.

        Raises IcfaceError when the clip has no csv file, or it ends before that frame.
        """
        if frame >= self.frames(clip):
            raise IcfaceError(f"{clip}: OpenFace's csv ends before frame {frame}; analyse this very clip anew")
        good = self._good(self._rows(clip).loc[[frame]])
        if good.empty:
            return np.full(len(ATTRIBUTE_NAMES), np.nan, np.float32)
        return attributes_from_row(good.loc[good["confidence"].to_numpy() == good["confidence"].max()].iloc[0])

    def analyze(self, frames: npt.NDArray[np.uint8], frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        """Faces of each frame, largest first; see `Analyzer`. `clip` is identity/video/stem.

        Raises IcfaceError when the clip has no csv file, the file lacks columns, or ends before these frames.
        """
        table = self._rows(clip)
        count = self.frames(clip)
        if len(frame_indices) and max(frame_indices) >= count:
            raise IcfaceError(
                f"{clip}: OpenFace's csv has rows of {count} frames, the clip has more; analyse this very clip anew"
            )
        return [
            self._faces(frame, table.loc[[index]], clip) for frame, index in zip(frames, frame_indices, strict=True)
        ]

    def close(self) -> None:
        """Give back the table in hand and the landmarker, if one was needed."""
        self._clip, self._table = None, pd.DataFrame()
        if self._landmarker is not None:
            self._landmarker.close()
            self._landmarker = None

    def _faces(self, frame: npt.NDArray[np.uint8], rows: pd.DataFrame, clip: str) -> list[Face]:
        faces = []
        for _, row in self._good(rows).iterrows():
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

    def _good(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows[(rows["success"] > 0) & (rows["confidence"] >= self.least_confidence)]

    def _landmarks(
        self, frame: npt.NDArray[np.uint8], row: "pd.Series[float]", clip: str
    ) -> npt.NDArray[np.float32] | None:
        if LANDMARK_COLUMNS[0] in row.index:
            return row[list(LANDMARK_COLUMNS)].to_numpy(np.float32).reshape(68, 2)
        if self._landmarker is None:
            from icface.analyzers.mediapipe import MediaPipeAnalyzer

            self._landmarker = MediaPipeAnalyzer()
        found = self._landmarker.analyze(frame[None], [0], clip)[0]
        return found[0].landmarks if found else None

    def _rows(self, clip: str) -> pd.DataFrame:
        """The clip's table, its index the position of the frame; the last one is kept."""
        if clip != self._clip:
            self._table = self._read(clip)
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


def read_openface_csv(stream: object, name: str) -> pd.DataFrame:
    """OpenFace's csv as a table of floats, indexed by the frame's position from 0 (several rows for several faces).

    Column names are taken with or without the leading space that some versions write. Raises IcfaceError calling
    the file `name` when it is no such table, lacks pose or AUs, or leaves out frames.
    """
    try:
        table = pd.read_csv(stream, skipinitialspace=True)  # type: ignore[call-overload]
        table.columns = table.columns.str.strip()
        table = table.astype(np.float64)
    except (ValueError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise IcfaceError(f"{name} is no OpenFace csv: {str(error).splitlines()[0]}") from None
    missing = [column for column in ("frame", "success", "confidence", *POSE_COLUMNS) if column not in table]
    if missing or not any(column in table for column in AU_COLUMNS):
        raise IcfaceError(f"{name} lacks {', '.join(missing) or 'AU intensities'}; run OpenFace with -pose -aus -2Dfp")
    if table.empty:
        raise IcfaceError(f"{name} has no row")
    # FeatureExtraction counts frames from 1, its older versions from 0.
    positions = table["frame"].to_numpy() - (0 if table["frame"].iloc[0] == 0 else 1)
    if not np.array_equal(np.unique(positions), np.arange(positions.max() + 1)):
        raise IcfaceError(f"{name} leaves out frames between 0 and {positions.max():.0f}; analyse the clip anew")
    return table.set_axis(positions.astype(np.int64))


def attributes_from_row(row: "pd.Series[float]") -> npt.NDArray[np.float32]:
    """(20,) float32 attributes of a row of OpenFace's table: radians, AUs 0..5, NaN where it has no such column."""
    pose = [row[column] for column in POSE_COLUMNS]
    units = [np.clip(row[column], 0, AU_RANGE) if column in row.index else np.nan for column in AU_COLUMNS]
    return np.array(pose + units, np.float32)
