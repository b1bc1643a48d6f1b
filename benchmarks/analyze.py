"""Frames a second of the face analyzers: `python benchmarks/analyze.py [--clip FILE] [--weights FILE] [--frames N]`.

MediaPipe on the CPU, ours on the CPU, and ours on a GPU with frames in memory (goal on a Hopper GPU: 10,000 frames/s
at 224 px). All look at the same squares of 224 px around the face of one clip. Then the whole pipeline,
`icface preprocess` with this analyzer, beside plain processes that only decode the same clips on the same cores (goal
with a GPU: 0.9). It needs torch, numpy and OpenCV; what else a part needs and this machine lacks is named, and the part
skipped. Results are printed as they come; the last line is the headline, hours for a million frames.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch

from icface.analyzers.mediapipe_torch.analyzer import MediaPipeTorchAnalyzer
from icface.errors import IcfaceError
from icface.weights import SAMPLE_CLIPS, fetch

SIZE = 224
BATCH = 32
"""Frames a call: what `icface preprocess` hands to an analyzer at a time."""
THEIRS, OURS = "mediapipe on the CPU", "mediapipe-torch on the CPU"
GOAL_CPU, GOAL_GPU = 0.7, 10_000.0
GOAL_PIPELINE = 0.9
GPU_SECONDS = 20.0
PIPELINE_NEEDS = ("ray", "pyarrow", "pandas", "av")


def faces_of(clip: Path, count: int, weights: Path | None) -> np.ndarray:
    """(count, 224, 224, 3) uint8 RGB: squares around the first face, repeated where the clip is short."""
    reader, frames = cv2.VideoCapture(str(clip)), []
    while len(frames) < count:
        there, frame = reader.read()
        if not there:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    if not frames:
        raise IcfaceError(f"{clip} cannot be read; name another clip with --clip")
    found = MediaPipeTorchAnalyzer(weights).analyze(np.stack(frames[:1]), [0], "clip")[0]
    if not found:
        raise IcfaceError(f"the first frame of {clip} shows no face; name another clip with --clip")
    x, y, width, height = (int(value) for value in found[0].box)
    side, (left, top) = 2 * max(width, height), (x + width // 2, y + height // 2)
    squares = [
        cv2.resize(cv2.getRectSubPix(frame, (side, side), (left, top)), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        for frame in frames
    ]
    return np.stack([squares[index % len(squares)] for index in range(count)])


def cpu_rates(
    analyzers: dict[str, Callable[[np.ndarray], object]], frames: np.ndarray, batch: int, rounds: int
) -> dict[str, float]:
    """Frames for each second of CPU time, the best of `rounds` in which all take turns: others share the machine."""
    least = dict.fromkeys(analyzers, float("inf"))
    for analyze in analyzers.values():
        analyze(frames[:batch])
    for _ in range(rounds):
        for name, analyze in analyzers.items():
            start = time.process_time()
            for place in range(0, len(frames), batch):
                analyze(frames[place : place + batch])
            least[name] = min(least[name], time.process_time() - start)
    return {name: len(frames) / seconds for name, seconds in least.items()}


def gpu_rate(analyze: Callable[[np.ndarray], object], frames: np.ndarray, batch: int) -> float:
    """Frames a second by the clock, for some seconds."""
    analyze(frames[:batch])
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < GPU_SECONDS:
        for place in range(0, len(frames), batch):
            analyze(frames[place : place + batch])
        done += len(frames)
    return done / (time.perf_counter() - start)


def decoded(clip: str) -> int:
    """Frames of a clip, which are decoded and let go."""
    from icface.video.reading import read_frames

    cv2.setNumThreads(1)
    return sum(len(indices) for indices, _ in read_frames(clip))


def decoding_rate(clips: list[str], cores: int) -> float:
    """Frames a second by the clock of `cores` processes that decode and do nothing else."""
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as processes:
        list(processes.map(decoded, clips[:cores]))  # imports
        start = time.perf_counter()
        return sum(processes.map(decoded, clips)) / (time.perf_counter() - start)


def pipeline_rate(source: Path, dataset: Path, cores: int, gpus: float) -> float:
    """Frames a second by the clock of `icface preprocess`, from when its first process worked to the last clip."""
    from pipelines.config import PreprocessConfig
    from pipelines.preprocess.job import preprocess
    from pipelines.preprocess.progress import Progress

    config = PreprocessConfig.from_flat(
        {
            "source": str(source),
            "dataset": str(dataset),
            "size": 128,
            "val_fraction": 0.0,
            "shard_clips": 1,
            "analyzer": "mediapipe-torch",
            "workers": cores,
            "gpus": gpus,
        }
    )
    # How many frames there were, and the first moment at which there were so many.
    last = (0, 1.0)

    def see(progress: Progress) -> None:
        nonlocal last
        if progress.frames > last[0]:
            last = (progress.frames, progress.seconds)

    preprocess(config, see)
    return last[0] / last[1]


def whole_pipeline(clip: Path, count: int) -> float | None:
    """Measure and print the pipeline beside decoding alone, on `count` copies of a clip; None where it cannot run."""
    missing = [name for name in PIPELINE_NEEDS if find_spec(name) is None]
    if missing:
        print(f"the pipeline: skipped, {' and '.join(missing)} not installed", flush=True)
        return None
    cores, cuda = os.cpu_count() or 1, torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / "clips" / f"person{number}" / "v" / "1.mp4" for number in range(count)]
        for place in places:
            place.parent.mkdir(parents=True)
            place.symlink_to(clip.absolute())
        alone = decoding_rate([str(place) for place in places], cores)
        try:
            rate = pipeline_rate(Path(folder) / "clips", Path(folder) / "data", cores, 1.0 if cuda else 0.0)
        except IcfaceError as error:
            print(f"the pipeline: skipped, {error}", flush=True)
            return None
    where = f"a GPU and {cores} cores" if cuda else f"{cores} cores, without a GPU"
    print(f"decoding alone on {cores} cores: {alone:,.1f} frames/s by the clock", flush=True)
    say(f"the pipeline with mediapipe-torch on {where}", rate, " by the clock")
    goal = f" (goal {GOAL_PIPELINE})" if cuda else f"; with a GPU (goal {GOAL_PIPELINE}): not measured"
    print(f"  over decoding alone: {rate / alone:.2f}{goal}", flush=True)
    return rate


def say(name: str, rate: float, unit: str) -> None:
    print(f"{name}: {rate:,.1f} frames/s{unit}, {1e6 / rate / 3600:.2f} hours for a million frames", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--clip", type=Path, help="a clip with a face in its first frame; by default a sample clip")
    arguments.add_argument("--weights", type=Path, help="a face_landmarker.task; by default fetched")
    arguments.add_argument("--frames", type=int, default=64)
    arguments.add_argument("--rounds", type=int, default=4)
    arguments.add_argument("--clips", type=int, help="copies of the clip for the pipeline; by default 4, on a GPU 64")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    try:
        clip = asked.clip or fetch(SAMPLE_CLIPS["single_face.mp4"])
        frames = faces_of(clip, asked.frames, asked.weights)
    except IcfaceError as error:
        raise SystemExit(str(error)) from None
    print(f"{clip.name}, {len(frames)} squares of {SIZE} px; one thread on the CPU", flush=True)
    ours = MediaPipeTorchAnalyzer(asked.weights)
    analyzers: dict[str, Callable[[np.ndarray], object]] = {
        OURS: lambda part: ours.analyze(part, range(len(part)), "clip")
    }
    try:
        from icface.analyzers.mediapipe import MediaPipeAnalyzer
    except ImportError as error:
        print(f"{THEIRS}: skipped, {error.name} is not installed", flush=True)
    else:
        theirs = MediaPipeAnalyzer(asked.weights)
        analyzers[THEIRS] = lambda part: theirs.analyze(part, range(len(part)), "clip")
    rates = cpu_rates(analyzers, frames, BATCH, asked.rounds)
    for name, rate in rates.items():
        say(name, rate, " of a core")
    if THEIRS in rates:
        theirs.close()
        print(f"  over mediapipe: {rates[OURS] / rates[THEIRS]:.2f} (goal {GOAL_CPU})", flush=True)
    if torch.cuda.is_available():
        there = MediaPipeTorchAnalyzer(asked.weights, device="cuda", batch_size=256)
        many = np.concatenate([frames] * -(-2048 // len(frames)))
        rates["mediapipe-torch on the GPU"] = gpu_rate(
            lambda part: there.analyze(part, range(len(part)), "clip"), many, 256
        )
        rate = rates["mediapipe-torch on the GPU"]
        say(f"mediapipe-torch on {torch.cuda.get_device_name()}", rate, f" (goal {GOAL_GPU:,.0f})")
    else:
        print("mediapipe-torch on a GPU: not measured, there is no GPU", flush=True)
    whole = whole_pipeline(clip, asked.clips or (64 if torch.cuda.is_available() else 4))
    if whole is not None:
        rates["the pipeline"] = whole
    best = max(rates, key=lambda name: rates[name])
    print(f"headline: {1e6 / rates[best] / 3600:.2f} hours for a million frames ({best})")


if __name__ == "__main__":
    main()
