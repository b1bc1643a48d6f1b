"""Frames a second of the face analyzers: `python benchmarks/analyze.py [--clip FILE] [--weights FILE] [--frames N]`.

MediaPipe on the CPU, ours on the CPU, and ours on a GPU with frames in memory (goal on a Hopper GPU: 10,000 frames/s
at 224 px). All look at the same squares of 224 px around the face of one clip. It needs torch, numpy and OpenCV; what
else a part needs and this machine lacks is named, and the part skipped. Results are printed as they come; the last
line is the headline, hours for a million frames.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from icface.analyzers.mediapipe_torch.analyzer import MediaPipeTorchAnalyzer
from icface.errors import IcfaceError
from icface.weights import SAMPLE_CLIPS, fetch

SIZE = 224
GOAL_CPU, GOAL_GPU = 0.7, 10_000.0
GPU_SECONDS = 20.0


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


def cpu_rate(analyze: Callable[[np.ndarray], object], frames: np.ndarray, batch: int, rounds: int) -> float:
    """Frames for each second of CPU time, the best of `rounds`: other programs cannot lengthen it."""
    analyze(frames[:batch])
    least = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for place in range(0, len(frames), batch):
            analyze(frames[place : place + batch])
        least = min(least, time.process_time() - start)
    return len(frames) / least


def gpu_rate(analyze: Callable[[np.ndarray], object], frames: np.ndarray, batch: int) -> float:
    """Frames a second by the clock, for some seconds."""
    analyze(frames[:batch])
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < GPU_SECONDS:
        for place in range(0, len(frames), batch):
            analyze(frames[place : place + batch])
        done += len(frames)
    return done / (time.perf_counter() - start)


def say(name: str, rate: float, unit: str) -> None:
    print(f"{name}: {rate:,.1f} frames/s{unit}, {1e6 / rate / 3600:.2f} hours for a million frames", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--clip", type=Path, help="a clip with a face in its first frame; by default a sample clip")
    arguments.add_argument("--weights", type=Path, help="a face_landmarker.task; by default fetched")
    arguments.add_argument("--frames", type=int, default=64)
    arguments.add_argument("--rounds", type=int, default=2)
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    try:
        clip = asked.clip or fetch(SAMPLE_CLIPS["single_face.mp4"])
        frames = faces_of(clip, asked.frames, asked.weights)
    except IcfaceError as error:
        raise SystemExit(str(error)) from None
    print(f"{clip.name}, {len(frames)} squares of {SIZE} px; one thread on the CPU", flush=True)
    rates = {}
    try:
        from icface.analyzers.mediapipe import MediaPipeAnalyzer
    except ImportError as error:
        print(f"mediapipe on the CPU: skipped, {error.name} is not installed", flush=True)
    else:
        theirs = MediaPipeAnalyzer(asked.weights)
        rates["mediapipe"] = cpu_rate(
            lambda part: theirs.analyze(part, range(len(part)), "clip"), frames, 16, asked.rounds
        )
        say("mediapipe on the CPU", rates["mediapipe"], " of a core")
        theirs.close()
    ours = MediaPipeTorchAnalyzer(asked.weights)
    rates["cpu"] = cpu_rate(lambda part: ours.analyze(part, range(len(part)), "clip"), frames, 16, asked.rounds)
    say("mediapipe-torch on the CPU", rates["cpu"], " of a core")
    if "mediapipe" in rates:
        print(f"  over mediapipe: {rates['cpu'] / rates['mediapipe']:.2f} (goal {GOAL_CPU})", flush=True)
    if torch.cuda.is_available():
        there = MediaPipeTorchAnalyzer(asked.weights, device="cuda", batch_size=256)
        many = np.concatenate([frames] * -(-2048 // len(frames)))
        rates["gpu"] = gpu_rate(lambda part: there.analyze(part, range(len(part)), "clip"), many, 256)
        say(f"mediapipe-torch on {torch.cuda.get_device_name()}", rates["gpu"], f" (goal {GOAL_GPU:,.0f})")
    else:
        print("mediapipe-torch on a GPU: not measured, there is no GPU", flush=True)
    best = max(rates.values())
    print(f"headline: {1e6 / best / 3600:.2f} hours for a million frames")


if __name__ == "__main__":
    main()
