"""A clip's container: which stream is the video, when its frames are shown, and the decoded frames in order."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from icface.errors import IcfaceError, first_line
from icface.video.display import Display, display_of

NEVER_SHOWN = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
"""Streams that no player plays: covers and thumbnails."""
DEFAULT_PIXELS = 5_000_000
"""What the mark `default` counts in FFmpeg's choice between streams, in pixels of a frame."""
SAME_RATE = 0.005
"""A header's rate this close to the measured one is the exact value of it."""
FASTEST = 1000.0
"""Frames a second above which a header is damaged."""
JOINS = 0x0200
"""FFmpeg's mark of containers (MPEG-TS, MPEG-PS) whose clock may start again where recordings were joined."""
BACKWARD, FORWARD = 0.1, 10.0
"""Seconds by which such a clock may jump before there was a join, as in FFmpeg."""
STEP = 1e-3
"""Seconds: a frame that claims to be shown no later than the one before is shown this much later at least."""


@dataclass(frozen=True)
class Survey:
    """What one pass over a clip's packets tells; only its first frame is decoded."""

    stream: int
    """Which of the container's video streams it is, from 0."""
    alone: bool
    """Whether it is the only video stream, covers included."""
    format: str
    """Of the container, as FFmpeg calls it."""
    codec: str
    times: tuple[float, ...]
    """Presentation times of the frames whose packets tell them, ascending, seconds on the file's own clock."""
    packets: int
    """Packets whose frames are shown: those that an edit list skips are not."""
    skipped: int
    """Packets that an edit list skips."""
    missing: int
    """Packets that the index lists beyond the end of the file."""
    origin: float
    """The file's clock when a player starts, seconds."""
    fps: float
    """Average frames a second."""
    seconds: float
    """From the first frame to the end of the last."""
    display: Display
    """How a player turns decoded frames into pictures."""


def survey(path: str | Path) -> Survey:
    """The survey of a file, kept for the last few: all packets are read, and one frame is decoded.

    Raises IcfaceError when the file is missing, no video, has no frame that decodes, or cannot be shown rightly.
    """
    file = Path(path)
    if not file.is_file():
        raise IcfaceError(f"{path} is not a file")
    state = file.stat()
    return _survey(str(path), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _survey(path: str, changed: int, size: int) -> Survey:
    """The arguments beside `path` make a changed file another one."""
    with open_video(path) as container:
        stream = choose_stream(container, path)
        number, name = container.streams.video.index(stream), stream.codec_context.name
    with open_video(path) as container:
        stream = _stream(container, number)
        missing = sum(entry.pos + entry.size > size for entry in stream.index_entries)
        display: Display | None = None
        times: list[tuple[Fraction, Fraction]] = []
        packets = skipped = untimed = 0
        for packet in _packets(container, stream):
            if packet.has_sidedata("encryption_info"):
                # Not left to the decoder: it takes one in twenty of such packets for a picture, of noise.
                raise IcfaceError(f"{path}: it is encrypted; decrypt it before icface reads it")
            if display is None:
                for frame in _frames_of(packet):
                    display = display_of(frame, stream.sample_aspect_ratio, path)
                    break
            if packet.is_discard or packet.is_corrupt:
                skipped += packet.is_discard
                continue
            packets += 1
            stamp = packet.dts if _in_order(container) or packet.pts is None else packet.pts
            if stamp is None:
                untimed += not times
            else:
                times.append((stamp * packet.time_base, (packet.duration or 0) * packet.time_base))
        if display is None:
            for frame in _rest(stream):
                display = display_of(frame, stream.sample_aspect_ratio, path)
                break
        if display is None:
            raise IcfaceError(f"{path}: no frame can be decoded; the clip is damaged")
        times.sort()
        fps = _rate(stream, times, path)
        first = float(times[0][0]) - untimed / fps if times else 0.0
        last = float(sum(times[-1])) if times else 0.0
        start = (container.start_time or 0) / av.time_base
        return Survey(
            stream=number,
            alone=len(container.streams.video) == 1,
            format=container.format.name,
            codec=name,
            times=tuple(float(time) for time, _ in times),
            packets=packets,
            skipped=skipped,
            missing=missing,
            origin=min(first, max(start, 0.0)),
            fps=fps,
            seconds=max(last - first, 1 / fps) if times else packets / fps,
            display=display,
        )


def choose_stream(container: InputContainer, path: str | Path) -> VideoStream:
    """The stream that FFmpeg would show: of those that move, the default or else the largest one; never a cover.

    Raises IcfaceError when there is none.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & NEVER_SHOWN]
    if not streams:
        only = "only a cover picture" if container.streams.video else "no video stream"
        raise IcfaceError(f"{path} has {only}")
    if len(streams) == 1:
        return streams[0]
    packets: Counter[int] = Counter()
    with suppress(av.FFmpegError):
        for packet in container.demux(streams):
            packets[packet.stream_index] += packet.size > 0

    def rank(stream: VideoStream) -> tuple[bool, int, int]:
        pixels = stream.width * stream.height + DEFAULT_PIXELS * bool(stream.disposition & Disposition.default)
        return packets[stream.index] > 1, pixels, -stream.index

    return max(streams, key=rank)


def decoded_frames(path: str | Path) -> Iterator[tuple[float, av.VideoFrame]]:
    """Every frame that a player shows, once and in order, and when: seconds from the start of the file.

    A packet that does not decode is passed over; an unreadable rest of the file ends it. A frame without a time comes
    one average step after the frame before it. Raises IcfaceError as `survey` does.
    """
    known = survey(path)
    step = 1 / known.fps
    last: float | None = None
    with open_video(path) as container:
        stream = _stream(container, known.stream)
        in_order = _in_order(container)
        for number, frame in enumerate(_all_frames(container, stream)):
            stamp = frame.pts if frame.pts is not None else frame.dts
            if in_order and number < len(known.times):
                time = known.times[number] - known.origin
            elif stamp is not None:
                # Frames that the decoder held back to the end come without a time base of their own.
                time = float(stamp * (stream.time_base or 1)) - known.origin
            elif last is None:
                time = 0.0
            else:
                time = last + step
            if last is not None and time <= last:
                time = last + STEP
            last = time
            yield time, frame


@contextmanager
def open_video(path: str | Path) -> Iterator[InputContainer]:
    """The container of a file. Raises IcfaceError when it is missing, unreadable or without video."""
    if not Path(path).is_file():
        raise IcfaceError(f"{path} is not a file")
    try:
        # Some names have meaning to FFmpeg (`concat:`, `http:`, `%d`); a path that starts with ./ or / is a file.
        container = av.open(str(Path(path).absolute()))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise IcfaceError(f"{path} cannot be read as a video: {_instead(Path(path)) or _reason(error)}") from None
    with container:
        if not container.streams.video:
            raise IcfaceError(f"{path} has no video stream")
        yield container


def _stream(container: InputContainer, number: int) -> VideoStream:
    stream = container.streams.video[number]
    stream.codec_context.thread_count = 1
    return stream


def _in_order(container: InputContainer) -> bool:
    """Whether the container has no presentation times, and FFmpeg's guess of them is wrong for reordered frames. AVI's
    packets come in even steps, and the frames are shown at those, one after another."""
    return container.format.name == "avi"


def _all_frames(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    for packet in _packets(container, stream):
        if not packet.is_corrupt:  # half a packet at the end of a cut-off file decodes to half a picture
            yield from _frames_of(packet)
    yield from _rest(stream)


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """The packets of a stream, without the empty one that flushes; an unreadable rest of the file ends them.

    Where recordings were joined, the clock goes on: see `_joined`.
    """
    packets = _readable(container, stream)
    return _joined(packets) if int(container.format.flags) & JOINS else packets


def _joined(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """The packets with the times that a player gives them: where the clock jumps, one step after the packet before."""
    offset, last, step = 0, None, 0
    for packet in packets:
        stamp = packet.dts
        if stamp is not None and packet.time_base:
            if last is not None:
                jump = float((stamp + offset - last) * packet.time_base)
                if not -BACKWARD <= jump <= FORWARD:
                    offset = last + step - stamp
                elif jump > 0:
                    step = stamp + offset - last
            last = stamp + offset
            if offset:
                packet.dts = stamp + offset
                packet.pts = None if packet.pts is None else packet.pts + offset
        yield packet


def _readable(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        if packet.size:
            yield packet


def _frames_of(packet: av.Packet) -> list[av.VideoFrame]:
    try:
        return packet.decode()
    except av.FFmpegError:
        return []


def _rest(stream: VideoStream) -> list[av.VideoFrame]:
    """The frames that the decoder holds back for reordering."""
    try:
        return stream.codec_context.decode(None)
    except av.FFmpegError:
        return []


def _rate(stream: VideoStream, times: list[tuple[Fraction, Fraction]], path: str | Path) -> float:
    """Average frames a second: measured, or the header's where that is the same or nothing can be measured."""
    said = float(stream.average_rate or stream.guessed_rate or 0)
    seconds = float(times[-1][0] - times[0][0]) if len(times) > 1 else 0.0
    rate = (len(times) - 1) / seconds if seconds > 0 else said
    if said > 0 and abs(said - rate) <= SAME_RATE * rate:
        rate = said
    if not 0 < rate <= FASTEST:
        raise IcfaceError(f"{path}: the header makes no sense (rate {rate:g}, {stream.width}x{stream.height})")
    return rate


def _instead(path: Path) -> str:
    """What a file is that only has a video's name; empty when it cannot be told."""
    with path.open("rb") as file:
        head = file.read(256).lstrip().lower()
    if not head:
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; `git lfs pull` fetches the video"
    if head.startswith((b"<!doctype html", b"<html")):
        return "it is a web page; download the video again"
    return ""


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)
