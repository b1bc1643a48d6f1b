"""What a running job tells Prometheus, through Ray: each node of a cluster serves it with Ray's own metrics.

`deploy/grafana-preprocess.json` is a dashboard of these.
"""

from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

FRAMES, CLIPS, REJECTED = "icface_frames", "icface_clips", "icface_rejected_clips"
DROPPED, STAGES, WAITING = "icface_dropped_frames", "icface_stage_seconds", "icface_waiting_clips"
NAMES = (FRAMES, CLIPS, REJECTED, DROPPED, STAGES, WAITING)
"""As they are given to Ray, which puts `ray_` before them, and `_total` behind those that only grow."""


class JobMetrics:
    """Counts of one job since it was started; each has the data set's address as label `dataset`."""

    def __init__(self, dataset: str, waiting: int) -> None:
        """`waiting`: clips that are left to do."""
        self.waiting = waiting
        self._dataset = {"dataset": dataset}

        def counter(name: str, text: str, *labels: str) -> Counter:
            made = Counter(name, description=text, tag_keys=("dataset", *labels))
            made.set_default_tags(self._dataset)
            return made

        self.frames = counter(FRAMES, "Frames read, by the node that read them.", "node")
        self.clips = counter(CLIPS, "Clips done, by outcome: ok, rejected or failed.", "outcome")
        self.rejected = counter(REJECTED, "Rejected clips, by reason.", "reason")
        self.dropped = counter(DROPPED, "Frames that were read and not kept, by reason.", "reason")
        self.stages = counter(STAGES, "Seconds by the clock that all workers spent, by stage.", "stage")
        self.queue = Gauge(WAITING, description="Clips that are left to do.", tag_keys=("dataset",))
        self.queue.set_default_tags(self._dataset)
        self.queue.set(waiting)

    def add(self, row: Mapping[str, Any], node: str) -> None:
        """A clip is done: its row of `pipelines.format.CLIPS`, and where."""
        self.waiting -= 1
        self.queue.set(max(0, self.waiting))
        self.clips.inc(1, tags={"outcome": row["status"]})
        if row["frames_read"]:
            self.frames.inc(row["frames_read"], tags={"node": node})
        if row["status"] == "rejected":
            self.rejected.inc(1, tags={"reason": str(row["reason"]).split(" (")[0]})
        for name, count in row.items():
            if name.startswith("dropped_") and count:
                self.dropped.inc(count, tags={"reason": name.removeprefix("dropped_")})

    def spent(self, seconds: Mapping[str, float]) -> None:
        """So many seconds went into each of these stages."""
        for stage, taken in seconds.items():
            if taken > 0:
                self.stages.inc(taken, tags={"stage": stage})
