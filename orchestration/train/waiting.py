"""What a training waits for before its ranks are at work, in words, and whether they are."""

import time
from collections.abc import Mapping
from typing import Any

import ray

from icface.errors import IcfaceError
from icface.words import counted
from orchestration.config import TrainJob

TELL_SECONDS = 30.0
"""Between two lines about a wait."""
ANSWER_SECONDS = 2.0
"""How long a rank may take to say that it lives."""


def check_gpus(job: TrainJob, found: int) -> None:
    """Refuse `--gpu` on one machine that has fewer GPUs, `found`, than processes. Raises IcfaceError."""
    least = job.worker_range[0]
    if job.gpu and found < least:
        raise IcfaceError(
            f"--gpu wants {counted(least, 'GPU')}, one for each process, and this machine has {found} that PyTorch "
            "sees: leave --gpu out, or join a cluster with --address (`icface doctor` shows what is missing)"
        )


class Waiting:
    """Says what a training waits for, at once where the cluster lacks it, else every `TELL_SECONDS`."""

    def __init__(self, needed: Mapping[str, float]) -> None:
        self.needed = {name: count for name, count in needed.items() if count}
        # Asked before the ranks are placed: what they take themselves is not free afterwards.
        free = ray.available_resources()
        self.busy = {name for name, count in self.needed.items() if free.get(name, 0) < count}
        self.began = time.monotonic()
        self.told: float | None = None

    def sentence(self) -> str | None:
        """What is to be told now, if anything."""
        now = time.monotonic()
        lacking = self._lacking()
        due = self.told is None and lacking is not None
        if not due and now - (self.began if self.told is None else self.told) < TELL_SECONDS:
            return None
        self.told = now
        seconds = round(now - self.began)
        return f"{lacking or 'waiting for the processes to start'} ({seconds} s; Ctrl-C ends it)"

    def _lacking(self) -> str | None:
        total = ray.cluster_resources()
        for name, count in self.needed.items():
            has = int(total.get(name, 0))
            if has < count:
                return f"waiting for {counted(int(count), name)}, the cluster has {has}"
            if name in self.busy:
                return f"waiting for {counted(int(count), name)}: the cluster has {has}, and others use them"
        return None


def ranks_live(handles: list[Any]) -> bool:
    """Whether the processes that joined a training are all there; without any, nobody trains."""
    if not handles:
        return False
    answers = [handle.__ray_ready__.remote() for handle in handles]
    ready, _ = ray.wait(answers, num_returns=len(answers), timeout=ANSWER_SECONDS)
    try:
        ray.get(ready)
    except ray.exceptions.RayError:
        return False
    return True
