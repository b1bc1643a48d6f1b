"""What the driver of a training and its ranks tell each other: a Ray actor on the driver's node.

The actor's process reads this module, and waits for what it imports: no Ray Train, no torch.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ray

from orchestration.train.phases_of_ranks import Beat, hang
from orchestration.train.progress import TrainingProgress
from pipelines.cluster import on_node

RESTARTS = 3
"""How often in a row ranks may die without a new checkpoint in between before a training is given up."""


class TrainingCoordinator:
    """The last metrics, an error in one line, a wish to stop, and how often the ranks had to start."""

    def __init__(self) -> None:
        self.progress = TrainingProgress()
        self.error: str | None = None
        self.noted: str | None = None
        self.stop = self.early = False
        self.starts: list[int] = []
        self.nodes: dict[int, str] = {}
        self.handles: dict[int, Any] = {}
        self.beats: dict[int, Beat] = {}
        self.controller: Any = None

    def begin(self, step: int) -> bool:
        """Rank 0 is about to train from `step`; whether it may, or the training is over."""
        if self.error is None and self.starts[-RESTARTS - 1 :] == [step] * (RESTARTS + 1):
            reason = self.noted or "the processes were killed, perhaps for want of memory"
            self.error = f"its processes died {RESTARTS + 1} times without a checkpoint in between: {reason}"
        self.starts.append(step)
        self.nodes, self.handles, self.beats = {}, {}, {}
        return self.error is None

    def join(self, rank: int, node: str, handle: Any = None) -> None:
        """A rank trains, on the node of that address; `handle` of its actor tells whether it lives."""
        self.nodes[rank], self.handles[rank] = node, handle

    def ranks(self) -> list[Any]:
        """Handles of the ranks that joined since the last start."""
        return [handle for handle in self.handles.values() if handle is not None]

    def beat(self, rank: int, phase: str, step: int, seconds: float, usual: float) -> None:
        """A rank says what it does, for how long, and how long that took at most before."""
        self.beats[rank] = Beat(phase, step, seconds, usual, time.monotonic())

    def left(self, rank: int) -> None:
        """A rank trains no more."""
        self.beats.pop(rank, None)

    def post(self, metrics: Mapping[str, float] | None = None, **values: Any) -> None:
        """Keep what a rank says: fields of `TrainingProgress`; metrics are added to those that are known."""
        self.progress = replace(self.progress, metrics={**self.progress.metrics, **(metrics or {})}, **values)

    def note(self, line: str) -> None:
        """Keep why a rank dies, in case that it happens again and again."""
        self.noted = line

    def fail(self, line: str) -> None:
        """End the training with this line: another start would come to the same."""
        self.error = self.error or line

    def read(self) -> TrainingProgress:
        """Everything that is known."""
        return replace(
            self.progress,
            workers=len(self.nodes),
            nodes=len(set(self.nodes.values())),
            error=self.error,
            stopped=self.stop,
            starts=tuple(self.starts),
            hang=hang(self.beats, self.nodes, time.monotonic()),
        )

    def controlled_by(self, controller: Any) -> None:
        """Keep the handle of the actor that starts the ranks for Ray Train."""
        self.controller = controller

    def read_controller(self) -> Any:
        """That handle; None before it is at work."""
        return self.controller

    def ask_to_stop(self) -> None:
        """Let the ranks stop after their present step, so that the training can go on later."""
        self.stop = True

    def end_early(self) -> None:
        """Let the ranks stop after their present step; the model as it is then is the training's result."""
        self.early = True

    def stop_wanted(self) -> bool:
        """Whether the ranks are to stop."""
        return self.stop or self.early

    def bundle_wanted(self) -> bool:
        """Whether the model of the ranks that ended is a result, not a training that goes on later."""
        return not self.stop


def start_coordinator() -> Any:
    """A coordinator on this node, where it lives as long as the driver: other nodes may be taken away."""
    return on_node(TrainingCoordinator, ray.get_runtime_context().get_node_id()).remote()


class StopWanted:
    """Asks the coordinator without waiting for its answer: the last answer that came counts."""

    def __init__(self, coordinator: Any) -> None:
        self.coordinator = coordinator
        self.asked: Any = None

    def __call__(self) -> bool:
        if self.asked is None:
            self.asked = self.coordinator.stop_wanted.remote()
            return False
        ready, _ = ray.wait([self.asked], timeout=0)
        if not ready:
            return False
        answer = bool(ray.get(self.asked))
        self.asked = None
        return answer
