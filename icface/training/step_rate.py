"""How fast a training goes now, as measured over its last minute."""

from collections import deque

WINDOW_SECONDS = 60.0


class StepRate:
    """Seconds a step, from the times at which steps were done.

    The first steps prepare kernels, and a machine gets other work: so the last `WINDOW_SECONDS` count, or as little
    more as there are times. Before that, everything since the start.

    >>> rate = StepRate(done=0, now=0.0)
    >>> rate.update(10, 30.0), rate.update(40, 60.0), rate.update(70, 90.0)
    (3.0, 1.5, 1.0)
    """

    def __init__(self, done: int, now: float) -> None:
        """`done` steps at the start, `now` in seconds of any clock."""
        self._marks = deque([(now, done)])

    def update(self, done: int, now: float) -> float:
        """Seconds a step, now that more steps are done than at the last call."""
        self._marks.append((now, done))
        while now - self._marks[1][0] >= WINDOW_SECONDS:
            self._marks.popleft()
        began, before = self._marks[0]
        return (now - began) / (done - before)
