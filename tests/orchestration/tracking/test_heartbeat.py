"""Runs whose driver died are ended in MLflow by whoever looks next; those that live are left alone."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import mlflow
import pytest

from icface.errors import IcfaceError
from orchestration.tracking import heartbeat
from orchestration.tracking.heartbeat import DRIVER_TAG, SEEN_TAG, Driver, check_free, mark_dead_runs
from orchestration.tracking.run_logger import experiment_id, send_again
from orchestration.train.coordinator import RESTARTS, TrainingCoordinator

ELSEWHERE = Driver(host="elsewhere", place="another boot", pid=1, started="1")


def start(driver: Driver, seen: float) -> str:
    tags = {DRIVER_TAG: json.dumps(asdict(driver)), SEEN_TAG: str(int(seen))}
    return mlflow.MlflowClient().create_run(experiment_id(), tags=tags).info.run_id


def status(run: str) -> str:
    return mlflow.MlflowClient().get_run(run).info.status


def test_a_dead_process_is_found_out_and_its_run_ended(workplace: Path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    now = time.time()
    dead = start(replace(Driver.here(), pid=gone.pid), now)
    again = start(replace(Driver.here(), started="0"), now)  # the number is used again by another process
    living = start(Driver.here(), 0)  # on this machine the process decides, not when it was seen
    assert len(mark_dead_runs()) == 2
    assert [status(run) for run in (dead, again, living)] == ["KILLED", "KILLED", "RUNNING"]
    tags = mlflow.MlflowClient().get_run(dead).data.tags
    assert f"process {gone.pid}" in tags[heartbeat.ENDED_TAG]
    mlflow.MlflowClient().set_terminated(living)


def test_a_driver_elsewhere_is_dead_after_a_silence(workplace: Path):
    silent, heard = start(ELSEWHERE, time.time() - 2 * heartbeat.SILENCE_SECONDS), start(ELSEWHERE, time.time())
    mark_dead_runs()
    assert [status(run) for run in (silent, heard)] == ["KILLED", "RUNNING"]
    with pytest.raises(IcfaceError, match="is being trained by process 1 on elsewhere"):
        check_free(heard)
    check_free(silent)
    mlflow.MlflowClient().set_terminated(heard)


def test_a_driver_says_that_it_is_there(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    client = mlflow.MlflowClient()
    run = client.create_run(experiment_id()).info.run_id
    with heartbeat.heartbeat(run):
        client.set_tag(run, SEEN_TAG, "0")
        while client.get_run(run).data.tags[SEEN_TAG] == "0":
            pass
        assert json.loads(client.get_run(run).data.tags[DRIVER_TAG]) == asdict(Driver.here())
        check_free(run)
    assert mark_dead_runs() == []


def test_kept_numbers_are_sent_again(workplace: Path):
    run = mlflow.MlflowClient().create_run(experiment_id()).info.run_id
    lines = [json.dumps({"name": "loss", "value": 1 / step, "timestamp": step, "step": step}) for step in (1, 2)]
    send_again(run, "\n".join(lines).encode())
    history = mlflow.MlflowClient().get_metric_history(run, "loss")
    assert [(item.step, item.value) for item in history] == [(1, 1.0), (2, 0.5)]


def test_deaths_count_only_without_a_checkpoint_in_between():
    coordinator = TrainingCoordinator()
    assert all(coordinator.begin(step) for step in (0, 0, 5, 5, 5, 5, 10))
    coordinator.note("CUDA out of memory")
    assert all(coordinator.begin(10) for _ in range(RESTARTS))
    assert not coordinator.begin(10)
    assert coordinator.read().error.endswith("without a checkpoint in between: CUDA out of memory")
