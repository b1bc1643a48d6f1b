"""Reading clips: in order from the first frame, in windows, so that memory stays bounded however long a clip is.

A frame is what a player shows, when it shows it: see `icface.video.display` and `icface.video.container`. Never by
seeking: some clips (open GOPs, edit lists) decode to grey or to other frames after a seek.

PyAV can read every clip. decord reads ahead in a thread of its own, and is used where it gives the same bits:
`decord_is_right` says where.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from icface.arrays import Picture
from icface.errors import IcfaceError
from icface.video.container import Survey, decoded_frames, survey
from icface.video.decord_frames import DecordFailed, decord_frames
from icface.video.display import pictures
from icface.video.pictures import PICTURES_FPS, frame_files, read_pictures

Reader = Literal["auto", "decord", "pyav"]
TimedFrame = tuple[float, str, Picture]
"""Presentation time in seconds, the name of the reader, and the picture."""

WINDOW_BYTES = 128 << 20
"""A window of large frames is cut shorter than this, so that a worker's memory has a bound."""
DECORD_BYTES = 128 << 20
"""Decoded size up to which decord reads a clip. Its thread decodes on while the frames before are looked at. A clip of
282 frames of 720p took 760 MB within four seconds of its first frame.
"""
DECORD_FORMATS = ("mp4", "matroska")
DECORD_CODECS = frozenset({"h264", "vp8", "vp9", "mpeg4"})
DECORD_PIXELS = frozenset({"yuv420p", "yuvj420p"})
EARLY = 1e-6
"""Seconds by which a frame may come before the span that it belongs to: 29.97 is not an exact number."""


class TruncatedClip(IcfaceError):
    """The file ends before the last frame that its index lists: raised after every frame that decodes was yielded.

    A caller that wants what is there keeps what it got and catches this.
    """


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a clip is, as far as its packets and its first frame tell."""

    fps: float
    """Average frames a second. A frame's time is not its index / fps where the rate varies: see `Window.times`."""
    width: int
    """Pixels, square, upright."""
    height: int
    frames: int
    """Number of frames as far as the packets tell."""
    seconds: float
    """From the first frame to the end of the last."""


@dataclass(frozen=True)
class Window:
    """Consecutive frames of a clip."""

    indices: list[int]
    """Positions among the frames that a player shows."""
    times: list[float]
    """Presentation times, seconds from the start of the file, ascending."""
    frames: npt.NDArray[np.uint8]
    """(n, H, W, 3) RGB, upright, square pixels, SDR."""
    reader: str
    """`decord`, `pyav` or `pictures`: who decoded the first of them."""


def probe(path: str | Path) -> VideoInfo:
    """What a clip is; all its packets are read and one frame is decoded.

    A folder of numbered pictures is a clip of `PICTURES_FPS`. Raises IcfaceError when the file is missing, no video,
    or cannot be shown rightly.
    """
    if Path(path).is_dir():
        first, count = next(read_pictures(path)), len(frame_files(path))
        height, width = first.shape[:2]
        return VideoInfo(fps=PICTURES_FPS, width=width, height=height, frames=count, seconds=count / PICTURES_FPS)
    known = survey(path)
    return VideoInfo(
        fps=known.fps,
        width=known.display.width,
        height=known.display.height,
        frames=known.packets + known.missing,
        seconds=known.seconds,
    )


def read_frames(
    path: str | Path,
    every: int = 1,
    window: int = 32,
    reader: Reader = "auto",
    span: tuple[float, float] | None = None,
) -> Iterator[tuple[list[int], npt.NDArray[np.uint8]]]:
    """(indices, frames) of each window of `read_windows`, for those who need no times."""
    for part in read_windows(path, every, window, reader, span):
        yield part.indices, part.frames


def read_windows(
    path: str | Path,
    every: int = 1,
    window: int = 32,
    reader: Reader = "auto",
    span: tuple[float, float] | None = None,
) -> Iterator[Window]:
    """Every `every`-th frame of a clip in order, in windows of at most `window` frames and 128 MiB.

    Frame 0 is always among them. `span` (start and end in seconds) reads only the frames that begin from its start up
    to its end, and always the first of them. PyAV decodes the frames before it and passes them over.

    `reader` is `pyav`, `decord` or `auto`. `decord` reads what it reads rightly and leaves the rest to PyAV. `auto` is
    `decord` for clips of at most `DECORD_BYTES`.

    Raises IcfaceError when nothing can be decoded, and TruncatedClip (one of those) after the last readable frame
    when the file ends before its index says.
    """
    if every < 1 or window < 1:
        raise ValueError(f"every {every} and window {window} must be at least 1")
    start, end = span or (0.0, float("inf"))
    if not 0 <= start < end:
        raise ValueError(f"span {span} must be ascending, from 0")
    source: Iterator[tuple[int, TimedFrame]] = enumerate(_frames(path, "pyav" if span and reader == "auto" else reader))
    if span is not None:
        source = takewhile(lambda item: item[1][0] < end - EARLY, source)
        source = dropwhile(lambda item: item[1][0] < start - EARLY, source)
    count = last = 0
    held: list[tuple[int, float, str]] = []
    frames = np.empty((0, 0, 0, 3), np.uint8)
    for count, (index, (time, name, frame)) in enumerate(source, 1):
        last = index
        if (count - 1) % every:
            continue
        if not held:
            frames = np.empty((max(1, min(window, WINDOW_BYTES // frame.nbytes)), *frame.shape), np.uint8)
        if frame.shape != frames.shape[1:]:
            raise IcfaceError(f"{path}: the frames change their size at frame {index}; cut the clip there")
        frames[len(held)] = frame
        held.append((index, time, name))
        if len(held) == len(frames):
            yield _window(held, frames)
            held = []
    if held:
        yield _window(held, frames[: len(held)])
    if not count:
        where = f"; it should have frames from {start:g} s to {end:g} s" if span else ""
        raise IcfaceError(f"{path}: no frame can be decoded{where}; the clip is damaged")
    _check_complete(path, last + 1, span)


def decord_is_right(path: str | Path) -> bool:
    """Whether decord gives the very bits and times that PyAV gives, which are what a player shows.

    These are read by PyAV: 10 bit, interlaced, HDR or transparent frames, and other sampling than 4:2:0. So are turned
    or mirrored frames, pixels that are not square, and more than one video stream. So are edit lists, times that are
    missing or begin before 0, and containers and codecs that nobody compared.
    """
    return _decord_is_right(survey(path))


def _decord_is_right(known: Survey) -> bool:
    return (
        known.alone
        and known.display.plain
        and known.display.pixels in DECORD_PIXELS
        and any(name in known.format for name in DECORD_FORMATS)
        and known.codec in DECORD_CODECS
        and not known.skipped
        and len(known.times) == known.packets
        and known.times[0] >= 0
        and known.display.width % 2 == 0
        and known.display.height % 2 == 0
    )


def _window(held: Iterable[tuple[int, float, str]], frames: npt.NDArray[np.uint8]) -> Window:
    indices, times, names = zip(*held, strict=True)
    return Window(list(indices), list(times), frames, names[0])


def _frames(path: str | Path, reader: Reader) -> Iterator[TimedFrame]:
    """Every frame, by decord as far as it is right and gets, by PyAV for the rest."""
    if Path(path).is_dir():
        for index, picture in enumerate(read_pictures(path)):
            yield index / PICTURES_FPS, "pictures", picture
        return
    known = survey(path)
    small = known.packets * known.display.width * known.display.height * 3 <= DECORD_BYTES
    done = 0
    if (reader == "decord" or (reader == "auto" and small)) and _has_decord() and _decord_is_right(known):
        # Damaged clips are refused by decord as a whole.
        with suppress(DecordFailed):
            for frame in decord_frames(path, lambda: sum(1 for _ in decoded_frames(path))):
                if done >= len(known.times):
                    break
                yield known.times[done] - known.origin, "decord", frame
                done += 1
            return
    for index, (time, frame) in enumerate(pictures(decoded_frames(path), known.display)):
        if index >= done:
            yield time, "pyav", frame


@lru_cache(maxsize=1)
def _has_decord() -> bool:
    return find_spec("decord") is not None


def _check_complete(path: str | Path, count: int, span: tuple[float, float] | None) -> None:
    """Raises TruncatedClip when the index at the front of the file points beyond its end, and the span did too."""
    if Path(path).is_dir():
        return
    known = survey(path)
    ends = span is not None and known.times and span[1] <= known.times[-1] - known.origin
    if known.missing and not ends:
        raise TruncatedClip(
            f"{path}: the file is cut off, {count} of {known.packets + known.missing} frames can be read"
        )
