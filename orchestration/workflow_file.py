"""What a workflow file says: `Workflow.from_yaml`."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from icface.errors import IcfaceError
from icface.mappings import read, read_yaml
from icface.training.config import TrainConfig
from orchestration.config import TrainJob
from orchestration.train.run_folder import NAME
from pipelines.config import PreprocessConfig

PATH_OPTIONS = ("root", "weights")
"""Options of analyzers that are paths."""
DIGITS = 10
"""Of the inputs' hash, in the name of a run."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a sweep."""

    name: str
    """Beginning of the run's name; the rest is a hash of its inputs."""
    preset: str = "icface"
    """icface, small or paper."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Fields that differ from the preset, as in `model: {size: 64}`."""

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.run_name("0" * DIGITS)):
            raise IcfaceError(f"train: the name {self.name!r} may have letters, digits, '.', '_' and '-', at most 89")

    @property
    def config(self) -> TrainConfig:
        """The preset with the fields that differ. Raises IcfaceError for an unknown preset or field."""
        return TrainConfig.preset(self.preset).merge(self.training)

    def run_name(self, digest: str) -> str:
        """What its run is called that was made from inputs with this hash."""
        return f"{self.name}-{digest[:DIGITS]}"


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """What a workflow file says."""

    model: str
    """Registered model that the versions belong to."""
    preprocess: PreprocessConfig
    train: tuple[Trial, ...]
    alias: str = "champion"
    """What the best version gets, if the gate of `models promote` lets it pass."""
    storage: str = "./runs"
    """Where runs are kept; a path or an fsspec URL."""
    workers: int = 1
    """Processes that train together."""
    gpu: bool = False
    """Give each worker a GPU, and run the networks of evaluations on one, MediaPipe's too (`mediapipe-torch`)."""
    address: str = "local"
    """Ray cluster for the trainings, as in `icface train`."""
    per_track: int = 50
    """Driving frames of a track in the evaluation."""
    page: str = "comparison.html"
    """Where the comparison of a sweep is written."""

    def __post_init__(self) -> None:
        names = [trial.name for trial in self.train]
        if not names or len(set(names)) < len(names):
            raise IcfaceError("train wants one or more entries, each with a name of its own")
        if self.per_track < 1:
            raise IcfaceError(f"per_track must be at least 1, not {self.per_track}")
        for trial in self.train:  # told here, and not after the preprocessing
            try:
                self.job(trial, trial.name)
            except (ValueError, IcfaceError) as error:
                raise IcfaceError(f"train {trial.name}: {error}") from None

    @classmethod
    def from_yaml(cls, path: str) -> "Workflow":
        """Read a workflow file. Raises IcfaceError that names what cannot be understood."""
        values = read_yaml(path, "model: face")
        try:
            if isinstance(values.get("preprocess"), dict):
                values["preprocess"] = PreprocessConfig.from_flat(values["preprocess"], "preprocess")
            return read(cls, values)
        except (ValueError, IcfaceError) as error:
            raise IcfaceError(f"{path}: {error}") from None

    def job(self, trial: Trial, run: str, resume: bool = False) -> TrainJob:
        """A trial's training under the name `run`. Raises as `Trial.config`, and ValueError for options at odds."""
        return TrainJob(
            dataset=self.preprocess.dataset,
            workers=self.workers,
            gpu=self.gpu,
            storage=self.storage,
            name=run,
            address=self.address,
            resume=resume,
            register=self.model,
            preset=trial.preset,
            training=trial.config,
        )

    def beside(self, folder: Path) -> "Workflow":
        """The same with whole paths: relative ones are meant from `folder`, where the file lies."""
        preprocess = self.preprocess
        options = {
            name: at(folder, value) if name in PATH_OPTIONS and isinstance(value, str) else value
            for name, value in preprocess.analysis.analyzer_options.items()
        }
        return replace(
            self,
            preprocess=replace(
                preprocess,
                source=at(folder, preprocess.source),
                dataset=at(folder, preprocess.dataset),
                analysis=replace(preprocess.analysis, analyzer_options=options),
            ),
            storage=at(folder, self.storage),
            page=at(folder, self.page),
        )

    def joining(self, address: str) -> "Workflow":
        """The same with the cluster at `address` wherever the file says `local`: a job works on its own cluster."""
        preprocess, running = self.preprocess, self.preprocess.running
        if running.address == "local":
            preprocess = replace(preprocess, running=replace(running, address=address))
        return replace(self, address=address if self.address == "local" else self.address, preprocess=preprocess)


def at(folder: Path, place: str) -> str:
    """A path meant from `folder`; URLs and whole paths stay as they are.

    >>> at(Path("/srv"), "data"), at(Path("/srv"), "s3://b/data"), at(Path("/srv"), "/data")
    ('/srv/data', 's3://b/data', '/data')
    """
    if "://" in place or place.startswith("~"):
        return place
    return os.path.normpath(folder / place)
