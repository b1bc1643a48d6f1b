"""The pipeline beside its limit: `python benchmarks/preprocess.py [SOURCE] [--limit N] [--every N] [--rounds N]`.

The limit is plain processes, one a core, that decode, analyse, cut and encode the same clips, without Ray, tracks,
filters, hashes or Parquet. Rounds of both alternate. Two ratios are printed: of the wall-clock rates once both are
started (goal 0.9), and of the CPU time a frame, which another program on the machine disturbs less. Start-up and the
end (the index, Ray's farewell) are shown apart. Memory: the peak of the largest process that reads clips (goal under
1 GB).
"""

import argparse
import multiprocessing
import os
import queue
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from process_tree import descendants

GOAL_RATIO, GOAL_MEGABYTES = 0.9, 1000.0
SIZE = 128
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Round:
    start: float
    """Seconds until the processes worked."""
    seconds: float
    """From then until the last clip was done."""
    end: float
    """From then until all was written and Ray was gone."""
    frames: int
    cpu: float
    """Seconds of CPU time of the processes that read clips, imports included."""
    other_cpu: float
    """Seconds of CPU time of all other processes (Ray's)."""
    peak_megabytes: float
    """Of the largest process that reads clips."""


def plain(clips: Any, every: int, ready: Any, go: Any, answers: Any) -> None:
    """One process of the limit."""
    import cv2
    import numpy as np

    from icface.analyzers import create
    from icface.crop import CropRule, crop_image
    from icface.images import encode_jpeg
    from icface.video.reading import probe, read_frames

    cv2.setNumThreads(1)
    analyzer, rule = create("mediapipe"), CropRule()
    ready.release()
    go.wait()
    count = 0
    while (path := clips.get()) is not None:
        info, kept, boxes = probe(path), [], []
        try:
            for indices, frames in read_frames(path, every, analyzer.batch_size):
                count += len(indices)
                for frame, faces in zip(frames, analyzer.analyze(frames, indices, path), strict=True):
                    if faces:
                        kept.append(frame)
                        boxes.append(faces[0].box)
        except Exception as error:
            print(f"limit: {error}")
        if kept:
            squares = rule.squares(np.stack(boxes), info.fps / every, info.width, info.height)
            for frame, square in zip(kept, squares, strict=True):
                encode_jpeg(crop_image(frame, square, SIZE))
    answers.put((count, *_usage(os.getpid())))


def limit(paths: list[str], every: int, workers: int) -> Round:
    """Plain processes that share a queue, the largest clip first, as the pipeline does."""
    context = multiprocessing.get_context("spawn")
    clips, answers, ready, go = context.Queue(), context.Queue(), context.Semaphore(0), context.Event()
    for path in [*paths, *([None] * workers)]:
        clips.put(path)
    began = time.monotonic()
    processes = [context.Process(target=plain, args=(clips, every, ready, go, answers)) for _ in range(workers)]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    started = time.monotonic()
    go.set()
    told = [_answer(answers, processes) for _ in processes]
    seconds = time.monotonic() - started
    for process in processes:
        process.join()
    frames, cpu, peak = zip(*told, strict=True)
    return Round(
        start=started - began,
        seconds=seconds,
        end=0.0,
        frames=sum(frames),
        cpu=sum(cpu),
        other_cpu=0.0,
        peak_megabytes=max(peak),
    )


def _answer(answers: Any, processes: list[Any]) -> Any:
    """The next answer of one of `processes`; ends the program when one of them failed."""
    while True:
        try:
            return answers.get(timeout=0.1)
        except queue.Empty:
            if any(process.exitcode for process in processes):
                raise SystemExit("a process failed; see above") from None


def pipeline(source: str, count: int | None, every: int, workers: int) -> Round:
    """`icface preprocess` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_pipeline, args=(source, count, every, workers, answers))
    process.start()
    found: Round = _answer(answers, [process])
    process.join()
    return found


def _pipeline(source: str, count: int | None, every: int, workers: int, answers: Any) -> None:
    # Ray's workers stand back from other programs; the limit does not.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray reads it by this name
    from pipelines.config import PictureConfig, PreprocessConfig, RunningConfig, SelectionConfig
    from pipelines.dataset import Dataset
    from pipelines.preprocess.job import preprocess

    usage = _Usage()
    with tempfile.TemporaryDirectory() as folder:
        config = PreprocessConfig(
            source=source,
            dataset=str(Path(folder) / "data"),
            selection=SelectionConfig(limit=count, every=every, val_fraction=0.0),
            pictures=PictureConfig(size=SIZE),
            running=RunningConfig(workers=workers),
        )
        began = time.monotonic()
        thread = threading.Thread(target=usage.watch, args=(workers,), daemon=True)
        thread.start()
        preprocess(config)
        ended = time.monotonic()
        usage.stop.set()
        thread.join()
        frames = int(Dataset.open(config.dataset).clips()["frames_read"].sum())
    readers, others = usage.sums()
    started, worked = usage.working or began, usage.worked or ended
    answers.put(
        Round(
            start=started - began,
            seconds=worked - started,
            end=ended - worked,
            frames=frames,
            cpu=readers,
            other_cpu=others,
            peak_megabytes=usage.peak,
        )
    )


class _Usage:
    """CPU time and memory of this process's descendants, looked at a few times a second."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.working: float | None = None
        """When as many processes as were asked for had the analyzer loaded and read clips."""
        self.worked: float | None = None
        """When one of them was last seen to read a clip."""
        self.peak = 0.0
        self._seconds: dict[int, tuple[bool, float]] = {}

    def watch(self, workers: int) -> None:
        while not self.stop.wait(0.5):
            opened = 0
            for pid, words in descendants(os.getpid()).items():
                try:
                    # One that has ended, and is still listed, has no command line any more.
                    reader = "pipelines.preprocess.clip_process" in words or self._seconds.get(pid, (False, 0.0))[0]
                    seconds, peak = _usage(pid)
                    if reader:
                        self.peak = max(self.peak, peak)
                        # The first process only says what the analyzer is; those of the job are Ray's grandchildren.
                        opened += _parent(_parent(pid)) != os.getpid() and _reads_a_clip(pid)
                except (OSError, ValueError, IndexError):
                    continue
                self._seconds[pid] = (reader, seconds)
            if self.working is None and opened >= workers:
                self.working = time.monotonic()
            if opened:
                self.worked = time.monotonic()

    def sums(self) -> tuple[float, float]:
        """Seconds of the processes that read clips, and of all others."""
        readers = sum(seconds for reader, seconds in self._seconds.values() if reader)
        return readers, sum(seconds for _, seconds in self._seconds.values()) - readers


def _reads_a_clip(pid: int) -> bool:
    return any(".mp4" in str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def _usage(pid: int) -> tuple[float, float]:
    """Seconds of CPU time and megabytes at the peak of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = Path(f"/proc/{pid}/status").read_text()
    # A process that has ended and waits for its parent has no memory any more.
    peak = max((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), default=0)
    return (int(fields[11]) + int(fields[12])) / TICKS, peak / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", help="by default the two sample clips, eight times each")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _measure(arguments, arguments.source or _samples(Path(folder)))


def _samples(folder: Path) -> str:
    from icface.weights import SAMPLE_CLIPS, fetch

    for clip in SAMPLE_CLIPS.values():
        for number in range(8):
            place = folder / f"{Path(clip.name).stem}{number}" / "v" / "1.mp4"
            place.parent.mkdir(parents=True)
            place.symlink_to(fetch(clip))
    return str(folder)


def _measure(arguments: argparse.Namespace, source: str) -> None:
    from pipelines.sources import list_clips
    from pipelines.storage import Folder

    folder = Folder.at(source)
    clips = sorted(list_clips(folder)[: arguments.limit], key=lambda clip: -clip.size)
    paths = [folder.path(clip.path) for clip in clips]
    rounds: dict[str, list[Round]] = {"limit": [], "pipeline": []}
    for _ in range(arguments.rounds):
        rounds["limit"].append(limit(paths, arguments.every, arguments.workers))
        rounds["pipeline"].append(pipeline(source, arguments.limit, arguments.every, arguments.workers))
        for name, runs in rounds.items():
            run = runs[-1]
            print(
                f"{name:8}  start-up {run.start:5.1f} s, then {run.frames} frames in {run.seconds:6.1f} s: "
                f"{run.frames / run.seconds:5.1f} frames/s, {1000 * run.cpu / run.frames:.1f} ms CPU a frame "
                f"(and {1000 * run.other_cpu / run.frames:.1f} of other processes), peak {run.peak_megabytes:.0f} MB, "
                f"end {run.end:.1f} s",
                flush=True,
            )
    rate = {name: statistics.median(run.frames / run.seconds for run in runs) for name, runs in rounds.items()}
    cost = {name: statistics.median(run.cpu / run.frames for run in runs) for name, runs in rounds.items()}
    peak = max(run.peak_megabytes for run in rounds["pipeline"])
    print(
        f"pipeline/limit: {rate['pipeline'] / rate['limit']:.2f} of the rate (goal {GOAL_RATIO}); "
        f"limit/pipeline: {cost['limit'] / cost['pipeline']:.2f} of the CPU time a frame"
    )
    print(f"peak memory of a process that reads clips: {peak:.0f} MB (goal under {GOAL_MEGABYTES:.0f})")


if __name__ == "__main__":
    main()
