"""The pipeline beside its limit: `python benchmarks/preprocess.py [SOURCE] [--limit N] [--every N] [--rounds N]`.

The limit is plain processes, one a core, that decode, analyse, cut and encode the same clips, without Ray, tracks,
filters, hashes or Parquet. Rounds of both alternate. Two ratios are printed: of the wall-clock rates once both are
started (goal 0.9), and of the CPU time a frame, which another program on the machine disturbs less. Start-up and the
end (the index, Ray's farewell) are shown apart. Memory: the peak of the largest process that reads clips (goal under
1 GB).

Beside them runs a naive peer, plain `ray.data.read_videos` (`preprocess_peer.py`). For it the whole time and the CPU
time of all processes count. `--no-peer` leaves it out.
"""

import argparse
import multiprocessing
import os
import queue
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from job_usage import JobUsage, Round, usage_of
from preprocess_peer import ray_data

GOAL_RATIO, GOAL_MEGABYTES = 0.9, 1000.0
SIZE = 128
PEER = "ray.data"


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
    answers.put((count, *usage_of(os.getpid())))


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

    usage = JobUsage("pipelines.preprocess.clip_process")
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
            other_cpu=others + time.process_time(),
            peak_megabytes=usage.peak,
        )
    )


def peer(paths: list[str], every: int, workers: int) -> Round:
    """The naive peer in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_peer, args=(paths, every, workers, answers))
    process.start()
    found: Round = _answer(answers, [process])
    process.join()
    return found


def _peer(paths: list[str], every: int, workers: int, answers: Any) -> None:
    from pyarrow.dataset import dataset

    usage = JobUsage("ray::")
    thread = threading.Thread(target=usage.watch, args=(workers,), daemon=True)
    thread.start()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        ray_data(paths, every, workers, folder)
        seconds = time.monotonic() - began
        usage.stop.set()
        thread.join()
        frames = dataset(folder, format="parquet").count_rows()
    readers, others = usage.sums()
    answers.put(
        Round(
            start=0.0,
            seconds=seconds,
            end=0.0,
            frames=frames,
            cpu=readers + time.process_time(),
            other_cpu=others,
            peak_megabytes=max(usage.peak, usage_of(os.getpid())[1]),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", help="by default the two sample clips, eight times each")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-peer", action="store_true", help="leave the naive peer out")
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
        _show(rounds, "limit", limit(paths, arguments.every, arguments.workers))
        _show(rounds, "pipeline", pipeline(source, arguments.limit, arguments.every, arguments.workers))
        if not arguments.no_peer:
            _show(rounds, PEER, peer(paths, arguments.every, arguments.workers))
    rate = {name: statistics.median(run.frames / run.seconds for run in runs) for name, runs in rounds.items()}
    cost = {name: statistics.median(run.cpu / run.frames for run in runs) for name, runs in rounds.items()}
    whole = {name: statistics.median(run.whole_rate for run in runs) for name, runs in rounds.items()}
    whole_cost = {name: statistics.median(run.whole_cpu for run in runs) for name, runs in rounds.items()}
    peak = max(run.peak_megabytes for run in rounds["pipeline"])
    print(
        f"pipeline/limit: {rate['pipeline'] / rate['limit']:.2f} of the rate (goal {GOAL_RATIO}); "
        f"limit/pipeline: {cost['limit'] / cost['pipeline']:.2f} of the CPU time a frame"
    )
    if not arguments.no_peer:
        print(
            f"pipeline/{PEER}: {whole['pipeline'] / whole[PEER]:.2f} times the rate of the whole job; "
            f"{PEER}/pipeline: {whole_cost[PEER] / whole_cost['pipeline']:.2f} times the CPU time a frame; "
            f"peak of its largest process {max(run.peak_megabytes for run in rounds[PEER]):.0f} MB"
        )
    print(f"peak memory of a process that reads clips: {peak:.0f} MB (goal under {GOAL_MEGABYTES:.0f})")


def _show(rounds: dict[str, list[Round]], name: str, run: Round) -> None:
    rounds.setdefault(name, []).append(run)
    print(
        f"{name:18}  start-up {run.start:5.1f} s, then {run.frames} frames in {run.seconds:6.1f} s: "
        f"{run.frames / run.seconds:5.1f} frames/s, {1000 * run.cpu / run.frames:.1f} ms CPU a frame "
        f"(and {1000 * run.other_cpu / run.frames:.1f} of other processes), peak {run.peak_megabytes:.0f} MB, "
        f"end {run.end:.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
