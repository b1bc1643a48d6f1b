"""`benchmarks/gpu_run.py`: the whole program on a CPU, with a second data set beside the first."""

import csv
import json
import sys
from pathlib import Path

import pytest
from support.synthetic_pairs import TINY

from benchmarks import gpu_run
from icface.bundle import load_bundle
from icface.errors import IcfaceError


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    changes = json.dumps({name: TINY[name] for name in ("model", "data", "loss")})
    choice = ["--per-track", "2", "--tracks", "2", "--seconds", "1", "--preset", "small", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["gpu_run.py", *words, *choice, "--config", changes])
    gpu_run.main()


def test_other_data_sets_have_their_share_of_the_training(
    small_dataset: Path, synthetic_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All of the time is over after the calibration, so the training has a single step.
    run(monkeypatch, str(small_dataset), str(tmp_path), "--with", f"{synthetic_dataset}:0.3")
    sets = load_bundle(tmp_path / "bundle").config.training["datasets"]
    assert [(each["name"], each["share"]) for each in sets] == [("data", 0.7), ("synthetic", 0.3)]
    with (tmp_path / "predictions" / "predictions.csv").open(newline="") as file:
        keys = {row["key"] for row in csv.DictReader(file)}
    assert keys and not any(key.startswith("synthetic") for key in keys), "real people alone are rendered"


def test_a_share_that_is_none_is_refused(small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IcfaceError, match="share of the pairs"):
        run(monkeypatch, str(small_dataset), str(tmp_path), "--with", "synthetic")
