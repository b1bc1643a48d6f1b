"""The frames of a clip: of a whole file, or of a span of one, around the face that is meant."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from icface.analyzers.face import Face
from icface.errors import IcfaceError
from icface.video.pictures import sha256_of_pictures
from icface.video.reading import Window, probe, read_windows
from icface.weights import sha256_of
from pipelines.sources import ClipSpan
from pipelines.sources.clip import OWN_RATE

AROUND = 0.5
"""What is seen of a full video: each box of the track, this share of its size wider on every side. Analyzers find
small faces badly, and other people matter only where they get into the picture."""
MISSING_SECONDS = 1.0
"""A video that ends earlier than this before the end of its track is another video, or cut off."""


class ClipFrames:
    """Frames to be looked at, and where they lie in their file."""

    def __init__(self, path: Path, span: ClipSpan | None = None, every: int = 1) -> None:
        """Every `every`-th frame of `path`, or of the part of it that is meant.

        Raises IcfaceError when the file is not a video, or the track lies outside its frames.
        """
        whole = probe(path)
        if span is not None and span.rate == OWN_RATE:
            span = replace(span, rate=whole.fps)
        self.path, self.span, self.every = path, span, every
        self.info = whole
        """Of the frames as they are seen."""
        self.x = self.y = 0
        """Where their corner lies in the file's frames, pixels."""
        self._size = (whole.width, whole.height)
        self._span: tuple[float, float] | None = None
        if span is not None:
            start, end = self._span = span.seconds
            boxes = np.stack([self._box(time) for time in np.append(span.frames, span.start) / span.rate])
            low = (boxes[:, :2] - AROUND * boxes[:, 2:]).min(axis=0)
            high = (boxes[:, :2] + (1 + AROUND) * boxes[:, 2:]).max(axis=0)
            # Even numbers, as videos have.
            left, top = (int(value) // 2 * 2 for value in low.clip(0, self._size))
            right, bottom = (int(value) // 2 * 2 for value in high.clip(0, self._size))
            if right - left < 2 or bottom - top < 2:
                raise IcfaceError(f"{path}: the boxes of the track lie outside its frames: another video?")
            self.x, self.y = left, top
            count = max(1, round((end - start) * whole.fps))
            self.info = replace(whole, width=right - left, height=bottom - top, frames=count, seconds=end - start)

    @property
    def sha256(self) -> str:
        """Of the file, or of the pictures in the folder."""
        return sha256_of_pictures(self.path) if self.path.is_dir() else sha256_of(self.path)

    def windows(self, count: int) -> Iterator[Window]:
        """As `read_windows`, of the part that is meant. Raises IcfaceError as that does, and when the video ends before
        the track.
        """
        if self._span is None:
            yield from read_windows(self.path, self.every, count)
            return
        last = 0.0
        columns, rows = (slice(self.x, self.x + self.info.width), slice(self.y, self.y + self.info.height))
        for window in read_windows(self.path, self.every, count, span=self._span):
            if window.frames.shape[1:3] != self._size[::-1]:
                raise IcfaceError(f"{self.path}: the frames are not as large as the header says")
            yield replace(window, frames=np.ascontiguousarray(window.frames[:, rows, columns]))
            last = window.times[-1]
        if self._span[1] - last > self.every / self.info.fps + MISSING_SECONDS:
            raise IcfaceError(f"{self.path}: the video ends at {last:.2f} s, its track at {self._span[1]:.2f} s")

    def faces_in_track(self, time: float, faces: Sequence[Face]) -> list[Face]:
        """Those of the `faces` seen at a time whose centre lies in the track's box; all of them without a track."""
        if self.span is None:
            return list(faces)
        box = self._box(time)
        low, high = box[:2] - (self.x, self.y), box[:2] + box[2:] - (self.x, self.y)
        centres = [face.box[:2] + face.box[2:] / 2 for face in faces]
        return [face for face, at in zip(faces, centres, strict=True) if (low <= at).all() and (at <= high).all()]

    def _box(self, time: float) -> npt.NDArray[np.float64]:
        if self.span is None:
            raise ValueError("a whole file has no boxes")
        return self.span.box(time, *self._size)
