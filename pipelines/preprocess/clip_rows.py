"""One clip to rows, in one process.

A clip is looked at in windows of frames. What is found of the faces is small and kept. The frames themselves are kept
only up to a bound. A longer clip is decoded a second time, in order, to cut out the pictures.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from icface.analyzers.face import Analyzer, LabelsFromFiles
from icface.crop import crop_image
from icface.errors import IcfaceError
from icface.images import encode_jpeg
from icface.video.reading import TruncatedClip, VideoInfo, Window
from icface.words import counted
from pipelines.config import PreprocessConfig
from pipelines.format import DROPPED, ROW_GROUP_ROWS, clip_row
from pipelines.frame_filters import drop_reason
from pipelines.preprocess.clip_frames import ClipFrames
from pipelines.preprocess.distant_analyzer import analysed
from pipelines.preprocess.face_tracker import FaceTracker
from pipelines.preprocess.track_jitter import jitter
from pipelines.preprocess.track_rows import JPEG_QUALITY, Detection, TrackSegment, baselines, divided, frames_table
from pipelines.sources import Clip, ClipSpan

WINDOW_BYTES = 48 << 20
"""Decoded frames that are looked at together, at most `Analyzer.batch_size` of them."""


@dataclass
class ClipRows:
    """What became of a clip: its row of `clips`, and the tables that go into its shard."""

    row: dict[str, Any]
    """A row of `pipelines.format.CLIPS`, without `split` and `shard`."""
    tables: Iterator[pa.Table] = field(default_factory=lambda: iter(()))
    """Tables of `pipelines.format.FRAMES`, each a row group; made when they are asked for."""


def clip_rows(
    path: Path, clip: Clip, split: str, config: PreprocessConfig, analyzer: Analyzer, span: ClipSpan | None = None
) -> ClipRows:
    """Analyse the clip in the local file `path`, or the `span` of it.

    A clip that cannot be used is not an error, but its row says why. `rejected`: it can be read, but no track is left.
    `failed`: it cannot be read.
    """
    work = _ClipWork(path, clip, split, config, analyzer, span)
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
        span: ClipSpan | None,
    ) -> None:
        self.path, self.clip, self.split, self.config, self.analyzer = path, clip, split, config, analyzer
        self.span, self.every, self.filters = span, config.selection.every, config.filters
        self.row = clip_row(clip)
        self.dropped: Counter[str] = Counter()
        self.buffer: list[Window] | None = []
        self.largest_small = 0.0
        """Height in pixels of the largest face that was too small."""
        self.least_jitter = np.inf
        """Of the tracks that were dropped for it, % of the distance between the eyes."""
        self.truncated: str | None = None
        """What a file that ends too early lacks, where it is kept all the same."""

    def run(self) -> ClipRows:
        self.clip_frames = ClipFrames(self.path, self.span, self.every)
        self.row["sha256"] = self.clip_frames.sha256
        info = self.clip_frames.info
        self.row |= {"fps": info.fps, "width": info.width, "height": info.height, "seconds": info.seconds}
        detections, several = self._detect(info)
        with_face = self.row["frames_read"] - self.dropped["no_face"]
        if several > self.filters.max_several_faces * with_face:
            self.dropped = Counter(no_face=self.dropped["no_face"], several_faces=with_face)
            return self._rejected("several_faces")
        tracks = self._choose(detections)
        if not tracks:
            worst = max(self.dropped, key=lambda name: (self.dropped[name], name))
            details = {
                "short_track": lambda: self._too_short(detections),
                "small_face": self._too_small,
                "jitter": lambda: f"{self.least_jitter:.2f} %, --max-jitter is {self.filters.max_jitter:g}",
            }
            return self._rejected(worst, details.get(worst, str)())
        segments = [segment for track in tracks for segment in self._segments(track, info)]
        count = sum(len(segment.detections) for segment in segments)
        self.row |= {"status": "ok", "reason": self.truncated, "frames_kept": count}
        self.row |= _counts(self.dropped) | baselines(segments)
        return ClipRows(self.row, self._tables(segments, info))

    def _rejected(self, reason: str, details: str = "") -> ClipRows:
        """`details`: what is said of this clip alone."""
        told = reason.replace("_", " ") + (f" ({details})" if details else "")
        return ClipRows({**self.row, **_counts(self.dropped), "status": "rejected", "reason": told})

    def _too_short(self, detections: list[Detection]) -> str:
        longest = max(Counter(detection.track for detection in detections).values())
        every = f" after --every {self.every}" if self.every > 1 else ""
        return f"{counted(longest, 'frame')} left{every}, --min-frames is {self.config.pictures.min_frames}"

    def _too_small(self) -> str:
        return f"{self.largest_small:.0f} px high at most, --min-face is {self.filters.min_face}"

    def _window(self, info: VideoInfo) -> int:
        return max(1, min(self.analyzer.batch_size, WINDOW_BYTES // (info.width * info.height * 3)))

    def _detect(self, info: VideoInfo) -> tuple[list[Detection], int]:
        """First pass: the main face of each frame that passes the filters, and in how many there was another."""
        main = FaceTracker()
        readers: set[str] = set()
        detections: list[Detection] = []
        several = buffered = last = 0
        windows = self._readable(self.clip_frames.windows(self._window(info)))
        for window, faces_of_window in analysed(self.analyzer, windows, self.clip.clip):
            self.row["frames_read"] += len(window.indices)
            readers.add(window.reader)
            self.row["reader"] = "+".join(sorted(readers))
            buffered += window.frames.nbytes
            if buffered > self.config.running.buffer_megabytes << 20:
                self.buffer = None
            if self.buffer is not None:
                self.buffer.append(window)
            found = zip(window.indices, window.times, window.frames, faces_of_window(), strict=True)
            for index, time, frame, faces in found:
                face, track, other = main.update(frame, self.clip_frames.faces_in_track(time, faces), time)
                reason = (
                    "no_face" if face is None else "several_faces" if other else drop_reason(self.filters, frame, face)
                )
                several += other
                if reason or face is None:
                    self.dropped[reason] += 1
                    if reason == "small_face" and face is not None:
                        self.largest_small = max(self.largest_small, float(face.box[3]))
                else:
                    detections.append(Detection(index, time, track, face))
            last = window.indices[-1]
        self._compare(last)
        self.row["tracks"] = main.tracks
        return detections, several

    def _readable(self, windows: Iterator[Window]) -> Iterator[Window]:
        """The windows; those of a truncated clip end without an error where such clips are kept."""
        try:
            yield from windows
        except TruncatedClip as error:
            if not self.filters.keep_truncated:
                raise
            self.truncated = str(error).replace(str(self.path), self.clip.path)

    def _compare(self, last: int) -> None:
        """Refuse labels made beforehand of another number of frames: they are of another video, or shifted."""
        if not isinstance(self.analyzer, LabelsFromFiles):
            return
        labelled = self.analyzer.frames(self.clip.clip)
        # Of the frames after the last one that was kept, fewer than `every` were passed over.
        if not last < labelled or (labelled > last + self.every and not self.truncated):
            raise IcfaceError(
                f"{self.clip.clip}: the labels are of {labelled} frames, the clip has about {last + 1}; "
                "run OpenFace on this clip again"
            )

    def _choose(self, detections: list[Detection]) -> list[list[Detection]]:
        """The tracks that are kept, each long enough."""
        tracks: dict[int, list[Detection]] = {}
        for detection in detections:
            tracks.setdefault(detection.track, []).append(detection)
        long_enough = [track for track in tracks.values() if len(track) >= self.config.pictures.min_frames]
        self.dropped["short_track"] += len(detections) - sum(map(len, long_enough))
        long_enough = self._steady(long_enough)
        if self.config.pictures.tracks == "all" or not long_enough:
            return long_enough
        longest = max(long_enough, key=len)
        self.dropped["other_track"] += sum(map(len, long_enough)) - len(longest)
        return [longest]

    def _steady(self, tracks: list[list[Detection]]) -> list[list[Detection]]:
        """The tracks whose landmarks tremble no more than is allowed."""
        most = self.filters.max_jitter
        if most is None:
            return tracks
        kept = []
        for track in tracks:
            places = np.array([detection.frame for detection in track]) // self.every
            found = jitter(np.stack([detection.face.landmarks for detection in track]), places)
            if found > most:
                self.dropped["jitter"] += len(track)
                self.least_jitter = min(self.least_jitter, found)
            else:
                kept.append(track)
        return kept

    def _segments(self, track: list[Detection], info: VideoInfo) -> list[TrackSegment]:
        """A track with its crops: the frames to train on, and the held-out ones; the gap between them is dropped."""
        squares = self._squares(track, info)
        segments = divided(track, squares, self.split)
        self.dropped["gap"] += len(track) - sum(len(segment.detections) for segment in segments)
        return segments

    def _squares(self, track: list[Detection], info: VideoInfo) -> npt.NDArray[np.float32]:
        """(N, 3) crop squares. Frames that the filters dropped are filled in, since the rule counts in frames."""
        places = np.array([detection.frame for detection in track]) // self.every
        boxes = np.stack([detection.face.box for detection in track])
        grid = np.arange(places[0], places[-1] + 1)
        filled = np.column_stack([np.interp(grid, places, column) for column in boxes.T])
        rule = self.config.pictures.rule()
        return rule.squares(filled, info.fps / self.every, info.width, info.height)[places - places[0]]

    def _tables(self, segments: list[TrackSegment], info: VideoInfo) -> Iterator[pa.Table]:
        """Second pass: cut out and encode the pictures, a row group at a time."""
        windows = iter(self.buffer) if self.buffer is not None else self.clip_frames.windows(self._window(info))
        frames = (pair for window in windows for pair in zip(window.indices, window.frames, strict=True))
        for segment in segments:
            for start in range(0, len(segment.detections), ROW_GROUP_ROWS):
                detections = segment.detections[start : start + ROW_GROUP_ROWS]
                squares = segment.squares[start : start + ROW_GROUP_ROWS]
                pictures = []
                for detection, square in zip(detections, squares, strict=True):
                    frame = next(frame for index, frame in frames if index == detection.frame)
                    pictures.append(encode_jpeg(crop_image(frame, square, self.config.pictures.size), JPEG_QUALITY))
                corner = (self.clip_frames.x, self.clip_frames.y)
                yield frames_table(self.clip, detections, squares, pictures, segment.held_out, corner)


def _counts(dropped: Counter[str]) -> dict[str, int]:
    return {f"dropped_{name}": dropped[name] for name in DROPPED}
