"""Small clips of every kind of footage, made by PyAV with known marks.

A frame has a white bar as long as the frame's number says (order), a red block at the top left, a green one at the
bottom right (position), and a skin-coloured ground (colour). Their times are what they were made with.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT, COUNT = 96, 64, 12
GROUND = np.array([200, 140, 110])
RED, GREEN, WHITE = np.array([220, 30, 30]), np.array([30, 170, 50]), np.array([235, 235, 235])
LUMINANCE = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}
TAGS = {"601": 6, "709": 1}


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(H, W, 3) of frame `number`; blocks of 16 pixels."""
    frame = np.empty((height, width, 3))
    frame[:] = GROUND
    frame[:16, :16] = RED
    frame[-16:, -16:] = GREEN
    frame[24:40, : 4 * (number + 1)] = WHITE
    return frame


def coded(frame: np.ndarray, matrix: str, full: bool, depth: int) -> np.ndarray:
    """(3, H, W) Y, Cb, Cr codes of RGB values, by the definitions in BT.601 and BT.709."""
    red_share, blue_share = LUMINANCE[matrix]
    red, green, blue = np.moveaxis(frame / 255, -1, 0)
    luma = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
    chroma = ((blue - luma) / (2 - 2 * blue_share), (red - luma) / (2 - 2 * red_share))
    step = 1 << (depth - 8)
    if full:
        top = (1 << depth) - 1
        return np.stack([luma * top, *(part * top + 128 * step for part in chroma)]).round()
    return np.stack([(16 + 219 * luma) * step, *((128 + 224 * part) * step for part in chroma)]).round()


@dataclass(frozen=True)
class Kind:
    """How a clip is made."""

    suffix: str = ".mp4"
    codec: str = "libx264"
    pixels: str = "yuv420p"
    matrix: str = "601"
    full: bool = False
    tagged: bool = True
    size: tuple[int, int] = (WIDTH, HEIGHT)
    steps: tuple[int, ...] = (40,) * COUNT
    """Milliseconds that each frame is shown."""
    options: dict[str, str] = field(default_factory=dict)
    format_options: dict[str, str] = field(default_factory=dict)
    aspect: Fraction | None = None
    matrix9: tuple[int, ...] | None = None
    """The first four numbers of a display matrix: a, b, c, d."""
    interlaced: bool = False
    before: Callable[[Any], Callable[[], None]] | None = None
    """Adds a stream before the video's, and returns what writes its frames."""
    default: bool = False
    start: int = 0
    """Milliseconds on the file's clock at which the first frame is shown."""

    @property
    def times(self) -> list[float]:
        return [float(time) for time in np.cumsum([0, *self.steps[:-1]]) / 1000]


def planes(frame: av.VideoFrame, values: np.ndarray, depth: int) -> None:
    """Fill the planes of a YUV frame from codes of full size, chroma averaged."""
    kind = np.uint16 if depth > 8 else np.uint8
    for plane, channel in zip(frame.planes, values, strict=False):
        across, down = -(-channel.shape[1] // plane.width), -(-channel.shape[0] // plane.height)
        # An odd side's last column and row belong to a block of their own.
        padded = np.pad(channel, ((0, -channel.shape[0] % down), (0, -channel.shape[1] % across)), mode="edge")
        small = padded.reshape(plane.height, down, plane.width, across).mean(axis=(1, 3)).round()
        rows = np.zeros((plane.height, plane.line_size // kind().itemsize), kind)
        rows[:, : plane.width] = small
        plane.update(rows.tobytes())


def made(kind: Kind, path: Path) -> Path:
    depth = 10 if "10" in kind.pixels else 8
    width, height = kind.size
    with av.open(str(path), "w", options=kind.format_options) as out:
        others = kind.before(out) if kind.before else None
        stream = out.add_stream(kind.codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, kind.pixels
        ticks = 25 if kind.codec == "mpeg2video" else 1000
        stream.time_base = stream.codec_context.time_base = Fraction(1, ticks)
        stream.options = {"crf": "4", "qscale": "1", "preset": "fast", **kind.options}
        if kind.codec in ("mpeg4", "mjpeg"):
            stream.codec_context.qmin, stream.codec_context.qmax = 1, 2
        if kind.tagged:
            stream.codec_context.colorspace = TAGS[kind.matrix]
            stream.codec_context.color_range = 2 if kind.full else 1
        if kind.aspect:
            stream.codec_context.sample_aspect_ratio = kind.aspect
        if kind.matrix9:
            a, b, c, d = (value << 16 for value in kind.matrix9)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        if kind.before:
            stream.disposition = av.stream.Disposition.default if kind.default else av.stream.Disposition(0)
        if others:
            others()
        clock = kind.start
        for number, step in enumerate(kind.steps):
            shown = picture(number, width, height)
            if kind.codec == "qtrle":
                rgba = np.dstack([shown, np.full((height, width, 1), 255)]).astype(np.uint8)
                rgba[-8:, :8, 3] = 0
                frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="argb")
            else:
                frame = av.VideoFrame(width, height, kind.pixels)
                planes(frame, coded(shown, kind.matrix, kind.full, depth), depth)
                if kind.tagged:
                    frame.colorspace, frame.color_range = TAGS[kind.matrix], 2 if kind.full else 1
            frame.pts, frame.time_base = clock * ticks // 1000, Fraction(1, ticks)
            out.mux(stream.encode(frame))
            clock += step
        out.mux(stream.encode())
    return path


def grey_stream(width: int, height: int, count: int, cover: bool = False) -> Callable[[Any], Callable[[], None]]:
    """A stream beside the video: `count` grey frames."""

    def add(out: Any) -> Callable[[], None]:
        stream = out.add_stream("mjpeg" if cover else "libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p" if cover else "yuv420p"
        stream.disposition = av.stream.Disposition.attached_pic if cover else av.stream.Disposition(0)

        def write() -> None:
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 90, np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode())

        return write

    return add


def hdr_clip(path: Path, transfer: int, nits: list[float]) -> Path:
    """Grey stripes of so many nits on a screen of 1000 nits, BT.2020, 10 bit, limited range."""
    levels = np.array(nits)
    if transfer == 16:
        powered = (levels / 10000) ** (2610 / 16384)
        codes = ((3424 / 4096 + 2413 / 128 * powered) / (1 + 2392 / 128 * powered)) ** (2523 / 32)
    else:
        scene = (levels / 1000) ** (1 / 1.2)
        codes = np.where(
            scene <= 1 / 12,
            np.sqrt(3 * scene),
            0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073,
        )
    luma = np.repeat((64 + 876 * codes).round(), 16)
    values = np.stack([np.tile(luma, (64, 1)), np.full((64, len(luma)), 512), np.full((64, len(luma)), 512)])
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx265", rate=25)
        stream.width, stream.height, stream.pix_fmt = len(luma), 64, "yuv420p10le"
        stream.options = {"crf": "1", "x265-params": "log-level=none"}
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, transfer, 1
        for number in range(3):
            frame = av.VideoFrame(len(luma), 64, "yuv420p10le")
            planes(frame, values, 10)
            frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 9, 9, transfer, 1
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path
