"""What the driver of a training hands to every rank."""

from dataclasses import dataclass
from typing import Any

from icface.bundle import BundleConfig
from icface.training.config import TrainConfig
from pipelines.row_cache import RowCache


@dataclass(frozen=True, kw_only=True)
class RankJob:
    """What the driver hands to every rank; pickled by Ray."""

    config: TrainConfig
    bundle_config: BundleConfig
    dataset: str
    mixed_with: tuple[str, ...]
    """Other data sets, as `Mixture.open` takes them."""
    folder: str
    """Of the run."""
    tracking_uri: str
    mlflow_run_id: str
    cache: RowCache | None
    """Where each node keeps copies of what it reads."""
    threads: int
    """Torch threads a rank."""
    gpu: bool
    profile: bool
    """Whether rank 0 traces some steps."""
    evaluate_every: int
    """Steps between two models that are stored to be evaluated; 0 stores none."""
    ray_data: bool
    """Whether Ray Data brings the batches."""
    coordinator: Any
    """Handle of a `TrainingCoordinator` actor."""
    init: Any = None
    """Handle of the `ICface` whose weights the training begins with; None starts from random weights."""
