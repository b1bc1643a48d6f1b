"""Writing clips that play in a browser: H.264 in an mp4, VP9 in a webm, both with sound, and GIF."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from PIL import Image

from icface.arrays import Picture
from icface.errors import IcfaceError
from icface.files import replacing
from icface.provenance import Mark, mark_gif, mark_mp4
from icface.video.container import survey

LEAST_MS = 20
"""Milliseconds that a GIF shows a frame at least: players slow down what is faster."""
SOUND_RATE = 48_000
"""Samples a second of written sound."""
SILENCE = 0.1
"""Seconds: a gap in the sound that is shorter is closed up. Clocks of films are not exact."""
TICK = Fraction(1, 1000)
"""Seconds: the clock of videos whose frames come unevenly."""


@dataclass(frozen=True, kw_only=True)
class Sound:
    """The sound of a clip, from `start` seconds on."""

    path: str | Path
    start: float = 0.0

    @classmethod
    def of(cls, path: str | Path, start: float = 0.0) -> "Sound | None":
        """The sound of a file; None when it has none or is not a clip."""
        try:
            with av.open(_file(path)) as container:
                return cls(path=path, start=start) if container.streams.audio else None
        except (av.FFmpegError, OSError, ValueError):
            return None

    def frames(self, seconds: float) -> Iterator[av.AudioFrame]:
        """So many seconds of it, 48 kHz stereo. Silence stands where it has not begun, or does not decode."""
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SOUND_RATE)
        written = 0.0
        with av.open(_file(self.path)) as container:
            zero = _origin(self.path, container) + self.start
            for packet in container.demux(container.streams.audio[0]):
                decoded: list[av.AudioFrame] = []
                with suppress(av.FFmpegError):
                    decoded = [frame for frame in packet.decode() if isinstance(frame, av.AudioFrame)]
                for frame in decoded:
                    at = written if frame.time is None else frame.time - zero
                    if at < -1e-3:
                        continue
                    if at >= seconds:
                        return
                    parts = list(resampler.resample(frame))
                    if at - written > SILENCE:
                        parts.insert(0, _silence(at - written))
                    for part in parts:
                        part.pts = None  # counted from 0 by the encoder
                        written += part.samples / SOUND_RATE
                        yield part


def _origin(path: str | Path, container: InputContainer) -> float:
    """The file's clock when a player starts, seconds."""
    try:
        return survey(path).origin
    except IcfaceError:  # sound without a picture
        return max(0.0, (container.start_time or 0) / av.time_base)


def _silence(seconds: float) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(
        np.zeros((2, round(seconds * SOUND_RATE)), np.float32), format="fltp", layout="stereo"
    )
    frame.sample_rate = SOUND_RATE
    return frame


def _file(path: str | Path) -> str:
    """As FFmpeg takes it for a file, whatever it is called: a colon in a relative name would be a protocol's."""
    return str(Path(path).absolute())


def write_video(
    path: str | Path,
    frames: Iterable[Picture],
    fps: float,
    crf: int = 18,
    times: Sequence[float] | None = None,
    sound: Sound | None = None,
    mark: Mark | None = None,
) -> Path:
    """Write frames (H, W, 3) uint8 RGB as H.264, yuv420p, index first, so that a browser plays it at once.

    A `path` that ends in .webm gets VP9 and Opus instead. `sound`: what is heard, as long as frames are shown;
    `mark`: what the file says of its making.

    `times`: seconds at which each frame is shown, from 0, ascending; without them they come at `fps`. `crf` is x264's
    quality, 0 (lossless) to 51. An odd height or width is made even by repeating the last row or column, which yuv420p
    demands. The file appears when it is complete, with the permissions that the umask asks for. Returns `path`.

    Raises IcfaceError when there is no frame, frames differ in size or the folder cannot be written.
    """
    first, rest = _first(frames, path)
    height, width = first.shape[:2]
    webm = Path(path).suffix.lower() == ".webm"
    options = {} if webm else {"movflags": "+faststart"}
    with (
        _replacing(path, ".webm" if webm else ".mp4") as temporary,
        av.open(_file(temporary), "w", options=options) as out,
    ):
        stream = out.add_stream("libvpx-vp9" if webm else "libx264", rate=Fraction(fps).limit_denominator(65535))
        if webm and mark is not None:
            out.metadata.update(mark.tags())
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        quick = {"deadline": "realtime", "cpu-used": "6", "b": "0"} if webm else {"preset": "medium"}
        stream.options = {"crf": str(crf), "threads": "2", **quick}
        heard = None if sound is None else out.add_stream("libopus" if webm else "aac", rate=SOUND_RATE)
        shown = 0
        if times is not None:
            stream.time_base = stream.codec_context.time_base = TICK
        for number, frame in enumerate(chain([first], rest)):
            _check(frame, first.shape, path)
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            if times is not None:
                picture.pts, picture.time_base = round(times[number] / TICK), TICK
            out.mux(stream.encode(picture))
            shown = number + 1
        out.mux(stream.encode())
        if sound is not None and heard is not None:
            length = shown / fps if times is None else times[shown - 1] + 1 / fps
            for part in sound.frames(length):
                out.mux(heard.encode(part))
            out.mux(heard.encode())
        # Closed here: the mark stands behind all that the container writes.
        out.close()
        if mark is not None and not webm:
            mark_mp4(temporary, mark)
    return Path(path)


def write_gif(
    path: str | Path,
    frames: Iterable[Picture],
    fps: float,
    times: Sequence[float] | None = None,
    mark: Mark | None = None,
) -> Path:
    """Write frames (H, W, 3) uint8 RGB as a GIF that loops for ever (at most 50 frames/s: players slow down above).

    `times`: seconds at which each frame is shown; without them they come at `fps`. `mark`: what the file says of its
    making. Returns `path`. Raises IcfaceError as `write_video` does.
    """
    first, rest = _first(frames, path)
    pictures = []
    for frame in chain([first], rest):
        _check(frame, first.shape, path)
        pictures.append(Image.fromarray(frame).quantize(colors=256))
    shown: int | list[int] = max(LEAST_MS, round(1000 / fps))
    if times is not None:
        steps = np.diff([*times, times[-1] + 1 / fps])
        shown = [max(LEAST_MS, round(1000 * step)) for step in steps]
    with _replacing(path, ".gif") as temporary:
        pictures[0].save(temporary, save_all=True, append_images=pictures[1:], duration=shown, loop=0)
        if mark is not None:
            mark_gif(temporary, mark)
    return Path(path)


def _first(frames: Iterable[Picture], path: str | Path) -> tuple[Picture, Iterator[Picture]]:
    iterator = iter(frames)
    try:
        return next(iterator), iterator
    except StopIteration:
        raise IcfaceError(f"{path}: there is no frame to write") from None


def _check(frame: Picture, shape: tuple[int, ...], path: str | Path) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"a frame must be (H, W, 3) uint8, not {frame.shape} {frame.dtype}")
    if frame.shape != shape:
        raise IcfaceError(f"{path}: frames of {shape[1]}x{shape[0]} and {frame.shape[1]}x{frame.shape[0]} do not mix")


@contextmanager
def _replacing(path: str | Path, extension: str) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well, and is removed otherwise."""
    try:
        with replacing(path, extension) as temporary:
            temporary.touch()
            yield temporary
    except OSError as error:
        raise IcfaceError(f"{path} cannot be written: {error.strerror or error}") from None
