"""What a second start does of a run that is recorded, registered, deleted or lost. Nothing is trained here."""

import json
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow.exceptions import MlflowException

from icface.bundle import ICface, save_bundle
from icface.errors import IcfaceError
from orchestration.config import TrainJob
from orchestration.registry.evaluation import evaluate_model
from orchestration.train import driver
from orchestration.train.driver import train
from orchestration.train.launch import Launch
from orchestration.train.progress import OnProgress, TrainingProgress
from orchestration.train.result import TrainResult
from orchestration.train.run_folder import BUNDLE


@pytest.fixture(scope="module")
def job(small_dataset: Path, tiny) -> TrainJob:
    return TrainJob(dataset=str(small_dataset), training=tiny, name="first", register="face")


@pytest.fixture(scope="module")
def trained(job: TrainJob, workplace: Path):
    """A run whose training ended at once, with the weights that it begins with."""

    def launch(ready: Launch, on_progress: OnProgress) -> TrainingProgress:
        torch.manual_seed(0)
        save_bundle(ICface(ready.bundle_config), ready.folder.path(BUNDLE))
        return TrainingProgress()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "launch", launch)
        result = train(job)
    assert isinstance(result, TrainResult)
    return result


def test_resuming_a_finished_run_registers_no_second_version(trained, job: TrainJob):
    again = train(replace(job, resume=True))
    assert (again.version, again.run_id) == (trained.version, trained.run_id)
    assert len(mlflow.MlflowClient().search_model_versions("name = 'face'")) == 1


def test_a_deleted_experiment_is_told_before_any_work(trained, job: TrainJob, small_dataset: Path, monkeypatch):
    def worked(*arguments: object, **options: object) -> None:
        raise AssertionError("it was not told before")

    monkeypatch.setattr("orchestration.train.driver.launch", worked)
    monkeypatch.setattr("orchestration.registry.evaluation.measure_all", worked)
    client = mlflow.MlflowClient()
    number = client.get_experiment_by_name("icface").experiment_id
    client.delete_experiment(number)
    try:
        for changed in (replace(job, name="third"), replace(job, resume=True)):
            with pytest.raises(IcfaceError, match="was deleted: `icface doctor --fix` restores it"):
                train(changed)
        with pytest.raises(IcfaceError, match=r"models:/face/1 was deleted.*icface doctor --fix"):
            evaluate_model("models:/face/1", str(small_dataset))
    finally:
        client.restore_experiment(number)


def test_an_evaluation_that_cannot_be_recorded_is_kept(trained, small_dataset: Path, workplace: Path, monkeypatch):
    def gone(*arguments: object) -> None:
        raise MlflowException("the server is gone")

    monkeypatch.setattr("orchestration.registry.evaluation_store.log_report", gone)
    with pytest.raises(IcfaceError, match=r"the server is gone.*it is in"):
        evaluate_model("models:/face/1", str(small_dataset), groups=("held_out",), per_track=1)
    kept = json.loads((workplace / f"evaluation-{trained.run_id}.json").read_text())
    assert kept["groups"]["held_out"]["pairs"] == 1


def test_a_run_whose_record_is_lost_goes_on_under_a_new_one(trained, job: TrainJob, workplace: Path):
    """As when mlflow.db is gone: the checkpoints and the bundle lie in the run's folder."""
    mlflow.MlflowClient().delete_run(trained.run_id)
    try:
        again = train(replace(job, resume=True, register=None))
        assert again.run_id != trained.run_id
        tags = mlflow.MlflowClient().get_run(again.run_id).data.tags
        assert tags["icface.continues"] == trained.run_id
        assert json.loads((workplace / "runs/first/run.json").read_text())["mlflow_run_id"] == again.run_id
    finally:
        mlflow.MlflowClient().restore_run(trained.run_id)


@pytest.mark.parametrize("name", ["team/face", "face:1", ".", "..", " "])
def test_a_name_that_mlflow_refuses_is_told_before_the_training(job: TrainJob, name: str):
    with pytest.raises(ValueError, match="MLflow takes names without"):
        replace(job, register=name)
