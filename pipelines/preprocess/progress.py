"""How far a job is, told to whoever shows it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A moment of a job."""

    clips: int
    """Clips done, those of earlier runs too."""
    total: int
    """Clips in all."""
    frames: int
    """Frames that this run has read."""
    rejected: int
    """Clips that this run rejected."""
    failed: int
    """Clips of this run that failed."""
    seconds: float
    """Since the first process was ready to work."""
    stage: str = "analysing clips"
    """What is being done, in plain words."""
    new: int = 0
    """Clips that this run has done."""
    nodes: int = 0
    """Machines that have done clips in this run."""

    @property
    def frames_per_second(self) -> float:
        """Frames read for each second of this run, by all processes together."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the clips so far; None before the first."""
        return self.seconds / self.new * (self.total - self.clips) if self.new else None


OnProgress = Callable[[Progress], None]


def counted(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row of `pipelines.format.CLIPS` is counted while a job runs."""
    dropped = {name: value for name, value in row.items() if name.startswith("dropped_")}
    return {name: row.get(name) for name in ("status", "reason", "frames_read")} | dropped


class ProgressActor:
    """Counts the rows of the clips that are done. An actor: every process tells it, the driver asks it.

    Ray gets the same counts and more, for Prometheus: `pipelines.preprocess.metrics`.
    """

    def __init__(self, dataset: str, waiting: int) -> None:
        """`dataset`: its address; `waiting`: clips that are left to do."""
        from pipelines.preprocess.metrics import JobMetrics

        self.counts = {"new": 0, "frames": 0, "rejected": 0, "failed": 0}
        self.nodes: set[str] = set()
        self.metrics = JobMetrics(dataset, waiting)

    def add(self, row: Mapping[str, Any], node: str) -> None:
        """A clip is done: what `counted` leaves of its row, and the node's id: nodes may share an address."""
        self.nodes.add(node)
        self.counts["new"] += 1
        self.counts["frames"] += row["frames_read"]
        if row["status"] != "ok":
            self.counts[row["status"]] += 1
        self.metrics.add(row, node)

    def spent(self, seconds: Mapping[str, float]) -> None:
        """A worker spent so long on these stages, by the clock."""
        self.metrics.spent(seconds)

    def read(self) -> dict[str, int]:
        """The counts so far, and the number of nodes that have worked."""
        return {**self.counts, "nodes": len(self.nodes)}
