"""The analyzer of another process, as the process that reads clips sees it: frames go out, faces come back."""

import mmap
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from icface.analyzers.face import Analyzer, Face
from icface.errors import IcfaceError
from icface.video.reading import Window


class SharedMemory:
    """A file in memory that two processes see: one window of frames, or what was found in one."""

    def __init__(self, descriptor: int | None = None) -> None:
        """`descriptor`: of the memory that another process made; by default it is made."""
        self.descriptor = os.memfd_create("icface-frames") if descriptor is None else descriptor
        self._map: mmap.mmap | None = None

    def view(self, size: int) -> memoryview:
        """Its first `size` bytes; it grows when it is smaller."""
        if os.fstat(self.descriptor).st_size < size:
            os.ftruncate(self.descriptor, size)
        if self._map is None or len(self._map) < size:
            # Views of the old mapping keep it alive.
            self._map = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)
        return memoryview(self._map)[:size]

    def close(self) -> None:
        """Give it back to the system."""
        self._map = None
        os.close(self.descriptor)


class DistantAnalyzer:
    """Follows `icface.analyzers.face.Analyzer`; `hand_over` is for those who go on meanwhile."""

    def __init__(self, about: dict[str, Any], memory: SharedMemory, ask: Callable[[dict[str, Any]], dict[str, Any]]):
        """`about`: see `analysis.Analysis`; `ask`: says something to the other process and returns its answer."""
        self.name: str = about["name"]
        self.fingerprint: str = about["fingerprint"]
        self.measures = frozenset(about["measures"])
        self.batch_size: int = about["batch_size"]
        self._memory, self._ask = memory, ask

    def hand_over(self, frames: npt.NDArray[np.uint8], frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        """Hand over a window; returns the faces of the one that was handed over before, none the first time."""
        np.frombuffer(self._memory.view(frames.nbytes), np.uint8).reshape(frames.shape)[...] = frames
        return self._faces({"window": list(frames.shape), "indices": list(frame_indices), "clip": clip})

    def collect(self) -> list[list[Face]]:
        """The faces of the last window."""
        return self._faces({"window": None})

    def analyze(self, frames: npt.NDArray[np.uint8], frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        """Faces of each frame (N, H, W, 3) uint8 RGB, largest first."""
        self.hand_over(frames, frame_indices, clip)
        return self.collect()

    def close(self) -> None:
        """There is nothing to give back: the other process has the analyzer."""

    def _faces(self, request: dict[str, Any]) -> list[list[Face]]:
        answer = self._ask(request)
        if "error" in answer:
            raise IcfaceError(answer["error"])
        # Our parent wrote it.
        found: list[list[Face]] = pickle.loads(self._memory.view(answer["faces"]))  # noqa: S301
        return found


def analysed(
    analyzer: Analyzer, windows: Iterator[Window], clip: str
) -> Iterator[tuple[Window, Callable[[], list[list[Face]]]]]:
    """Each window, and what returns the faces of its frames: to be called before the next one is asked for.

    Where another process measures, the next window is decoded meanwhile. Errors are raised where they would be raised
    without that: a window that cannot be read comes after the faces of those before it.
    """
    if not isinstance(analyzer, DistantAnalyzer):
        for window in windows:
            yield window, partial(analyzer.analyze, window.frames, window.indices, clip)
        return
    before: Window | None = None
    while True:
        unreadable: IcfaceError | None = None
        try:
            following = next(windows, None)
        except IcfaceError as error:
            following, unreadable = None, error
        if before is not None:
            yield before, analyzer.collect if following is None else _handing_over(analyzer, following, clip)
        elif following is not None:
            analyzer.hand_over(following.frames, following.indices, clip)
        if unreadable is not None:
            raise unreadable
        if following is None:
            return
        before = following


def _handing_over(analyzer: DistantAnalyzer, window: Window, clip: str) -> Callable[[], list[list[Face]]]:
    return partial(analyzer.hand_over, window.frames, window.indices, clip)


class WindowServer:
    """The other side of a `DistantAnalyzer`, for one clip: windows go to an `analysis.Analysis`, one at a time."""

    def __init__(self, analysis: Any, memory: SharedMemory, seconds: float) -> None:
        """`seconds`: longest wait for the faces of a window."""
        self._analysis, self._memory, self._seconds = analysis, memory, seconds
        self._ticket: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Begin with the window that is handed over, and answer with the faces of the one before."""
        before, self._ticket = self._ticket, None
        if request["window"] is not None:
            shape = request["window"]
            frames = np.frombuffer(self._memory.view(int(np.prod(shape))), np.uint8).reshape(shape)
            self._ticket = self._analysis.begin(frames, request["indices"], request["clip"])
        try:
            found = [] if before is None else self._analysis.faces(before, self._seconds)
        except IcfaceError as error:
            return {"error": str(error)}
        # Only this process writes into the memory until it has answered.
        content = pickle.dumps(found, protocol=pickle.HIGHEST_PROTOCOL)
        self._memory.view(len(content))[:] = content
        return {"faces": len(content)}
