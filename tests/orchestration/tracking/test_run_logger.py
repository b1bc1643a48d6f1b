"""Recording a run when the server answers, and when it does not."""

import json
from pathlib import Path

import mlflow
import pytest

from icface.errors import IcfaceError
from orchestration.tracking import run_logger
from orchestration.tracking.run_logger import RunLogger, check_reach, experiment_id, tracking_uri, use_tracking


def test_sqlite_is_made_absolute(monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///sub/x.db")
    assert tracking_uri() == f"sqlite:///{tmp_path}/sub/x.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert tracking_uri() == "http://host:5000"


@pytest.mark.parametrize("uri", ["file:///tmp/x", "./mlruns"])
def test_file_store_is_refused(uri: str):
    with pytest.raises(IcfaceError, match="refuses file stores"):
        use_tracking(uri)


def test_what_only_one_node_sees_is_refused(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    check_reach("local")
    with pytest.raises(IcfaceError, match="sqlite tracking"):
        check_reach("head:6379")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://head:5000")
    check_reach("head:6379")


def test_numbers_arrive(workplace: Path, tmp_path: Path):
    client = mlflow.MlflowClient()
    run = client.create_run(experiment_id()).info.run_id
    logger = RunLogger(run, tmp_path / "unsent.jsonl")
    for step in range(5):
        logger.metrics(step, {"loss": 1 / (step + 1)})
    logger.close()
    assert [m.value for m in client.get_metric_history(run, "loss")] == [1 / (step + 1) for step in range(5)]
    assert logger.lost == 0
    assert not (tmp_path / "unsent.jsonl").exists()
    assert (workplace / "mlflow.db").exists()


def test_what_a_dead_server_never_took_lies_in_a_file(workplace: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(run_logger, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(run_logger, "PATIENCE_SECONDS", 0.05)
    logger = RunLogger("no-such-run", tmp_path / "unsent.jsonl")
    logger.metrics(3, {"loss": 0.5})
    logger.close()
    assert logger.lost == 1
    assert json.loads((tmp_path / "unsent.jsonl").read_text())["value"] == 0.5


def test_a_server_that_comes_back_gets_everything(workplace: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(run_logger, "RETRY_SECONDS", 0.01)
    client = mlflow.MlflowClient()
    run = client.create_run(experiment_id()).info.run_id
    logger = RunLogger(run, tmp_path / "unsent.jsonl")
    send, calls = logger._client.log_batch, []

    def gone_at_first(*arguments, **named):
        calls.append(1)
        if len(calls) < 4:
            raise ConnectionError("gone")
        return send(*arguments, **named)

    monkeypatch.setattr(logger._client, "log_batch", gone_at_first)
    logger.metrics(1, {"loss": 0.25})
    while len(calls) < 4:
        pass
    logger.close()
    assert client.get_run(run).data.metrics["loss"] == 0.25
    assert logger.lost == 0
