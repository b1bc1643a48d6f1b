"""What the benchmarks share: where they ran, and timing two or more things side by side."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version

import torch


def surroundings(device: torch.device) -> str:
    """One line: device, threads, versions and the day."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{_processor()}, {torch.get_num_threads()} of {os.cpu_count()} cores"
    versions = ", ".join(map(_versioned, ("torch", "opencv-contrib-python", "pyarrow")))
    return f"{name}; Python {platform.python_version()}, {versions}; {time.strftime('%Y-%m-%d')}"


def side_by_side(work: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    """Seconds of each piece of work: the least over `rounds`, in which all take turns, after one untimed round.

    In turns and the least, because other programs share the machine. On a CPU it is the process' CPU time divided by
    torch's threads, which others cannot lengthen; on a GPU it is the wall clock with the queue run dry.
    """
    least = dict.fromkeys(work, float("inf"))
    for number in range(rounds + 1):
        for name, call in work.items():
            if device.type == "cuda":
                torch.cuda.synchronize(device)
                start = time.perf_counter()
                call()
                torch.cuda.synchronize(device)
                seconds = time.perf_counter() - start
            else:
                start = time.process_time()
                call()
                seconds = (time.process_time() - start) / torch.get_num_threads()
            if number:
                least[name] = min(least[name], seconds)
    return least


def verdict(value: float, goal: float) -> str:
    """`2.31 (goal 2.2: reached)`."""
    return f"{value:.2f} (goal {goal:g}: {'reached' if value >= goal else f'missed by {goal - value:.2f}'})"


def _versioned(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123 - no file of ours
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
