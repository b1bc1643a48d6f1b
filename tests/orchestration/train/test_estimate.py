"""What `icface train --dry-run` says before anything is done."""

import json
from pathlib import Path

import pytest
import yaml
from support.synthetic_pairs import TINY

from icface.bundle import load_bundle
from orchestration.__main__ import main
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
