"""Where the time of a training's steps goes: reading batches, training, checkpoints and so on."""

import time
from collections.abc import Callable


class PhaseSeconds:
    """Adds up the seconds of each phase of a rank, as its host sees them: a GPU works on meanwhile."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phase: str | None = None
        self._since = 0.0
        self._told_at: int | None = None
        self._seconds: dict[str, float] = {}

    def begin(self, phase: str, step: int) -> None:
        """A phase begins in that step, and what was done before has ended; for `Hooks.on_phase`."""
        self._end()
        self._phase = phase
        if self._told_at is None:
            self._told_at = step - 1

    def taken(self, step: int) -> dict[str, float]:
        """Mean seconds a step of each phase since the last call, under names of metrics; `step`: steps done."""
        self._end()
        steps = step - (self._told_at or 0)
        seconds, self._seconds, self._told_at = self._seconds, {}, step
        if steps < 1:
            return {}
        return {f"seconds_a_step/{phase.replace(' ', '_')}": taken / steps for phase, taken in seconds.items()}

    def _end(self) -> None:
        now = self._clock()
        if self._phase is not None:
            self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._since = now
