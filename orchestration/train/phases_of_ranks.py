"""Where each rank of a training is, so that a training that hangs can say which rank it waits for, and in what."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BEAT_SECONDS = 15.0
STUCK_SECONDS = 180.0
"""A phase that lasts so long is told, and told again every minute."""
UNUSUAL = 3.0
"""Times the longest such phase before, from which it is told: on a CPU a step may take minutes."""
TRAINING = "training"
"""The phase in which ranks wait for each other."""


@dataclass(frozen=True)
class Beat:
    """What a rank said last."""

    phase: str
    step: int
    seconds: float
    """Since the phase was begun, when it was said."""
    usual: float
    """The longest that this phase has taken before."""
    heard: float
    """When it was said, in the listener's clock."""

    def elapsed(self, now: float) -> float:
        """Seconds since the phase was begun, at `now` in the listener's clock."""
        return self.seconds + now - self.heard


class Whereabouts:
    """Tells the coordinator now and then what this rank does, from a thread of its own, while a block lasts."""

    def __init__(self, coordinator: Any, rank: int, beat_seconds: float = BEAT_SECONDS) -> None:
        self._coordinator, self._rank, self._beat_seconds = coordinator, rank, beat_seconds
        self._now = ("starting", 0, time.monotonic())
        self._longest: dict[str, float] = {}
        self._over = threading.Event()

    def begin(self, phase: str, step: int) -> None:
        """A phase begins; what was done before has ended."""
        before, _, since = self._now
        now = time.monotonic()
        self._longest[before] = max(self._longest.get(before, 0.0), now - since)
        self._now = (phase, step, now)

    def __enter__(self) -> "Whereabouts":
        threading.Thread(target=self._tell, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._coordinator.left.remote(self._rank)

    def _tell(self) -> None:
        while not self._over.wait(self._beat_seconds):
            phase, step, since = self._now
            usual = self._longest.get(phase, 0.0)
            self._coordinator.beat.remote(self._rank, phase, step, time.monotonic() - since, usual)


def hang(beats: Mapping[int, Beat], nodes: Mapping[int, str], now: float) -> str | None:
    """What is told of a training whose ranks do not get on; None while they do.

    `nodes`: address of each rank's node. Named are the ranks that the others wait for: those that are silent, else
    those that are in anything but a step, else those whose step is the first.

    >>> beats = {0: Beat("training", 8, 200.0, 1.0, 0.0), 1: Beat("reading a batch", 8, 199.0, 1.0, 0.0)}
    >>> hang(beats, {0: "10.0.0.1", 1: "10.0.0.2"}, now=5.0)
    'nothing for 3 min: rank 1 on 10.0.0.2 is reading a batch (step 8); rank 0 waits for it'
    """
    late = {rank: beat for rank, beat in beats.items() if beat.elapsed(now) > max(STUCK_SECONDS, UNUSUAL * beat.usual)}
    if not late or len(late) < len(beats):
        return None
    silent = {rank for rank, beat in beats.items() if now - beat.heard > STUCK_SECONDS}
    elsewhere = {rank for rank, beat in beats.items() if beat.phase != TRAINING}
    first = min(beat.step for beat in beats.values())
    behind = {rank for rank, beat in beats.items() if beat.step == first}
    named = silent or elsewhere or behind
    minutes = int(min(beat.elapsed(now) for beat in late.values()) // 60)
    told = [
        f"rank {rank} on {nodes.get(rank, '?')} "
        + (
            f"has said nothing since it was {beats[rank].phase} (step {beats[rank].step})"
            if rank in silent
            else f"is {beats[rank].phase} (step {beats[rank].step})"
        )
        for rank in sorted(named)
    ]
    waiting = sorted(set(beats) - named)
    if waiting:
        who = f"rank {waiting[0]} waits" if len(waiting) == 1 else f"ranks {', '.join(map(str, waiting))} wait"
        told.append(f"{who} for {'it' if len(named) == 1 else 'them'}")
    return f"nothing for {minutes} min: {'; '.join(told)}"
