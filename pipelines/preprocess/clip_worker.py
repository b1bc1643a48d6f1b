"""The parent's side of `pipelines.preprocess.clip_process`: starts it, hands it clips, and judges its deaths."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pipelines
from icface.errors import IcfaceError
from pipelines.config import PreprocessConfig
from pipelines.format import failed_row
from pipelines.preprocess.analysis import Analysis, AnalysisLost
from pipelines.preprocess.clip_process import ONE_THREAD
from pipelines.preprocess.distant_analyzer import SharedMemory, WindowServer
from pipelines.sources import Clip

START_SECONDS = 600.0
"""Longest wait for the process to be ready."""
WALL_FACTOR = 10.0
"""The wall-clock limit of a clip over its CPU limit: a machine may be busy with other things."""
LONELY_DEATHS = 2
"""A clip fails when so many processes died that had this clip alone to do."""


class ProcessDied(Exception):
    """The process ended without an answer; `status` is its return code as `subprocess` has it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it ended with {_status(status)}")
        self.status = status


class TookTooLong(Exception):
    """No answer within the wall-clock limit."""


class ClipWorker:
    """Turns clips into rows in a process of its own, which is started again when it dies."""

    def __init__(self, config: PreprocessConfig, analysis: Analysis | None = None) -> None:
        """`analysis`: who measures faces; by default the process itself does."""
        self.config, self.analysis = config, analysis
        self._memory = SharedMemory() if analysis else None
        self.ready: dict[str, Any] = {}
        """What the process said of its analyzer: `fingerprint` and `measures`."""
        self.cpu_seconds = 0.0
        """CPU time that clips have taken."""
        self.seconds: dict[str, float] = {}
        """How long each stage of the last clip took, by the clock; empty where its process died."""
        self.fell_back = 0
        """Clips that the process measured by itself although there is an `analysis`: a process was lost."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, alone: bool = False) -> dict[str, Any]:
        """Start the process if there is none, and return what it says of its analyzer.

        `alone`: it measures faces by itself, on the CPU, whoever does otherwise. Raises IcfaceError when the analyzer
        cannot be made.
        """
        if self._process is None:
            request: dict[str, Any] = {"config": self.config.to_flat()}
            shared: tuple[int, ...] = ()
            if self.analysis and self._memory and alone:
                request = {"config": self.config.on_the_cpu().to_flat()}
            elif self.analysis and self._memory:
                request |= {"about": self.analysis.about, "memory": self._memory.descriptor}
                shared = (self._memory.descriptor,)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.preprocess.clip_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_environment(),
                pass_fds=shared,
                # Ctrl-C at a terminal is for the driver; this process ends with its parent.
                process_group=0,
            )
            try:
                answer = self._ask(request, START_SECONDS)
            except (ProcessDied, TookTooLong) as error:
                self.close()
                raise IcfaceError(
                    f"the process that reads clips did not start: {error}; run the same command again to go on"
                ) from None
            if "error" in answer:
                self.close()
                raise IcfaceError(answer["error"])
            self.ready = answer
        return self.ready

    def rows(self, clip: Clip, split: str, out: Path) -> tuple[dict[str, Any], bool]:
        """The clip's row of `clips`, and whether a later run should try it again; its frames are in `out` then.

        A clip whose process dies is a suspect, and so is one of those that were with an `analysis` that was lost. It
        is run again as the first and only work of a new process, which measures faces itself, and fails when
        `LONELY_DEATHS` of those die too. Only this process sees those deaths: when it dies itself, or its node, nobody
        counts anything.
        """
        self.seconds = {}
        for lonely_deaths in range(-1, LONELY_DEATHS):
            self.start(alone=lonely_deaths >= 0)
            try:
                answer = self._rows(clip, split, out)
                if lonely_deaths >= 0:
                    self.close()
                    self.fell_back += self.analysis is not None
                self.cpu_seconds += answer["cpu_seconds"]
                self.seconds = answer["seconds"]
                return answer["row"], answer["again"]
            except AnalysisLost:
                self.close()
            except ProcessDied as death:
                self.close()
                status = death.status
                if status == -signal.SIGXCPU:
                    return failed_row(clip, f"took more than {self.config.running.cpu_seconds:g} s of CPU time"), False
            except TookTooLong:
                self.close()
                return failed_row(clip, f"took more than {self._longest:g} s; the next run tries again"), True
        return failed_row(clip, f"the process that read it died three times ({_status(status)})"), False

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()

    def __del__(self) -> None:
        self.close()
        if self._memory:
            self._memory.close()

    @property
    def _longest(self) -> float:
        """Seconds by the clock that a clip may take."""
        return self.config.running.cpu_seconds * WALL_FACTOR

    def _rows(self, clip: Clip, split: str, out: Path) -> dict[str, Any]:
        """What the process answers about a clip; its windows of frames are shown to `analysis` on the way."""
        end = time.monotonic() + self._longest
        answer = self._ask({"clip": clip.to_json(), "split": split, "out": str(out)}, self._longest)
        if self.analysis and self._memory:
            windows = WindowServer(self.analysis, self._memory, self.config.running.cpu_seconds)
            while "window" in answer:
                answer = self._ask(windows.answer(answer), max(0.0, end - time.monotonic()))
        return answer

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise ValueError("start() comes first")
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise ProcessDied(process.wait()) from None
        if not select.select([process.stdout], [], [], seconds)[0]:
            raise TookTooLong(f"no answer after {seconds:g} s")
        line = process.stdout.readline()
        if not line.endswith(b"\n"):
            raise ProcessDied(process.wait())
        return dict(json.loads(line))


def _status(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"


def _environment() -> dict[str, str]:
    """The environment of the process: our packages can be imported, and every library uses one thread."""
    home = str(Path(pipelines.__file__).resolve().parents[1])
    path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**dict.fromkeys(ONE_THREAD, "1"), **os.environ, "PYTHONPATH": path}
