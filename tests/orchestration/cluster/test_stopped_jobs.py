"""`icface submit stop` on a training: the job ends at once, and MLflow does not say that it still runs."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
import yaml
from support.killed_trainings import TrackingServer
from support.synthetic_pairs import TINY

from orchestration.__main__ import main
from orchestration.cluster import submission
from orchestration.cluster.submitted_command import stop_seconds

pytestmark = pytest.mark.system

PATIENCE = 600.0
"""Seconds for a job to come as far as the test wants it, on a busy machine."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    started = TrackingServer(tmp_path_factory.mktemp("tracking"))
    started.start()
    yield started
    started.end()


@pytest.fixture
def train(
    head: str,
    server: TrackingServer,
    small_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Submits a training of a day; returns the job's id."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "steps": 1_000_000, "checkpoint_every": 1_000_000}))

    def submit(name: str, *more: str) -> str:
        words = ["submit", "train", str(small_dataset), "--preset", "small", "--config", "tiny.yaml", "--name", name]
        words += ["--storage", str(tmp_path / "runs"), *more, "--no-wait", "--address", head]
        assert main(words) == 0
        return capsys.readouterr().out.split('"job": "')[-1].split('"')[0]

    return submit


def until_it_says(head: str, job: str, words: str) -> None:
    """Wait until the job's output has these words."""
    deadline = time.monotonic() + PATIENCE
    while words not in (told := submission.logs(head, job)):
        assert submission.state(head, job).status not in submission.DONE, told
        assert time.monotonic() < deadline, told
        time.sleep(0.5)


def stopped(head: str, job: str, capsys: pytest.CaptureFixture[str]) -> float:
    """Stop the job as a user does; the seconds that it took."""
    began = time.monotonic()
    assert main(["submit", "stop", job, "--address", head]) == 0
    assert '"status": "STOPPED"' in capsys.readouterr().out
    return time.monotonic() - began


def run_status(server: TrackingServer, name: str) -> str:
    client = mlflow.MlflowClient(server.uri)
    everywhere = [found.experiment_id for found in client.search_experiments()]
    (run,) = client.search_runs(everywhere, f"attributes.run_name = '{name}'")
    return str(run.info.status)


def test_a_training_that_waits_for_a_gpu_is_stopped(
    head: str, server: TrackingServer, train: Callable[..., str], capsys: pytest.CaptureFixture[str]
):
    job = train("waits", "--gpu")
    until_it_says(head, job, "waiting for 1 GPU, the cluster has 0")
    assert run_status(server, "waits") == "RUNNING"
    assert stopped(head, job, capsys) < stop_seconds(["train"]) / 2
    assert run_status(server, "waits") == "KILLED"
    assert "a checkpoint is written" not in submission.logs(head, job)


def test_a_training_at_work_writes_its_checkpoint_and_stops(
    head: str, server: TrackingServer, train: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    job = train("works")
    until_it_says(head, job, '"name": "training"')
    assert run_status(server, "works") == "RUNNING"
    assert stopped(head, job, capsys) < stop_seconds(["train"]) / 2
    assert run_status(server, "works") == "KILLED"
    told = submission.logs(head, job)
    assert "stopping: a checkpoint is written" in told
    assert "icface train --resume --name works" in told
    assert list((tmp_path / "runs/works").glob("checkpoint_0*/training.pt"))
