"""The configuration of a job: one level of names outside, a dataclass for each part inside."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.datasets import build_dataset, changed, flat_config

from icface.mappings import flat_fields
from icface.options import deciding
from pipelines.config import (
    AnalysisConfig,
    FilterConfig,
    PictureConfig,
    PreprocessConfig,
    RunningConfig,
    SelectionConfig,
)
from pipelines.dataset import Dataset

# As version 0.1 stored them, when all options were fields of one class.
STORED: dict[str, dict[str, Any]] = {
    "plain": {
        "every": 1,
        "layout": None,
        "val_fraction": 0.05,
        "seed": 0,
        "licence": "unknown",
        "analyzer": "mediapipe",
        "size": 128,
        "crop": "smooth",
        "tracks": "longest",
        "min_frames": 8,
        "min_face": 48,
        "min_confidence": 0.5,
        "min_sharpness": 0.0,
        "max_pose": 0.7,
        "keep_truncated": False,
        "max_several_faces": 0.2,
        "shard_clips": None,
    },
    "pyfeat": {
        "every": 3,
        "layout": "{identity}/{view}",
        "val_fraction": 0.0,
        "seed": 7,
        "licence": "L",
        "analyzer": "pyfeat",
        "size": 64,
        "crop": "track",
        "tracks": "longest",
        "min_frames": 8,
        "min_face": 48,
        "min_confidence": 0.5,
        "min_sharpness": 0.0,
        "max_pose": 0.5,
        "keep_truncated": True,
        "max_several_faces": 0.2,
        "shard_clips": 4,
        "pyfeat_detector": "v2",
    },
}


@pytest.mark.parametrize("stored", STORED.values(), ids=STORED)
def test_stored_options_are_read_and_written_as_they_were(stored: dict[str, Any]):
    assert flat_config(source="clips", dataset="data", **stored).naming() == stored


def test_the_parts_are_those_of_the_stored_options():
    config = PreprocessConfig(
        source="clips",
        dataset="data",
        selection=SelectionConfig(every=3, layout="{identity}/{view}", val_fraction=0.0, seed=7, licence="L"),
        analysis=AnalysisConfig(analyzer="pyfeat", gpus=0.5),
        pictures=PictureConfig(size=64, crop="track"),
        filters=FilterConfig(max_pose=0.5, keep_truncated=True),
        running=RunningConfig(shard_clips=4, workers=2),
    )
    assert config.naming() == STORED["pyfeat"]
    assert PreprocessConfig.from_flat(config.to_flat()) == config
    assert changed(config, size=32, workers=2) == changed(config, size=32)


def test_a_data_set_says_its_options_as_it_did(sample_clips: dict[str, Path], tmp_path: Path):
    """Its files say what they said when all options were fields of one class."""
    (tmp_path / "clips/a/v").mkdir(parents=True)
    (tmp_path / "clips/a/v/1.mp4").symlink_to(sample_clips["single_face.mp4"])
    config = flat_config(source=str(tmp_path / "clips"), dataset=str(tmp_path / "data"), every=24, size=32)
    config = changed(config, min_frames=2, val_fraction=0.0)
    build_dataset(config)
    stored = json.loads((tmp_path / "data/options.json").read_text())
    own = STORED["plain"] | {"every": 24, "size": 32, "min_frames": 2, "val_fraction": 0.0, "shard_clips": 1}
    assert stored.pop("analyzer").startswith("mediapipe (")
    assert stored == {name: value for name, value in own.items() if name != "analyzer"} | {"source": config.source}
    meta = json.loads((tmp_path / "data/dataset.json").read_text())
    assert meta["options"] == own | {"shard_clips": None}


def test_the_crop_is_smoothed_as_asked(sample_clips: dict[str, Path], tmp_path: Path):
    """Without smoothing the square is the face's box 1.6 times as large, in each frame."""
    (tmp_path / "clips/a/v").mkdir(parents=True)
    (tmp_path / "clips/a/v/1.mp4").symlink_to(sample_clips["single_face.mp4"])
    config = flat_config(source=str(tmp_path / "clips"), dataset=str(tmp_path / "data"), every=24, size=32)
    build_dataset(changed(config, min_frames=2, val_fraction=0.0, crop="centred", crop_smoothing=0.0))
    dataset = Dataset.open(str(tmp_path / "data"))
    assert dataset.crop_rule.smoothing_seconds == 0
    (group,) = dataset.row_groups("train")
    rows = dataset.read(group, ["box_x", "box_y", "box_w", "box_h", "crop_x", "crop_y", "crop_size"]).to_pandas()
    assert len(rows) >= 2
    assert rows.crop_size.to_numpy() == pytest.approx(1.6 * rows[["box_w", "box_h"]].max(axis=1).to_numpy(), rel=1e-5)
    for corner, start, side in (("crop_x", "box_x", "box_w"), ("crop_y", "box_y", "box_h")):
        middle = rows[corner] + rows.crop_size / 2
        assert middle.to_numpy() == pytest.approx((rows[start] + rows[side] / 2).to_numpy(), abs=1e-3)


def test_options_that_came_later_are_stored_where_they_do_something():
    later = {"max_clipped": 0.1, "max_jitter": 2.0, "max_text": 0.02, "crop_smoothing": 0.3}
    config = flat_config(source="clips", dataset="data", **later)
    assert config.naming() == STORED["plain"] | later


def test_no_two_options_have_one_name():
    names = [item.name for _, item in flat_fields(PreprocessConfig)]
    assert len(set(names)) == len(names) > 30


def test_each_part_marks_what_decides():
    assert deciding(RunningConfig) == ("shard_clips",)
    assert set(deciding(PictureConfig)) == {"size", "crop", "crop_smoothing", "tracks", "min_frames"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sise": 3}, "unknown field preprocess.sise; known here are source, dataset, every, layout, limit"),
        ({"size": "x"}, "preprocess.size must be a whole number, not 'x'"),
        ({"size": 3}, "size must be even, not 3"),
        ({"size": 0}, "size must be at least 1, not 0"),
        ({"limit": 0}, "limit must be at least 1, not 0"),
        ({"crop": "x"}, "preprocess.crop must be one of smooth, centred, track, frame, not 'x'"),
        ({"crop_smoothing": -1.0}, "crop_smoothing must lie in 0..60 seconds, not -1.0"),
        ({"gpus": -1.0}, "gpus must not be negative: -1.0"),
        ({"analyzer_workers": -1}, "analyzer_workers must not be negative: -1"),
        ({"max_failed": 2.0}, "max_failed must lie in 0..1, not 2.0"),
        ({"cpu_seconds": 0.0}, "cpu_seconds must be positive, not 0.0"),
        ({"analyzer": "no"}, "unknown analyzer 'no'; known are mediapipe"),
        ({"analyzer_options": 3}, "preprocess.analyzer_options must be fields, not 3"),
        ({"shard": "1/2", "check_identities": True}, "check_identities looks at all clips"),
        ({"pictures": {"size": 64}}, "unknown field preprocess.pictures"),
    ],
)
def test_mistakes_are_named_by_the_flat_name(options: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=re.escape(said)):
        PreprocessConfig.from_flat({"source": "clips", "dataset": "data", **options}, "preprocess")


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"preprocess\.source is missing"):
        PreprocessConfig.from_flat({"dataset": "data"}, "preprocess")
