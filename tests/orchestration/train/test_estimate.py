"""What `icface train --dry-run` says before anything is done."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from support.synthetic_pairs import TINY

from icface.bundle import load_bundle
from orchestration.__main__ import main
from orchestration.config import TrainJob
from orchestration.reporting import correcting
from orchestration.terminal import Reporter
from orchestration.train.estimate import Forecast, forecast
from orchestration.train.progress import TrainingProgress
from pipelines.dataset import Dataset


def test_a_dry_run_measures_and_writes_nothing(
    small_dataset: Path,
    untrained_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(small_dataset), "--preset", "small", "--config", "tiny.yaml", "--dry-run"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]
    counts = Dataset.open(str(small_dataset)).meta["counts"]
    assert (found["frames"], found["identities"]) == (counts["frames"]["train"], counts["identities"]["train"])
    parameters = sum(tensor.numel() for tensor in load_bundle(untrained_bundle).parameters())
    assert found["parameters"] == f"{parameters / 1e6:.2f} million"
    weights = sum(path.stat().st_size for path in untrained_bundle.glob("*.safetensors")) / 2**20
    assert found["bundle_mib"] == pytest.approx(weights, abs=0.1)
    assert 0 < found["bundle_mib"] < found["checkpoint_mib"] < found["disk_mib"]
    assert found["seconds_a_step_about"] > 0


def test_a_forecast_says_of_which_machine_it_is_and_is_corrected(
    small_dataset: Path, tiny, monkeypatch: pytest.MonkeyPatch
):
    job = TrainJob(dataset=str(small_dataset), training=tiny.merge({"steps": 200}))
    told = forecast(job)
    assert "if this machine stays as busy as it is now: 200 steps of" in told.line
    assert forecast(replace(job, resume=True, name="x")) is None
    assert forecast(replace(job, training=tiny)) is None, "a few steps are soon seen"

    clock = [100.0]
    monkeypatch.setattr("orchestration.reporting.time.monotonic", lambda: clock[0])

    def said(seconds_left: float) -> list[str]:
        """What is said in two minutes, with so much left after one."""
        stream = io.StringIO()
        show = correcting(Forecast(line="", seconds=91.0), Reporter(stream), lambda progress: None)
        for second in range(0, 121, 30):
            clock[0] += 30
            left = None if second < 30 else seconds_left
            show(TrainingProgress(step=second, seconds_left=left, starts=(0,)))
        return [json.loads(line)["text"] for line in stream.getvalue().splitlines()]

    assert said(30.0) == []
    (line,) = said(170.0)
    assert line.startswith("measured now, after 60 steps: 2 min 50 s left, 3 min 50 s in all. The 1 min 31 s")
