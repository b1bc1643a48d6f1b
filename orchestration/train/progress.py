"""How far a training is, told by its ranks to the driver and by the driver to whoever shows it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """A moment of a training; what is not known yet is None."""

    stage: str | None = None
    """What is being done, in plain words."""
    step: int | None = None
    """Steps done."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of each loss term and of each figure of validation."""
    images_per_second: float | None = None
    seconds_left: float | None = None
    candidate: int | None = None
    """Step of the newest model that is there to be evaluated beside the training."""
    notice: str | None = None
    """Something to be told once."""
    checkpoint: int | None = None
    """Step of the last checkpoint."""
    workers: int = 0
    """Ranks at work, and below the nodes that they are on."""
    nodes: int = 0
    starts: tuple[int, ...] = ()
    """The steps that the ranks began from, one a start."""
    hang: str | None = None
    """Which rank the others wait for, where nothing gets on; see `orchestration.train.phases_of_ranks`."""
    stopped: bool = False
    """Whether somebody asked it to stop, to go on later."""
    unsent: str | None = None
    """What the tracking server never took, and where it lies."""
    error: str | None = None
    """Why the training ended, in one line."""


OnProgress = Callable[[TrainingProgress], None]
