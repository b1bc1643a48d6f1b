"""The frames of a clip by decord."""

from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np

from icface.arrays import Picture


class DecordFailed(Exception):
    """decord gave up."""


def decord_frames(path: str | Path, count: Callable[[], int]) -> Iterator[Picture]:
    """Every frame (H, W, 3) uint8 RGB in order, without the copies that decord makes up.

    decord repeats the last frame when fewer frames than packets decode. A clip may really end on equal frames; only
    then `count` is called, which says how many frames decode. Raises DecordFailed.
    """
    last: Picture | None = None
    held = done = 0
    for frame in _every_frame(path):
        if last is not None and _equal(frame, last):
            held += 1
            continue
        if last is not None:
            yield from repeat(last, held)
        yield frame
        done += held + 1
        last, held = frame, 0
    if held and last is not None:
        yield from repeat(last, min(held, max(0, count() - done)))


def _every_frame(path: str | Path) -> Iterator[Picture]:
    # Imported when a clip is read: a process that forks after a reader was made hangs.
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        clip = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        for _ in range(len(clip)):
            yield clip.next().asnumpy()
    except (decord.DECORDError, RuntimeError, StopIteration) as error:
        raise DecordFailed(str(error).strip().splitlines()[-1]) from None


def _equal(one: Picture, other: Picture) -> bool:
    # Nearly all neighbours differ in a few rows already.
    return np.array_equal(one[::16], other[::16]) and np.array_equal(one, other)
