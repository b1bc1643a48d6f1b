"""A process that turns clips into rows, one after another: `python -m pipelines.preprocess.clip_process`.

Decoders and analyzers are C++ code that damaged input can crash or hang. They run here, so that the process that writes
the data set outlives them. Requests come as JSON lines on standard input. An answer is a JSON line on standard output,
and the rows lie in an Arrow file by then. Where faces are measured elsewhere, questions of this process come before the
answer (`distant_analyzer`). The process ends with its parent: at the end of its input.
"""

import json
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icface.errors import IcfaceError, first_line
from pipelines.sources import Clip, ClipFiles, read_span

if TYPE_CHECKING:
    from icface.analyzers.face import Analyzer

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS")


def main() -> int:
    """Answer requests until the input ends."""
    # Libraries that print must not print into the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()

    def ask(question: dict[str, Any]) -> dict[str, Any]:
        answers.write(json.dumps(question) + "\n")
        return dict(json.loads(requests.get()))

    try:
        worker = _Worker(json.loads(requests.get()), ask)
    except IcfaceError as error:
        answers.write(json.dumps({"error": str(error)}) + "\n")
        return 1
    answers.write(json.dumps(worker.ready) + "\n")
    while True:
        request, before = json.loads(requests.get()), _cpu_seconds()
        answer = worker.rows(request)
        answers.write(json.dumps(answer | {"cpu_seconds": _cpu_seconds() - before}) + "\n")


def _listen(requests: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    # The parent is gone, or has closed us; the main thread may be deep in a decoder.
    os._exit(0)


class _Worker:
    def __init__(self, start: dict[str, Any], ask: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        import cv2

        from pipelines.config import PreprocessConfig
        from pipelines.preprocess.distant_analyzer import DistantAnalyzer, SharedMemory
        from pipelines.storage import Folder

        cv2.setNumThreads(1)
        self.config = PreprocessConfig.from_flat(start["config"])
        self.files = ClipFiles(Folder.at(self.config.source))
        self.analyzer: Analyzer = (
            DistantAnalyzer(start["about"], SharedMemory(start["memory"]), ask)
            if "about" in start
            else self.config.create_analyzer()
        )
        self.ready = {"fingerprint": self.analyzer.fingerprint, "measures": sorted(self.analyzer.measures)}

    def rows(self, request: dict[str, Any]) -> dict[str, Any]:
        """The row of the clip; its frames are written to the Arrow file that the request names."""
        import pyarrow as pa

        from pipelines.format import FRAMES, failed_row
        from pipelines.preprocess.clip_rows import clip_rows

        clip = Clip.from_json(request["clip"])
        _limit_cpu(self.config.running.cpu_seconds)
        seconds: dict[str, float] = {}
        try:
            with _timed(seconds, "fetch"):
                path = self.files.path(clip, Path(request["out"]).parent)
                part = read_span(self.files.folder, clip)
            with _timed(seconds, "decode and measure"):
                result = clip_rows(path, clip, request["split"], self.config, self.analyzer, part)
            with (
                _timed(seconds, "crop and encode"),
                pa.OSFile(request["out"], "wb") as file,
                pa.ipc.new_file(file, FRAMES) as writer,
            ):
                for table in result.tables:
                    writer.write_batch(table.combine_chunks().to_batches()[0])
        except IcfaceError as error:
            return {"row": failed_row(clip, str(error)), "again": False, "seconds": seconds}
        except OSError as error:
            reason = f"cannot be fetched: {first_line(error)}"
            return {"row": failed_row(clip, reason), "again": True, "seconds": seconds}
        return {"row": result.row, "again": False, "seconds": seconds}


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note how long the block took, by the clock."""
    began = time.monotonic()
    try:
        yield
    finally:
        seconds[stage] = time.monotonic() - began


def _limit_cpu(seconds: float) -> None:
    """Let the kernel end this process (SIGXCPU) after so many more seconds of CPU time, whatever code runs then."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(_cpu_seconds() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _cpu_seconds() -> float:
    """What this process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    sys.exit(main())
