"""Runs in MLflow: how they begin, belong together, end, and what is noted of them."""

import getpass
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from icface.errors import IcfaceError, first_line
from orchestration.cluster import versions as versions_of_code
from orchestration.registry.descriptions import STEPS_TAG, TAG_LENGTH, describe
from orchestration.tracking.run_logger import experiment_id, restoring
from pipelines.dataset import Dataset
from pipelines.loading.mixture import Mixture, Part

EARLY_TAG = "icface.ended_early"


def user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return "unknown"


_parent: ContextVar[str | None] = ContextVar("parent", default=None)


@contextmanager
def nested_under(run_id: str | None) -> Iterator[None]:
    """Runs that begin inside the block are parts of this run, which ends with it: FINISHED, FAILED or KILLED."""
    token = _parent.set(run_id)
    status = "FINISHED"
    try:
        if run_id:
            end_run(run_id, "RUNNING")
        yield
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        raise
    finally:
        _parent.reset(token)
        if run_id:
            end_run(run_id, status)


def start_sweep(name: str, tags: Mapping[str, str]) -> str:
    """A new run that others are to be parts of; returns its id."""
    client = mlflow.MlflowClient()
    return str(client.create_run(experiment_id(), run_name=name, tags=dict(tags)).info.run_id)


def start_run(
    name: str, params: Mapping[str, Any], facts: Mapping[str, Any], commit: str | None, dataset: Dataset | Mixture
) -> str:
    """A new run with its parameters, tags and the data sets as its inputs; returns the run's id."""
    client = mlflow.MlflowClient()
    tags = {f"icface.{key}": str(value) for key, value in facts.items()}
    tags |= {"mlflow.source.name": "icface train", "mlflow.source.type": "LOCAL", "mlflow.user": user()}
    if parent := _parent.get():
        tags["mlflow.parentRunId"] = parent
    commit = commit or versions_of_code.commit()
    if commit:
        tags["mlflow.source.git.commit"] = commit.rstrip("+")
        tags["icface.commit"] = commit
    run = client.create_run(experiment_id(), run_name=name, tags=tags)
    run_id = str(run.info.run_id)
    items = [mlflow.entities.Param(key, str(value)) for key, value in params.items()]
    client.log_batch(run_id, params=items)
    client.log_dict(run_id, dict(params), "config.json")
    describe(client, client.get_run(run_id))
    client.log_inputs(run_id, [_dataset_input(part) for part in Mixture.of(dataset).parts])
    return run_id


def _dataset_input(part: Part) -> Any:
    from mlflow.entities import Dataset as TrackedDataset
    from mlflow.entities import DatasetInput, InputTag

    dataset = part.dataset
    counts = dataset.meta["counts"]
    return DatasetInput(
        dataset=TrackedDataset(
            name=Path(dataset.url).name,
            digest=dataset.hash[:36],
            source_type="local",
            source=json.dumps({"uri": dataset.url}),
            profile=json.dumps({"counts": counts, "analyzer": dataset.analyzer}),
        ),
        tags=[InputTag("mlflow.data.context", "training"), InputTag("icface.share", f"{part.share:g}")],
    )


def end_run(run_id: str, status: str) -> None:
    """Set a run's status: RUNNING, FINISHED, FAILED or KILLED. Raises IcfaceError when there is no such run."""
    client = mlflow.MlflowClient()
    try:
        if status == "RUNNING":
            client.update_run(run_id, status=status)
        else:
            client.set_terminated(run_id, status=status)
    except MlflowException as error:
        raise IcfaceError(f"the run {run_id} is not in {mlflow.get_tracking_uri()}: {first_line(error)}") from None


def has_run(run_id: str) -> bool:
    """Whether the tracking server knows the run, and it was not deleted."""
    try:
        return str(mlflow.MlflowClient().get_run(run_id).info.lifecycle_stage) == "active"
    except MlflowException:
        return False


def check_kept(run_id: str, model: str) -> None:
    """Raises IcfaceError when the run of `model` was deleted, so that nothing can be recorded with it."""
    run = mlflow.MlflowClient().get_run(run_id)
    if run.info.lifecycle_stage != "active":
        mend = restoring(run.info.experiment_id)
        raise IcfaceError(
            f"the run of {model} was deleted, and what is measured could not be recorded: {mend} restores a deleted "
            f"experiment, `mlflow runs restore --run-id {run_id}` a run"
        )


def note_changes(run_id: str, changed: list[str]) -> None:
    """Keep what a run changed when it went on, as a tag: MLflow's parameters cannot change."""
    client = mlflow.MlflowClient()
    if changed:
        client.set_tag(run_id, "icface.changed_by_resume", "; ".join(changed)[:TAG_LENGTH])
    if longer := [words.rpartition(" ")[2] for words in changed if words.startswith("steps ")]:
        client.set_tag(run_id, STEPS_TAG, longer[0])
        describe(client, client.get_run(run_id))


def note_end(run_id: str, steps: int, early: bool) -> None:
    """Keep after how many steps the training was over, where that was `early` because it got no better."""
    client = mlflow.MlflowClient()
    before = EARLY_TAG in client.get_run(run_id).data.tags
    if early:
        client.set_tag(run_id, EARLY_TAG, f"after {steps} steps: its evaluations got no better")
    elif before:
        client.delete_tag(run_id, EARLY_TAG)
    if early or before:
        client.set_tag(run_id, STEPS_TAG, str(steps))
        describe(client, client.get_run(run_id))


def log_bundle(run_id: str, bundle: Path) -> None:
    """The bundle's files as the run's artifact `bundle`."""
    mlflow.MlflowClient().log_artifacts(run_id, str(bundle), "bundle")
