"""What a training leaves behind: its bundle, the best one of its evaluations, a registered version."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import mlflow
from mlflow.exceptions import MlflowException

from icface.errors import IcfaceError, first_line
from orchestration.config import TrainJob
from orchestration.registry import runs
from orchestration.registry import versions as registry
from orchestration.registry.run_models import bundle_at
from orchestration.train.run_folder import BUNDLE, RunRecord
from orchestration.train.stored_bundles import local_bundle, made_steps
from orchestration.train.validation_record import ValidationRecord
from pipelines.storage import Folder


@dataclass(frozen=True, kw_only=True)
class KeptModel:
    """The model that `--keep` kept."""

    name: str
    """Of its bundle, in the run's folder."""
    bundle: str
    """The bundle's folder or URL."""
    step: int
    metric: str
    scores: Mapping[str, float]
    """Of its evaluation."""

    @property
    def told(self) -> str:
        """In words."""
        return f"{self.bundle} (step {self.step}, {self.metric} {self.scores[self.metric]:.4f})"


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training left behind."""

    name: str
    run_id: str
    bundle: str | None
    """The bundle's folder or URL; None when the training was stopped."""
    version: int | None
    steps: int
    unsent: str | None = None
    """What the tracking server never took, and where it lies."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of each loss term; empty where nothing was trained now."""
    kept: KeptModel | None = None
    """The best model of the evaluations beside the training, where it was asked for."""


def is_made(folder: Folder, job: TrainJob) -> bool:
    """Whether the run's folder has the bundle of the whole training, or of one that `patience` ended."""
    made = made_steps(folder)
    if made is None or made >= job.training.steps:
        return made is not None
    record = ValidationRecord.read(folder)
    return made >= record.last and record.is_over(job.selection, job.patience)


def kept_model(folder: Folder, job: TrainJob) -> KeptModel | None:
    """The model that was kept, as far as one was asked for and is there."""
    if job.selection is None:
        return None
    record = ValidationRecord.read(folder)
    if record.kept is None or not folder.exists(name := bundle_at(record.kept)):
        return None
    scores = next(each.scores for each in record.evaluations if each.step == record.kept)
    if job.selection.metric not in scores:
        return None
    return KeptModel(
        name=name, bundle=folder.absolute_path(name), step=record.kept, metric=job.selection.metric, scores=scores
    )


def record_bundle(job: TrainJob, folder: Folder, record: RunRecord, kept: KeptModel | None) -> int | None:
    """The finished bundle into MLflow, and the run's end; returns the version's number if it was to be registered.

    What is registered is the kept model, where there is one. It is a logged model of the run in any case. Raises
    IcfaceError when MLflow cannot record it.
    """
    run_id, made = record.mlflow_run_id, min(made_steps(folder) or 0, job.training.steps)
    number = None
    try:
        with local_bundle(folder) as local:
            runs.log_bundle(run_id, local)
        runs.note_end(run_id, made, early=made < job.training.steps)
        if job.register:
            number = registry.registered(run_id, job.register, made if kept is None else kept.step)
        if number is None and (job.register or kept is not None):
            scores = None if kept is None else kept.scores
            with local_bundle(folder, BUNDLE if kept is None else kept.name) as local:
                if job.register:
                    number = registry.register(run_id, local, job.register, scores)
                else:
                    registry.log_model(run_id, local, scores)
        runs.end_run(run_id, "FINISHED")
    except (MlflowException, OSError, IcfaceError) as error:
        line = first_line(error)
        raise IcfaceError(
            f"the training is done and its bundle is {folder.absolute_path(BUNDLE)}, but it could not be recorded in "
            f"{mlflow.get_tracking_uri()} ({line}): the same command with --resume records it when that is mended"
        ) from None
    return number
