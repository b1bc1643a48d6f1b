"""A data set for evaluation only, made of a clip that is cut off: what decodes is kept, and no training takes it."""

from pathlib import Path

import pytest
from support.datasets import build_dataset, flat_config

from icface.errors import IcfaceError
from icface.training.config import TrainConfig
from orchestration.train.bundle_config import make_bundle_config
from pipelines.config import PreprocessConfig
from pipelines.dataset import Dataset
from pipelines.loading.evaluation_pairs import EvaluationPairs
from pipelines.sources import assign_splits


@pytest.fixture(scope="module")
def source(sample_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cut") / "clips"
    data = sample_clips["WolfgangLanger_Pexels.mp4"].read_bytes()
    (folder / "wolfgang/v").mkdir(parents=True)
    (folder / "wolfgang/v/1.mp4").write_bytes(data[: len(data) * 6 // 10])
    return folder


def config(source: Path, dataset: Path, **options) -> PreprocessConfig:
    return flat_config(source=str(source), dataset=str(dataset), size=32, every=8, val_fraction=1.0, **options)


def test_everybody_is_val():
    assert assign_splits(["ann", "bob"], 1.0, 0, frozenset({"bob"})) == {"ann": "val", "bob": "test"}
    assert assign_splits(["ann"], 1.0, 0) == {"ann": "val"}


def test_a_truncated_clip_fails_unless_it_is_asked_for(source: Path, tmp_path: Path):
    assert build_dataset(config(source, tmp_path / "data")).failed == 1


def test_what_decodes_is_kept_for_evaluation_and_training_refuses_it(source: Path, tmp_path: Path):
    summary = build_dataset(config(source, tmp_path / "data", keep_truncated=True))
    assert (summary.ok, summary.failed) == (1, 0)
    dataset = Dataset.open(str(tmp_path / "data"))
    row = dataset.clips().iloc[0]
    assert row["status"] == "ok"
    assert row["reason"] == "wolfgang/v/1.mp4: the file is cut off, 288 of 472 frames can be read"
    assert row["frames_read"] == 36
    assert dataset.schema.attributes[0].measured_share == 1
    assert len(EvaluationPairs(dataset, groups=("val",), per_track=5)) == 5
    with pytest.raises(IcfaceError, match="no frames to train on"):
        make_bundle_config(TrainConfig.preset("small").merge({"model": {"size": 32}}), dataset)
