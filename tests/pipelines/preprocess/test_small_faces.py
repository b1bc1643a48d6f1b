"""What a data set says of clips whose faces are small, or missing in most frames."""

from pathlib import Path

import av
import numpy as np
import pytest
from support.datasets import build_dataset, flat_config

from icface.video.reading import read_frames
from pipelines.dataset import Dataset


def write(path: Path, frames: np.ndarray) -> None:
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as target:
        stream = target.add_stream("mpeg4", rate=25, width=frames.shape[2], height=frames.shape[1])
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for frame in frames:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        target.mux(stream.encode())


def test_small_and_missing_faces_are_told(sample_clips: dict[str, Path], tmp_path: Path):
    faces = next(read_frames(sample_clips["single_face.mp4"], every=2, window=12))[1][:, :, :]
    faces = faces[:, : faces.shape[1] // 2 * 2, : faces.shape[2] // 2 * 2]
    write(tmp_path / "clips/far/v/1.mp4", faces)
    write(tmp_path / "clips/gone/v/1.mp4", np.concatenate([faces, np.zeros((20, *faces.shape[1:]), np.uint8)]))
    config = flat_config(
        source=str(tmp_path / "clips"), dataset=str(tmp_path / "data"), size=32, min_face=40, val_fraction=0.0
    )
    summary = build_dataset(config)
    assert (summary.ok, summary.half_lost) == (2, 1)
    assert Dataset.open(config.dataset).meta["counts"]["half_lost"] == 1
    small = flat_config(
        source=str(tmp_path / "clips"), dataset=str(tmp_path / "other"), size=32, min_face=2000, val_fraction=0.0
    )
    summary = build_dataset(small)
    assert summary.reasons == {"no face": 1, "small face": 1}
    reasons = Dataset.open(small.dataset).clips().set_index("identity")["reason"]
    assert reasons["far"].startswith("small face (")
    assert reasons["far"].endswith(" px high at most, --min-face is 2000)")


def test_a_least_confidence_is_refused_where_none_is_told():
    with pytest.raises(ValueError, match="min_confidence does nothing with the analyzer mediapipe"):
        flat_config(source="s", dataset="d", min_confidence=0.9)
    told = flat_config(source="s", dataset="d", min_confidence=0.9, analyzer="mediapipe-torch")
    assert told.filters.min_confidence == 0.9
