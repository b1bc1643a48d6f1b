"""One clip to rows, in one process.

A clip is looked at in windows of frames. What is found of the faces is small and kept; the frames themselves are
kept only up to a bound, and a longer clip is decoded a second time, in order, to cut out the pictures.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from icface.analyzers.face import Analyzer, Face, LabelsFromFiles
from icface.attributes import ATTRIBUTE_NAMES
from icface.crop import CropRule, cut
from icface.errors import IcfaceError
from icface.images import encode_jpeg
from icface.video.reading import VideoInfo, Window
from pipelines.config import PreprocessConfig
from pipelines.format import BASELINE_FRAMES, BASELINE_NAMES, DROPPED, FRAMES, ROW_GROUP_ROWS, clip_row, list_array
from pipelines.preprocess.clip_frames import Footage
from pipelines.preprocess.face_tracker import MainFace, sharpness
from pipelines.sources import Clip, Cut

JPEG_QUALITY = 95
HELD_OUT_SHARE = 0.1
HELD_OUT_FROM = 50
"""Frames that a training track must have for its last tenth to be held out."""
HELD_OUT_GAP = 1.0
"""Seconds before the held-out frames that are left out: neighbours of a held-out frame look like it."""
WINDOW_BYTES = 48 << 20
"""Decoded frames that are looked at together, at most `Analyzer.batch_size` of them."""


@dataclass(frozen=True)
class Sighting:
    """The main face in one frame."""

    frame: int
    """Index in the clip."""
    time: float
    """When it is shown, seconds."""
    track: int
    face: Face


@dataclass(frozen=True)
class Part:
    """Frames of a track that go into row groups together."""

    sightings: list[Sighting]
    squares: npt.NDArray[np.float32]
    """(N, 3) x, y and side of the crops, source pixels."""
    held_out: bool


@dataclass
class ClipRows:
    """What became of a clip: its row of `clips`, and the tables that go into its shard."""

    row: dict[str, Any]
    """A row of `pipelines.format.CLIPS`, without `split` and `shard`."""
    tables: Iterator[pa.Table] = field(default_factory=lambda: iter(()))
    """Tables of `pipelines.format.FRAMES`, each a row group; made when they are asked for."""


def clip_rows(
    path: Path, clip: Clip, split: str, config: PreprocessConfig, analyzer: Analyzer, part: Cut | None = None
) -> ClipRows:
    """Analyse the clip in the local file `path`, or the `part` of it that is meant.

    A clip that cannot be used is no error: its row says `rejected` (it can be read, but no track is left) or
    `failed` (it cannot be read) and why.
    """
    work = _ClipWork(path, clip, split, config, analyzer, part)
    try:
        return work.run()
    except IcfaceError as error:
        # The path may be that of a temporary copy.
        reason = str(error).replace(str(path), clip.path)
        return ClipRows({**work.row, "status": "failed", "reason": reason})


class _ClipWork:
    def __init__(
        self,
        path: Path,
        clip: Clip,
        split: str,
        config: PreprocessConfig,
        analyzer: Analyzer,
        part: Cut | None,
    ) -> None:
        self.path, self.clip, self.split, self.config, self.analyzer = path, clip, split, config, analyzer
        self.part = part
        self.row = clip_row(clip)
        self.dropped: Counter[str] = Counter()
        self.buffer: list[Window] | None = []

    def run(self) -> ClipRows:
        self.footage = Footage(self.path, self.part, self.config.every)
        self.row["sha256"] = self.footage.sha256
        info = self.footage.info
        self.row |= {"fps": info.fps, "width": info.width, "height": info.height, "seconds": info.seconds}
        sightings, several = self._look(info)
        with_face = self.row["frames_read"] - self.dropped["no_face"]
        if several > self.config.max_several_faces * with_face:
            self.dropped = Counter(no_face=self.dropped["no_face"], several_faces=with_face)
            return self._rejected("several_faces")
        tracks = self._choose(sightings)
        if not tracks:
            return self._rejected(max(self.dropped, key=lambda name: (self.dropped[name], name)))
        parts = [part for track in tracks for part in self._parts(track, info)]
        count = sum(len(part.sightings) for part in parts)
        self.row |= {"status": "ok", "frames_kept": count, **_counts(self.dropped), **_baselines(parts)}
        return ClipRows(self.row, self._tables(parts, info))

    def _rejected(self, reason: str) -> ClipRows:
        return ClipRows({**self.row, **_counts(self.dropped), "status": "rejected", "reason": reason.replace("_", " ")})

    def _window(self, info: VideoInfo) -> int:
        return max(1, min(self.analyzer.batch_size, WINDOW_BYTES // (info.width * info.height * 3)))

    def _look(self, info: VideoInfo) -> tuple[list[Sighting], int]:
        """First pass: the main face of each frame that passes the filters, and in how many there was another."""
        main = MainFace()
        readers: set[str] = set()
        sightings: list[Sighting] = []
        several = buffered = last = 0
        for window in self.footage.windows(self._window(info)):
            self.row["frames_read"] += len(window.indices)
            readers.add(window.reader)
            self.row["reader"] = "+".join(sorted(readers))
            buffered += window.frames.nbytes
            if buffered > self.config.buffer_megabytes << 20:
                self.buffer = None
            if self.buffer is not None:
                self.buffer.append(window)
            found = self.analyzer.analyze(window.frames, window.indices, self.clip.clip)
            for index, time, frame, faces in zip(window.indices, window.times, window.frames, found, strict=True):
                face, track, other = main.see(frame, self.footage.meant(time, faces), time)
                reason = "no_face" if face is None else "several_faces" if other else self._refused(frame, face)
                several += other
                if reason or face is None:
                    self.dropped[reason] += 1
                else:
                    sightings.append(Sighting(index, time, track, face))
            last = window.indices[-1]
        self._compare(last)
        self.row["tracks"] = main.tracks
        return sightings, several

    def _compare(self, last: int) -> None:
        """Refuse labels made beforehand of another number of frames: they are of another video, or shifted."""
        if not isinstance(self.analyzer, LabelsFromFiles):
            return
        labelled = self.analyzer.frames(self.clip.clip)
        # Of the frames after the last one that was kept, fewer than `every` were passed over.
        if not last < labelled <= last + self.config.every:
            raise IcfaceError(
                f"{self.clip.clip}: the labels are of {labelled} frames, the clip has about {last + 1}; "
                "analyse this very clip anew"
            )

    def _refused(self, frame: npt.NDArray[np.uint8], face: Face) -> str:
        config = self.config
        if face.box[3] < config.min_face:
            return "small_face"
        if face.confidence < config.min_confidence:
            return "low_confidence"
        if np.nanmax(np.abs(face.attributes[:3])) > config.max_pose:
            return "turned"
        if config.min_sharpness and sharpness(frame, face.box) < config.min_sharpness:
            return "blurred"
        return ""

    def _choose(self, sightings: list[Sighting]) -> list[list[Sighting]]:
        """The tracks that are kept, each long enough."""
        tracks: dict[int, list[Sighting]] = {}
        for sighting in sightings:
            tracks.setdefault(sighting.track, []).append(sighting)
        long_enough = [track for track in tracks.values() if len(track) >= self.config.min_frames]
        self.dropped["short_track"] += len(sightings) - sum(map(len, long_enough))
        if self.config.tracks == "all" or not long_enough:
            return long_enough
        longest = max(long_enough, key=len)
        self.dropped["other_track"] += sum(map(len, long_enough)) - len(longest)
        return [longest]

    def _parts(self, track: list[Sighting], info: VideoInfo) -> list[Part]:
        """A track with its crops: the frames to train on, and the held-out ones; the gap between them is dropped."""
        squares = self._squares(track, info)
        count = int(len(track) * HELD_OUT_SHARE) if self.split == "train" and len(track) >= HELD_OUT_FROM else 0
        if count == 0:
            return [Part(track, squares, held_out=False)]
        first = track[-count].time
        before = sum(first - sighting.time > HELD_OUT_GAP for sighting in track[:-count])
        self.dropped["gap"] += len(track) - count - before
        parts = [
            Part(track[:before], squares[:before], held_out=False),
            Part(track[-count:], squares[-count:], held_out=True),
        ]
        return [part for part in parts if part.sightings]

    def _squares(self, track: list[Sighting], info: VideoInfo) -> npt.NDArray[np.float32]:
        """(N, 3) crop squares. Frames that the filters dropped are filled in, since the rule counts in frames."""
        every = self.config.every
        places = np.array([sighting.frame for sighting in track]) // every
        boxes = np.stack([sighting.face.box for sighting in track])
        grid = np.arange(places[0], places[-1] + 1)
        filled = np.column_stack([np.interp(grid, places, column) for column in boxes.T])
        rule = CropRule(mode=self.config.crop)
        return rule.squares(filled, info.fps / every, info.width, info.height)[places - places[0]]

    def _tables(self, parts: list[Part], info: VideoInfo) -> Iterator[pa.Table]:
        """Second pass: cut out and encode the pictures, a row group at a time."""
        windows = iter(self.buffer) if self.buffer is not None else self.footage.windows(self._window(info))
        frames = (pair for window in windows for pair in zip(window.indices, window.frames, strict=True))
        for part in parts:
            for start in range(0, len(part.sightings), ROW_GROUP_ROWS):
                sightings = part.sightings[start : start + ROW_GROUP_ROWS]
                squares = part.squares[start : start + ROW_GROUP_ROWS]
                pictures = []
                for sighting, square in zip(sightings, squares, strict=True):
                    frame = next(frame for index, frame in frames if index == sighting.frame)
                    pictures.append(encode_jpeg(cut(frame, square, self.config.size), JPEG_QUALITY))
                yield self._table(sightings, squares, pictures, part.held_out)

    def _table(
        self,
        track: list[Sighting],
        squares: npt.NDArray[np.float32],
        pictures: list[bytes],
        held_out: bool,
    ) -> pa.Table:
        rows = len(track)
        faces = [sighting.face for sighting in track]
        boxes = np.stack([face.box for face in faces])
        indices = np.array([sighting.frame for sighting in track], np.int32)
        points = (np.stack([face.landmarks for face in faces]) - squares[:, None, :2]) / squares[:, None, 2:]
        attributes = np.stack([face.attributes for face in faces])
        columns: dict[str, Any] = {
            "identity": pa.array([self.clip.identity] * rows),
            "video": pa.array([self.clip.video] * rows),
            "clip": pa.array([self.clip.clip] * rows),
            "track": np.full(rows, track[0].track, np.int16),
            "frame": indices,
            "timestamp": np.array([sighting.time for sighting in track], np.float32),
            "held_out": np.full(rows, held_out),
            "image": pa.array(pictures, pa.binary()),
            "landmarks": list_array(points, rows, FRAMES.field("landmarks").type),
            "blendshapes": list_array(_stacked(faces, "blendshapes"), rows, FRAMES.field("blendshapes").type),
            "face_matrix": list_array(_stacked(faces, "face_matrix"), rows, FRAMES.field("face_matrix").type),
            "confidence": np.array([face.confidence for face in faces], np.float32),
        }
        corner = np.array([self.footage.x, self.footage.y, 0, 0], np.float32)
        columns |= dict(zip(("box_x", "box_y", "box_w", "box_h"), (boxes + corner).T.copy(), strict=True))
        columns |= dict(zip(("crop_x", "crop_y", "crop_size"), (squares + corner[:3]).T.copy(), strict=True))
        for name, values in zip(ATTRIBUTE_NAMES, attributes.T.copy(), strict=True):
            columns[name] = pa.array(values, pa.float32(), mask=np.isnan(values))
        return pa.table({name: columns[name] for name in FRAMES.names}, schema=FRAMES)


def _stacked(faces: list[Face], name: str) -> npt.NDArray[np.float32] | None:
    values = [getattr(face, name) for face in faces]
    return None if any(value is None for value in values) else np.stack(values)


def _counts(dropped: Counter[str]) -> dict[str, int]:
    return {f"dropped_{name}": dropped[name] for name in DROPPED}


def _baselines(parts: list[Part]) -> dict[str, float | None]:
    faces = [sighting.face for part in parts if not part.held_out for sighting in part.sightings]
    return baselines(np.array([face.attributes for face in faces], np.float32).reshape(-1, len(ATTRIBUTE_NAMES)))


def baselines(values: npt.NDArray[np.float32]) -> dict[str, float | None]:
    """The columns `baseline_*` of a clip from its (N, 20) attributes; None where fewer than 50 were measured."""
    result: dict[str, float | None] = {}
    for name in BASELINE_NAMES:
        column = values[:, ATTRIBUTE_NAMES.index(name)]
        column = column[~np.isnan(column)]
        share = 50 if name.startswith("pose") else 20
        result[f"baseline_{name}"] = float(np.percentile(column, share)) if len(column) >= BASELINE_FRAMES else None
    return result
