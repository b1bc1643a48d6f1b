"""Frames of a camera, or of a file that is played as if it were one: at its own speed, late frames left out."""

import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np

from icface.arrays import Picture
from icface.errors import IcfaceError
from icface.video.reading import read_windows


@dataclass(frozen=True)
class LiveFrame:
    """A picture, and when it was taken."""

    seconds: float
    """Since the first one."""
    index: int
    """Frames since the first one, those that were left out included."""
    picture: Picture
    """(H, W, 3) uint8 RGB."""


def is_camera(name: str) -> bool:
    """Whether a driver's name means a camera of this machine.

    >>> is_camera("camera:0"), is_camera("/dev/video2"), is_camera("camera.mp4")
    (True, True, False)
    """
    return _number(name) is not None


def camera_frames(name: str, clock: Callable[[], float] = time.monotonic) -> Generator[LiveFrame, None, None]:
    """Frames of the camera `camera:N` or /dev/videoN until the consumer stops.

    Raises IcfaceError when there is none, it is taken, or it stops giving frames.
    """
    number = _number(name)
    if number is None:
        raise ValueError(f"{name} is not a camera")
    camera = _opened(number)
    try:
        # What lies in the buffer is old: a slow consumer wants the newest.
        with suppress(cv2.error):
            camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        start, index = None, 0
        while True:
            there, picture = camera.read() if camera.isOpened() else (False, None)
            if not there or picture is None:
                raise IcfaceError(
                    f"{name}: no camera answers there; see `ls /dev/video*`, and close other programs that use it"
                )
            now = clock()
            start = now if start is None else start
            yield LiveFrame(now - start, index, np.ascontiguousarray(picture[..., ::-1]))
            index += 1
    finally:
        camera.release()


def _opened(number: int) -> cv2.VideoCapture:
    """The device, without what OpenCV says of each of its ways to open one."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(number)
    finally:
        cv2.utils.logging.setLogLevel(level)


def played_frames(
    path: str,
    *,
    repeat: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[LiveFrame]:
    """A file's frames when their time has come; those that a slow consumer missed are left out.

    `repeat` begins again at the end. Raises IcfaceError when the file cannot be read.
    """
    start = clock()
    ends, index = 0.0, 0
    while True:
        held: LiveFrame | None = None
        first: float | None = None
        step = 0.04
        for window in read_windows(path, window=8):
            for seconds, picture in zip(window.times, window.frames, strict=True):
                first = seconds if first is None else first
                at = ends + seconds - first
                step = at - held.seconds if held is not None and at > held.seconds else step
                # The one before is late when this one's time has come too.
                if held is not None and clock() - start < at:
                    sleep(max(0.0, held.seconds - (clock() - start)))
                    yield held
                held = LiveFrame(at, index, picture.copy())
                index += 1
        if held is None:
            return
        sleep(max(0.0, held.seconds - (clock() - start)))
        yield held
        if not repeat:
            return
        ends = held.seconds + step


def _number(name: str) -> int | None:
    match = re.fullmatch(r"camera:(\d+)|/dev/video(\d+)", name)
    return None if match is None else int(match[1] or match[2] or 0)
