"""A training that has no place to run: refused on one machine, told on a cluster, ended by one Ctrl-C."""

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
import ray

import orchestration
from icface.errors import IcfaceError
from orchestration.__main__ import main
from orchestration.config import TrainJob
from orchestration.registry import runs
from orchestration.tracking.run_logger import use_tracking
from orchestration.train import launch as launching
from orchestration.train import waiting
from orchestration.train.bundle_config import make_bundle_config
from orchestration.train.launch import THREAD, Launch, launch
from orchestration.train.progress import TrainingProgress
from orchestration.train.run_folder import run_folder
from pipelines.cluster import connect
from pipelines.loading.mixture import Mixture


@pytest.fixture
def job(small_dataset: Path, tiny) -> TrainJob:
    return TrainJob(dataset=str(small_dataset), training=tiny, name="nowhere", gpu=True)


def test_without_a_gpu_one_machine_refuses_at_once(
    small_dataset: Path, workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("orchestration.train.driver.launch", lambda *_: pytest.fail("Ray was started for it"))
    assert main(["train", str(small_dataset), "--model.size", "32", "--gpu", "--workers", "2", "--name", "gpu"]) == 1
    said = capsys.readouterr().err
    assert "--gpu wants 2 GPUs, one for each process, and this machine has 0" in said
    assert not (workplace / "runs/gpu").exists(), "no run was begun"


def test_a_cluster_is_waited_for_and_one_ctrl_c_ends_it(
    job: TrainJob, workplace: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(waiting, "TELL_SECONDS", 1.0)
    uri = use_tracking()
    dataset = Mixture.open(job.dataset)
    run = runs.start_run("nowhere", {}, {}, None, dataset)
    told: list[str] = []

    def press_ctrl_c(progress: TrainingProgress) -> None:
        if progress.stage:
            told.append(progress.stage)
        if len(told) == 3:
            raise KeyboardInterrupt

    ready = Launch(
        job=replace(job, address="127.0.0.1:1"),  # joined already: see connect
        name="nowhere",
        folder=run_folder(str(workplace / "runs"), "nowhere"),
        dataset=dataset,
        tracking_uri=uri,
        mlflow_run_id=run,
        bundle_config=make_bundle_config(job.training, dataset),
        init=None,
    )
    with connect("local", 2, packages=(orchestration,)):
        monkeypatch.setattr("orchestration.train.launch.check_cluster_consistency", lambda *_: None)
        ended = launch(ready, press_ctrl_c)
        # It would be inside Ray when Ray is shut down, and abort this process.
        assert THREAD not in {thread.name for thread in threading.enumerate()}
        with pytest.raises(IcfaceError, match="--gpu wants 1 GPU, one for each process, and this machine has 0"):
            launch(replace(ready, job=job), press_ctrl_c)
    assert [sentence.split(" (")[0] for sentence in told] == ["waiting for 1 GPU, the cluster has 0"] * 3
    assert not any("checkpoint" in sentence for sentence in told)
    assert ended.step is None
    assert mlflow.MlflowClient().get_run(run).info.status == "KILLED"


def test_ranks_whose_coordinator_is_too_busy_to_answer_are_waited_for(monkeypatch: pytest.MonkeyPatch):
    """After a Ctrl-C a training without ranks is left at once; these are there, and write a checkpoint."""
    monkeypatch.setattr(launching, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(launching, "ALONE_SECONDS", 0.0)
    monkeypatch.setattr(launching, "_read", lambda _: TrainingProgress(starts=(0,)))
    ended, told = threading.Event(), []

    def late(*_: object, timeout: float) -> None:
        told.append("late")
        if told.count("late") == 4:
            ended.set()  # the checkpoint was written
        raise ray.exceptions.GetTimeoutError

    def press_ctrl_c(progress: TrainingProgress) -> None:
        if not told:
            raise KeyboardInterrupt

    monkeypatch.setattr(launching.ray, "get", late)
    there = SimpleNamespace(remote=lambda: None)
    coordinator = SimpleNamespace(ask_to_stop=there, ranks=there)
    waits = SimpleNamespace(sentence=lambda: None)
    known, left = launching._watch(coordinator, ended, waits, None, press_ctrl_c)
    assert not left and known.starts == (0,)
