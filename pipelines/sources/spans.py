"""Which frames of a full video are a clip, and where in them the face is that is meant."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icface.errors import IcfaceError
from pipelines.sources.clip import Clip, TrackFile
from pipelines.storage import Folder

TRACK_RATE = 25.0
"""VoxCeleb's tracks count frames at 25 a second, whatever the video has."""
TRACK_HEIGHT = 360.0
"""VoxCeleb1's boxes are pixels of a frame of this height; VoxCeleb2's are fractions of the frame."""
LARGEST_FRACTION = 2.0
"""Boxes without any larger number are fractions."""


@dataclass(frozen=True)
class ClipSpan:
    """A span of a full video and the boxes of a face in it."""

    start: float
    """First frame of the span."""
    end: float
    """The frame after its last one."""
    rate: float
    """Frames a second that these, and `frames`, count in; `OWN_RATE` until `ClipFrames` has looked at the file."""
    frames: npt.NDArray[np.float64]
    """(N,) ascending; frames between them have boxes between theirs."""
    boxes: npt.NDArray[np.float64]
    """(N, 4) x, y, width, height."""
    width: float | None
    """Width of the frame that the boxes are pixels of; None: as its height says."""
    height: float
    """Height of that frame."""

    @property
    def seconds(self) -> tuple[float, float]:
        """Start and end of the span in the video."""
        return self.start / self.rate, self.end / self.rate

    def box(self, time: float, width: int, height: int) -> npt.NDArray[np.float64]:
        """(4,) x, y, width, height at a time in seconds, in pixels of a video of `width` x `height`."""
        place = time * self.rate
        across = width / self.width if self.width is not None else height / self.height
        scale = np.array([across, height / self.height] * 2)
        return np.array([np.interp(place, self.frames, column) for column in self.boxes.T]) * scale


def read_span(source: Folder, clip: Clip) -> ClipSpan | None:
    """The part of its file that `clip` is; None for all of it. `source`: the folder that its paths are relative to.

    Raises IcfaceError when its track file is none, and OSError when it cannot be fetched.
    """
    span = clip.span
    if span is None:
        return None
    if isinstance(span, TrackFile):
        return parse_track(source.read(span.path).decode("utf-8", "replace"), span.path)
    return ClipSpan(
        start=span.start,
        end=span.end,
        rate=span.rate,
        frames=np.array([span.start], np.float64),
        boxes=np.array([[span.left, span.top, span.right - span.left, span.bottom - span.top]], np.float64),
        width=span.width,
        height=span.height,
    )


def parse_track(text: str, name: str) -> ClipSpan:
    """VoxCeleb's track file: a header, a line `FRAME X Y W H`, and a row a frame.

    Raises IcfaceError calling the file `name` when there is no such table in it.
    """
    lines = text.splitlines()
    try:
        heading = next(i for i, line in enumerate(lines) if line.split()[:5] == ["FRAME", "X", "Y", "W", "H"])
        rows = np.array([[float(cell) for cell in line.split()] for line in lines[heading + 1 :] if line.strip()])
        rows = rows.reshape(-1, 5)
    except (StopIteration, ValueError):
        raise IcfaceError(
            f"{name} is not a track: a line `FRAME X Y W H` and rows of five numbers are missing"
        ) from None
    if not len(rows) or not np.isfinite(rows).all() or not (np.diff(rows[:, 0]) > 0).all() or rows[0, 0] < 0:
        raise IcfaceError(f"{name} is not a track: its frames must ascend from 0 or later")
    if not (rows[:, 3:] > 0).all():
        raise IcfaceError(f"{name} has boxes without width or height")
    fractions = np.abs(rows[:, 1:]).max() <= LARGEST_FRACTION
    return ClipSpan(
        start=rows[0, 0],
        end=rows[-1, 0] + 1,
        rate=TRACK_RATE,
        frames=rows[:, 0],
        boxes=rows[:, 1:],
        width=1.0 if fractions else None,
        height=1.0 if fractions else TRACK_HEIGHT,
    )
