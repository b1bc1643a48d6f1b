"""Reading clips: in order from the first frame, in windows, so that memory stays bounded however long a clip is.

Never by seeking: some clips (open GOPs, edit lists) decode to grey or to other frames after a seek. decord reads;
PyAV does, to the same bits, what decord would hold whole in memory, where decord has no wheel, and as the second
opinion in tests.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice, repeat
from pathlib import Path
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer

from icface.errors import IcfaceError
from icface.video.pictures import PICTURES_FPS, frame_files, read_pictures

Frame = npt.NDArray[np.uint8]
Reader = Literal["auto", "decord", "pyav"]
Window = tuple[list[int], npt.NDArray[np.uint8]]


WINDOW_BYTES = 128 << 20
"""A window of large frames is cut shorter than this, so that a worker's memory has a bound."""

DECORD_BYTES = 128 << 20
"""Decoded size up to which a clip is read by decord, whose thread decodes on while the frames before are looked at: a
clip of 282 frames of 720p took 760 MB within four seconds of its first frame.
"""


class TruncatedClip(IcfaceError):
    """The file ends before the last frame that its index lists: raised after every frame that decodes was yielded.

    A caller that wants what is there keeps what it got and catches this.
    """


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a clip's header says. A frame's time is its index / fps: the frames of a talking head come evenly."""

    fps: float
    """Average frames a second."""
    width: int
    """Pixels, after the rotation that the header asks for."""
    height: int
    frames: int
    """Number of frames as far as the header knows, else an estimate from the duration."""
    seconds: float
    """Duration."""


def probe(path: str | Path) -> VideoInfo:
    """What the header of a clip says; at most one frame is decoded, to know how it is turned.

    A folder of numbered pictures is a clip of `PICTURES_FPS`. Raises IcfaceError when the file is missing, no video,
    or its header makes no sense.
    """
    if Path(path).is_dir():
        first, count = next(read_pictures(path)), len(frame_files(path))
        height, width = first.shape[:2]
        return VideoInfo(fps=PICTURES_FPS, width=width, height=height, frames=count, seconds=count / PICTURES_FPS)
    with _open(path) as container:
        return _info(container, path)


def read_frames(
    path: str | Path,
    every: int = 1,
    window: int = 32,
    reader: Reader = "auto",
    span: tuple[int, int] | None = None,
) -> Iterator[Window]:
    """Every `every`-th frame of a clip in order, in windows of at most `window` frames and 128 MiB.

    Yields (indices, frames): positions in the clip, and (n, H, W, 3) uint8 RGB, upright. Frame 0 is always among
    them. `span` (first frame, the one after the last) reads those frames only, the first always among them; frames
    before them are decoded and passed over by PyAV, whatever the reader.

    Raises IcfaceError when nothing can be decoded, and TruncatedClip (one of those) after the last readable frame
    when the file ends before its index says.
    """
    if every < 1 or window < 1:
        raise ValueError(f"every {every} and window {window} must be at least 1")
    start, end = span or (0, None)
    if start < 0 or (end is not None and end <= start):
        raise ValueError(f"span {span} must be ascending, from 0")
    info = probe(path)
    count = start
    indices: list[int] = []
    frames = np.empty((0, 0, 0, 3), np.uint8)
    if reader == "auto" and info.frames * info.width * info.height * 3 > DECORD_BYTES:
        reader = "pyav"
    source = _frames(path, reader) if span is None else _from(path, start)
    for index, frame in enumerate(islice(source, None if end is None else end - start), start):
        count = index + 1
        if (index - start) % every:
            continue
        if not indices:
            frames = np.empty((max(1, min(window, WINDOW_BYTES // frame.nbytes)), *frame.shape), np.uint8)
        if frame.shape != frames.shape[1:]:
            raise IcfaceError(f"{path}: the frames change their size at frame {index}; cut the clip there")
        frames[len(indices)] = frame
        indices.append(index)
        if len(indices) == len(frames):
            yield indices, frames
            indices = []
    if indices:
        yield indices, frames[: len(indices)]
    if count == start:
        where = f"; it should have frames {start} to {end}" if span else ""
        raise IcfaceError(f"{path}: no frame can be decoded{where}; the clip is damaged")
    if count != end and _is_cut_off(path):
        raise TruncatedClip(f"{path}: the file is cut off, {count} of {info.frames} frames can be read")


def _frames(path: str | Path, reader: Reader) -> Iterator[Frame]:
    """Every frame, by decord as far as it gets and by PyAV for the rest: decord refuses damaged clips as a whole."""
    if Path(path).is_dir():
        yield from read_pictures(path)
        return
    if reader == "pyav" or (reader == "auto" and (find_spec("decord") is None or _rotation(path))):
        yield from _pyav_frames(path)
        return
    done = 0
    try:
        for frame in _without_repeats(_decord_frames(path), path):
            yield frame
            done += 1
    except DecordFailed as failure:
        if reader == "decord":
            raise IcfaceError(f"{path}: {failure}") from None
        yield from _pyav_frames(path, done)


class DecordFailed(Exception):
    """decord gave up."""


def _decord_frames(path: str | Path) -> Iterator[Frame]:
    # Imported when a clip is read: a process that forks after a reader was made hangs.
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        clip = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        for _ in range(len(clip)):
            yield clip.next().asnumpy()
    except (decord.DECORDError, RuntimeError, StopIteration) as error:
        raise DecordFailed(str(error).strip().splitlines()[-1]) from None


def _without_repeats(frames: Iterator[Frame], path: str | Path) -> Iterator[Frame]:
    """`frames` without the copies of the last one that decord makes up when fewer frames than packets decode.

    A clip may really end on equal frames; only then PyAV counts them.
    """
    last: Frame | None = None
    held = done = 0
    for frame in frames:
        if last is not None and _equal(frame, last):
            held += 1
            continue
        if last is not None:
            yield from repeat(last, held)
        yield frame
        done += held + 1
        last, held = frame, 0
    if held and last is not None:
        yield from repeat(last, min(held, max(0, _count(path) - done)))


def _equal(one: Frame, other: Frame) -> bool:
    # Nearly all neighbours differ in a few rows already.
    return np.array_equal(one[::16], other[::16]) and np.array_equal(one, other)


def _from(path: str | Path, start: int) -> Iterator[Frame]:
    """Every frame from `start` on."""
    return islice(read_pictures(path), start, None) if Path(path).is_dir() else _pyav_frames(path, start)


def _pyav_frames(path: str | Path, start: int = 0) -> Iterator[Frame]:
    with _open(path) as container:
        for frame in islice(_decoded(container), start, None):
            picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            yield np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90))) if frame.rotation else picture


def _is_cut_off(path: str | Path) -> bool:
    """Whether the index at the front of the file points beyond its end."""
    if Path(path).is_dir():
        return False
    size = Path(path).stat().st_size
    with _open(path) as container:
        return any(entry.pos + entry.size > size for entry in container.streams.video[0].index_entries)


def _count(path: str | Path) -> int:
    with _open(path) as container:
        return sum(1 for _ in _decoded(container))


def _decoded(container: InputContainer) -> Iterator[av.VideoFrame]:
    """Frames in order; a packet that does not decode is passed over, an unreadable rest of the file ends it."""
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            break
        if packet.is_corrupt:  # half a packet at the end of a cut-off file decodes to half a picture
            continue
        with suppress(av.FFmpegError):
            yield from packet.decode()
    with suppress(av.FFmpegError):
        yield from stream.codec_context.decode(None)


@contextmanager
def _open(path: str | Path) -> Iterator[InputContainer]:
    if not Path(path).is_file():
        raise IcfaceError(f"{path} is not a file")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise IcfaceError(f"{path} cannot be read as a video: {_reason(error)}") from None
    with container:
        if not container.streams.video:
            raise IcfaceError(f"{path} has no video stream")
        yield container


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def _info(container: InputContainer, path: str | Path) -> VideoInfo:
    stream = container.streams.video[0]
    rate = stream.average_rate or stream.guessed_rate
    seconds = 0.0
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        seconds = container.duration / av.time_base
    if not rate or rate <= 0 or rate > 1000 or not stream.width or not stream.height:
        raise IcfaceError(f"{path}: the header makes no sense (rate {rate}, {stream.width}x{stream.height})")
    frames = stream.frames or round(seconds * float(rate))
    width, height = stream.width, stream.height
    if _rotation(path) % 180:
        width, height = height, width
    return VideoInfo(
        fps=float(rate), width=width, height=height, frames=frames, seconds=seconds or frames / float(rate)
    )


def _rotation(path: str | Path) -> int:
    """Degrees by which the header asks to turn the frames; known once a frame is decoded."""
    with _open(path) as container:
        for frame in _decoded(container):
            return frame.rotation
    return 0
