"""From decoded frames to what a player shows: upright, square pixels, whole frames of fields, SDR, no transparency."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt

from icface.errors import IcfaceError
from icface.image_modes import GROUND
from icface.video.hdr import TRANSFERS, tone_map_graph

SQUARE = 0.005
"""Pixels whose sides differ by less than this share are square: rounding in a header."""
LONGEST_PIXEL = 8.0
"""Ratio of a pixel's sides above which a header is damaged."""
SDR_TRANSFERS = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 15})
"""FFmpeg's numbers of transfer functions that a screen shows without conversion: gamma curves, and unspecified."""
MATRICES = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 9})
"""FFmpeg's numbers of the colour matrices that swscale converts to RGB."""
NAMES = {8: "YCgCo", 10: "BT.2020 of constant luminance", 14: "ICtCp", 15: "Dolby Vision's IPT"}


@dataclass(frozen=True)
class Display:
    """How a player shows the frames of a stream."""

    width: int
    """Of the pictures, pixels: square ones, turned upright."""
    height: int
    square: tuple[int, int]
    """Width and height of a frame with square pixels, before it is turned."""
    stretched: bool = False
    """Whether the pixels of a frame are not square."""
    turn: tuple[bool, bool, bool] = (False, False, False)
    """Whether rows and columns change places, then whether the rows are reversed, then whether the columns are."""
    interlaced: bool = False
    hdr: str | None = None
    """`pq` or `hlg`."""
    alpha: bool = False
    pixels: str = "yuv420p"
    """FFmpeg's name of the pixel format."""

    @property
    def plain(self) -> bool:
        """Whether a decoded frame converted to RGB is the picture already."""
        return not (any(self.turn) or self.stretched or self.interlaced or self.hdr or self.alpha)


def display_of(frame: av.VideoFrame, aspect: Fraction | None, path: str | Path) -> Display:
    """How to show frames like this one; `aspect`: width of a pixel over its height, None or 0 where unknown.

    Raises IcfaceError that names colours which cannot be converted, or an aspect that makes no sense.
    """
    if int(frame.colorspace) not in MATRICES:
        known = NAMES.get(int(frame.colorspace), f"matrix {int(frame.colorspace)}")
        raise IcfaceError(f"{path}: its colours are coded as {known}, which cannot be read; convert it to BT.709 first")
    transfer = int(frame.color_trc)
    if transfer not in SDR_TRANSFERS and transfer not in TRANSFERS:
        raise IcfaceError(f"{path}: its transfer function ({transfer}) cannot be shown; convert it to BT.709 first")
    ratio = float(aspect or 1)
    if not 1 / LONGEST_PIXEL <= ratio <= LONGEST_PIXEL:
        raise IcfaceError(f"{path}: the header makes no sense (pixels {ratio:g} times as wide as high)")
    width, height = frame.width, frame.height
    stretched = abs(ratio - 1) > SQUARE
    if stretched:  # the side that is too short grows, so that no detail is lost
        width, height = (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))
    turn = _turn(frame)
    return Display(
        width=height if turn[0] else width,
        height=width if turn[0] else height,
        square=(width, height),
        turn=turn,
        interlaced=bool(frame.interlaced_frame),
        hdr=TRANSFERS.get(transfer),
        alpha=_has_alpha(frame),
        pixels=frame.format.name,
        stretched=stretched,
    )


def pictures(
    frames: Iterable[tuple[float, av.VideoFrame]], display: Display
) -> Iterator[tuple[float, npt.NDArray[np.uint8]]]:
    """(H, W, 3) uint8 RGB of each frame as a player shows it, with its time.

    Interlaced frames are deinterlaced (bwdif, one picture a frame). HDR is tone-mapped, see `icface.video.hdr`.
    Transparent parts show `icface.image_modes.GROUND`.
    """
    if display.interlaced:
        frames = _through(frames, _deinterlacer)
    if display.hdr is not None:
        wide = ((time, frame.reformat(format="gbrp16le")) for time, frame in frames)
        frames = _through(wide, partial(tone_map_graph, transfer=display.hdr))
    for time, frame in frames:
        yield time, _oriented(_rgb(frame, display), display.turn)


def _rgb(frame: av.VideoFrame, display: Display) -> npt.NDArray[np.uint8]:
    if display.stretched:
        width, height = display.square
        frame = frame.reformat(width, height, "rgba" if display.alpha else "rgb24", interpolation="BICUBIC")
    if not display.alpha:
        return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    rgba = frame.to_ndarray(format="rgba").astype(np.uint16)
    share = rgba[..., 3:]
    return ((rgba[..., :3] * share + GROUND * (255 - share) + 127) // 255).astype(np.uint8)


def _oriented(picture: npt.NDArray[np.uint8], turn: tuple[bool, bool, bool]) -> npt.NDArray[np.uint8]:
    swap, rows, columns = turn
    if swap:
        picture = picture.transpose(1, 0, 2)
    if rows:
        picture = picture[::-1]
    if columns:
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def _turn(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """The nearest of the eight turns and mirrorings to the display matrix of a frame.

    The matrix takes the place (x, y) of a pixel to (a x + c y, b x + d y), with y downwards.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    # PyAV's annotations call the values strings.
    a, b, _, c, d = (int(value) for value in np.frombuffer(cast(Any, matrix), np.int32)[:5])
    if max(abs(a), abs(d)) >= max(abs(b), abs(c)):
        return False, d < 0, a < 0
    return True, b < 0, c < 0


def _has_alpha(frame: av.VideoFrame) -> bool:
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


def _deinterlacer(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def _through(
    frames: Iterable[tuple[float, av.VideoFrame]], make: Callable[[av.VideoFrame], av.filter.Graph]
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Frames through a filter that gives one frame for each, in order."""
    graph: av.filter.Graph | None = None
    times: deque[float] = deque()
    shape = None
    for number, (time, frame) in enumerate(frames):
        if graph is None or shape != (frame.width, frame.height, frame.format.name):
            if graph is not None:
                yield from _drained(graph, times)
            graph, shape = make(frame), (frame.width, frame.height, frame.format.name)
        frame.pts, frame.time_base = 40 * number, Fraction(1, 1000)
        times.append(time)
        graph.push(frame)
        yield from _pulled(graph, times)
    if graph is not None:
        yield from _drained(graph, times)


def _drained(graph: av.filter.Graph, times: "deque[float]") -> Iterator[tuple[float, av.VideoFrame]]:
    graph.push(None)
    yield from _pulled(graph, times)


def _pulled(graph: av.filter.Graph, times: "deque[float]") -> Iterator[tuple[float, av.VideoFrame]]:
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        if isinstance(frame, av.VideoFrame):
            yield times.popleft(), frame
