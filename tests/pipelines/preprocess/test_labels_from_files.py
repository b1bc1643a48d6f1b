"""Preprocessing with labels that OpenFace made beforehand, through the whole job."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.datasets import flat_config
from support.openface_tables import openface_table

from icface.video.reading import read_frames
from pipelines.config import PreprocessConfig
from pipelines.dataset import Dataset
from pipelines.preprocess.job import preprocess

pytestmark = pytest.mark.usefixtures("ray_here")

EVERY = 3


@pytest.fixture(scope="module")
def frames(sample_clips: dict[str, Path]) -> int:
    return sum(len(indices) for indices, _ in read_frames(sample_clips["single_face.mp4"]))


@pytest.fixture
def source(tmp_path: Path, sample_clips: dict[str, Path]) -> Path:
    for identity in ("ann", "bob", "cyd"):
        (tmp_path / f"clips/{identity}/v").mkdir(parents=True)
        shutil.copy(sample_clips["single_face.mp4"], tmp_path / f"clips/{identity}/v/1.mp4")
    return tmp_path / "clips"


def test_labels_are_those_of_the_files_and_a_file_of_another_clip_fails_its_clip(
    source: Path, tmp_path: Path, frames: int
):
    root = tmp_path / "csv"
    table = openface_table(frames)
    table.loc[6, "success"] = 0
    table.loc[9, "confidence"] = 0.5
    shorter = openface_table(frames - EVERY - 1)
    for identity, data in (("ann", table), ("bob", shorter)):
        (root / identity / "v").mkdir(parents=True)
        data.rename(columns=lambda name: f" {name}").to_csv(root / identity / "v/1.csv", index=False)
    config = flat_config(
        source=str(source),
        dataset=str(tmp_path / "data"),
        size=32,
        every=EVERY,
        val_fraction=0.0,
        analyzer="openface",
        analyzer_options={"root": str(root)},
    )
    summary = preprocess(config)
    assert (summary.ok, summary.failed) == (1, 2)
    dataset = Dataset.open(summary.url)
    reasons = dataset.clips().set_index("clip")["reason"]
    assert f"{frames - EVERY - 1} frames" in reasons["bob/v/1"]
    assert "there is no OpenFace csv" in reasons["cyd/v/1"]
    assert dataset.analyzer["name"] == "openface"

    rows = [dataset.read(group).to_pandas() for group in dataset.row_groups("train")]
    rows += [dataset.read(group).to_pandas() for group in dataset.row_groups("train", held_out=True)]
    stored = pd.concat(rows).set_index("frame")
    assert {6, 9}.isdisjoint(stored.index)
    assert {0, 3, 12} <= set(stored.index)
    for ours, theirs in (("pose_yaw", "pose_Ry"), ("AU14", "AU14_r"), ("AU45", "AU45_r")):
        assert np.allclose(stored[ours], table[theirs][stored.index], atol=1e-6)


def test_the_files_may_lie_beside_the_clips(source: Path, tmp_path: Path, frames: int):
    for identity in ("ann", "bob", "cyd"):
        openface_table(frames).to_csv(source / identity / "v/1.csv", index=False)
    config = flat_config(
        source=str(source), dataset=str(tmp_path / "data"), size=32, every=10, val_fraction=0.0, analyzer="openface"
    )
    assert preprocess(config).ok == 3


def test_options_of_an_analyzer_that_is_not_asked_for_are_refused():
    with pytest.raises(ValueError, match="openface_root"):
        PreprocessConfig.from_flat({"source": "clips", "dataset": "data", "openface_root": "csv"})
    with pytest.raises(ValueError, match=r"unknown field mediapipe\.root"):
        flat_config(source="clips", dataset="data", analyzer_options={"root": "csv"})
    with pytest.raises(ValueError, match="gpus"):
        flat_config(source="clips", dataset="data", gpus=1)


def test_the_device_does_not_name_a_data_set_and_the_detector_does():
    def naming(**options) -> dict[str, object]:
        return flat_config(source="clips", dataset="data", analyzer="pyfeat", **options).naming()

    assert naming(gpus=0.5) == naming(analyzer_options={"detector": "v2"}) != naming()
    assert naming()["pyfeat_detector"] == "v1"
    assert "openface_root" not in naming()
