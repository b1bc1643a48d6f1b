"""Faces measured in other processes than those that decode: Ray actors, each with its share of a GPU.

A process that reads a clip hands over one window of frames at a time and decodes the next one meanwhile. It waits
before it hands over a third, so that at most two windows of each process are held, whichever side is slower. An actor
sees the very windows that the process would have analysed itself: the rows are bit-identical.
"""

import os
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from icface.analyzers.face import Face
from icface.errors import IcfaceError
from pipelines.config import AnalysisConfig, PreprocessConfig
from pipelines.preprocess.clip_process import ONE_THREAD


class AnalysisLost(Exception):
    """No answer about a window: the process that looked at it died, hung, or failed in a way that nobody foresaw."""


class Analysis(Protocol):
    """Measures windows of frames for the processes that read clips."""

    about: dict[str, Any]
    """`name`, `fingerprint`, `measures` and `batch_size` of the analyzer."""

    def begin(self, frames: npt.NDArray[np.uint8], indices: list[int], clip: str) -> Any:
        """Start on frames (N, H, W, 3) uint8 RGB, which are copied, and return a ticket for `faces`."""
        ...

    def faces(self, ticket: Any, seconds: float) -> list[list[Face]]:
        """Faces of each frame. Raises IcfaceError as the analyzer does; AnalysisLost, after `seconds` at the latest."""
        ...


class AnalysisActor:
    """A Ray actor that measures faces, and does nothing else."""

    def __init__(self, config: PreprocessConfig) -> None:
        for name in ONE_THREAD:
            os.environ.setdefault(name, "1")
        import cv2

        cv2.setNumThreads(1)
        self.analyzer = config.create_analyzer()

    def about(self) -> dict[str, Any]:
        """See `Analysis.about`."""
        return about(self.analyzer)

    def analyze(self, frames: npt.NDArray[np.uint8], indices: list[int], clip: str) -> list[list[Face]] | str:
        """Faces of each frame, or why there are none; `frames` lie in Ray's shared memory and are read there."""
        try:
            return self.analyzer.analyze(frames, indices, clip)
        except IcfaceError as error:
            return str(error)


class ActorAnalysis:
    """Hands windows to actors in turn."""

    def __init__(self, actors: list[Any], about: dict[str, Any]) -> None:
        self.actors, self.about = actors, about
        self._turn: int | None = None

    def begin(self, frames: npt.NDArray[np.uint8], indices: list[int], clip: str) -> Any:
        """Start on frames (N, H, W, 3) uint8 RGB; returns a ticket for `faces`."""
        # Every process begins elsewhere, so that they do not queue at the same actor.
        self._turn = os.getpid() if self._turn is None else self._turn + 1
        actor = self.actors[self._turn % len(self.actors)]
        return actor, actor.analyze.remote(frames, indices, clip)

    def faces(self, ticket: Any, seconds: float) -> list[list[Face]]:
        """Faces of each frame. Raises IcfaceError as the analyzer does; AnalysisLost, after `seconds` at the latest."""
        import ray

        actor, reference = ticket
        try:
            found: list[list[Face]] | str = ray.get(reference, timeout=seconds)
        except ray.exceptions.GetTimeoutError:
            # It hangs, and would keep everybody waiting. Ray starts another one in its place.
            ray.kill(actor, no_restart=False)
            raise AnalysisLost(f"no answer after {seconds:g} s") from None
        except ray.exceptions.RayError as error:
            raise AnalysisLost(str(error).strip().splitlines()[-1]) from None
        if isinstance(found, str):
            raise IcfaceError(found)
        return found


def about(analyzer: Any) -> dict[str, Any]:
    """What `DistantAnalyzer` repeats of an analyzer."""
    names = ("name", "fingerprint", "batch_size")
    return {name: getattr(analyzer, name) for name in names} | {"measures": sorted(analyzer.measures)}


def start_actors(config: PreprocessConfig, resources: dict[str, float]) -> ActorAnalysis | None:
    """The actors that `config` asks for in a cluster of these `resources`, ready; None where there are none to be.

    Raises IcfaceError when the cluster has too few GPUs or the analyzer cannot be made.
    """
    import ray

    count = actor_count(config.analysis, resources.get("GPU", 0.0))
    if not count:
        return None
    # Their cores are left to them by `job`: Ray would else refuse to place one beside a worker on a small machine.
    made: Any = ray.remote(num_cpus=0, num_gpus=config.analysis.gpus, max_restarts=-1, scheduling_strategy="SPREAD")
    actors = [made(AnalysisActor).remote(config) for _ in range(count)]
    try:
        return ActorAnalysis(actors, ray.get([actor.about.remote() for actor in actors])[0])
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("icface.errors.IcfaceError: ")
        raise IcfaceError(f"the analyzer {config.analysis.analyzer} cannot be started: {reason}") from None


def actor_count(config: AnalysisConfig, gpus: float) -> int:
    """How many actors measure faces in a cluster with so many GPUs; 0: each worker measures its own.

    Raises IcfaceError when the GPUs do not suffice.
    """
    fitting = int(gpus / config.gpus + 1e-6) if config.gpus else 0
    count = config.analyzer_workers
    if config.gpus and fitting < max(1, count or 0):
        wanted = f"{count} analyzer workers with {config.gpus:g} GPUs each" if count else f"{config.gpus:g} GPUs"
        raise IcfaceError(f"the job needs {wanted}, and Ray finds {gpus:g}: leave --gpus out to use the CPU")
    return fitting if count is None else count
