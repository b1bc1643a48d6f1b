"""MODEL on the command line: `starter`, a bundle folder, a run's folder and a step as `runs/first@400`,
`runs:/ID/PATH`, `models:/NAME/VERSION` or `models:/NAME@ALIAS`."""

import atexit
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from icface import starter
from icface.errors import IcfaceError, first_line
from orchestration.registry.run_models import AT, bundle_of_step
from orchestration.tracking.run_logger import use_tracking
from pipelines.storage import Folder


@dataclass(frozen=True, kw_only=True)
class ModelReference:
    """A model that was found."""

    folder: Path
    """On this machine; `icface.bundle.load_bundle` takes it."""
    name: str | None = None
    """Of the registered model."""
    version: int | None = None
    run_id: str | None = None
    given: str
    """What the user wrote."""

    @property
    def pinned(self) -> str:
        """A name that means this model tomorrow too: an alias moves on, a version does not."""
        if self.name is not None:
            return f"models:/{self.name}/{self.version}"
        if found := AT.fullmatch(self.given):
            return f"{Folder.at(found[1]).absolute}@{found[2]}"
        return self.given if re.match(r"runs:/|starter$", self.given) else str(self.folder.absolute())


def resolve(model: str) -> ModelReference:
    """Find a model; registered and logged ones are brought to this machine.

    Raises IcfaceError when there is none.
    """
    if model == starter.NAME:
        return ModelReference(folder=starter.FOLDER, given=model)
    if not re.match(r"(runs|models):/", model):
        if (found := AT.fullmatch(model)) and not Path(model).expanduser().is_dir():
            return ModelReference(folder=bundle_of_step(found[1], int(found[2])), given=model)
        folder = Path(model).expanduser()
        if not folder.is_dir():
            raise IcfaceError(
                f"{model} is not a model: give `starter`, a bundle folder, a run's folder and a step as runs/first@400,"
                " runs:/ID/bundle, models:/NAME/VERSION or models:/NAME@ALIAS"
            )
        return ModelReference(folder=folder, given=model)
    uri = use_tracking()
    from mlflow.exceptions import MlflowException

    from orchestration.tracking import heartbeat

    try:
        name, number, run_id = None, None, None
        if model.startswith("models:/"):
            name, number, run_id = _version(model)
        else:
            run_id = model.removeprefix("runs:/").lstrip("/").split("/")[0]
            heartbeat.mark_dead_runs()
        target = f"models:/{name}/{number}" if name else model
        folder = downloaded(target)
    except (MlflowException, OSError, ValueError) as error:
        raise IcfaceError(f"{model} is not in {uri}: {first_line(error)}") from None
    return ModelReference(folder=folder, name=name, version=number, run_id=run_id, given=model)


def downloaded(uri: str) -> Path:
    """The local path of an artifact in MLflow. A copy of a remote one is removed when this process ends.

    MLflow copies into a new temporary folder, and leaves it there. Raises MlflowException, OSError or ValueError for
    what is not there.
    """
    import mlflow

    temporary = Path(tempfile.gettempdir()).resolve()
    before = {path.name for path in temporary.iterdir()}
    path = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    place = path.resolve()
    if place.is_relative_to(temporary) and (top := place.relative_to(temporary).parts[0]) not in before:
        atexit.register(shutil.rmtree, temporary / top, ignore_errors=True)
    return path


def run_of(model: str) -> str | None:
    """The id of the run that made MODEL, as far as its name or the registry says it.

    Raises MlflowException, or ValueError, for a version that is not there.
    """
    if model.startswith("models:/"):
        return _version(model)[2]
    return model.removeprefix("runs:/").lstrip("/").split("/")[0] if model.startswith("runs:/") else None


def _version(model: str) -> tuple[str, int, str | None]:
    import mlflow

    client = mlflow.MlflowClient()
    rest = model.removeprefix("models:/").strip("/")
    if "@" in rest:
        name, alias = rest.split("@", 1)
        known = client.get_registered_model(name).aliases
        if alias not in known:
            there = ", ".join(sorted(known)) or "none; `icface models promote` gives one"
            raise ValueError(f"{name} has no alias {alias!r}, its aliases are: {there}")
        found = client.get_model_version_by_alias(name, alias)
    else:
        name, _, number = rest.rpartition("/")
        if not name or not number.isdigit():
            raise ValueError("write models:/NAME/VERSION or models:/NAME@ALIAS")
        found = client.get_model_version(name, number)
    return name, int(found.version), found.run_id
