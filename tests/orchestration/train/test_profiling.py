"""The trace of a few steps, kept with a run of a real store."""

import gzip
import json
from pathlib import Path

import mlflow
import torch

from orchestration.tracking.run_logger import experiment_id
from orchestration.train.profiling import FOLDER, TRACED, WARM, StepProfiler


def traced(run_id: str, steps: int) -> StepProfiler:
    profiler = StepProfiler(run_id, steps, gpu=False)
    for _ in range(steps):
        torch.randn(8, 8) @ torch.randn(8, 8)
        profiler.step()
    return profiler


def test_the_last_steps_of_a_short_training_are_kept_with_its_run(workplace: Path, tmp_path: Path):
    run = mlflow.MlflowClient().create_run(experiment_id())
    profiler = traced(run.info.run_id, WARM + TRACED)
    assert profiler.problem is None
    kept = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=FOLDER, dst_path=tmp_path))
    assert "aten::mm" in (kept / "operators.txt").read_text()
    with gzip.open(kept / "trace.json.gz", "rt") as file:
        names = [event.get("name") for event in json.load(file)["traceEvents"]]
    assert names.count("aten::mm") == TRACED


def test_a_trace_that_cannot_be_kept_is_told_and_ends_no_training(workplace: Path):
    assert "0" * 32 in (traced("0" * 32, WARM + TRACED).problem or "")
