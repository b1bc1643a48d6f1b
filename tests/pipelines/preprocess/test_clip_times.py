"""A clip of variable rate: its rows have the times at which a player shows the frames."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from support.datasets import flat_config

from icface.analyzers import create
from icface.video.reading import read_frames
from pipelines.preprocess.clip_rows import clip_rows
from pipelines.sources import Clip

STEPS = [100] * 10 + [33, 33, 34] * 3 + [600, 40]
"""Milliseconds that each frame is shown: no index / fps gives these times, and 0.6 s without a face end no track."""


@pytest.fixture
def uneven(sample_clips: dict[str, Path], tmp_path: Path) -> Path:
    frames = next(read_frames(sample_clips["single_face.mp4"], window=len(STEPS)))[1]
    path = tmp_path / "uneven.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for frame, time in zip(frames, np.cumsum([0, *STEPS[:-1]]), strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = int(time), Fraction(1, 1000)
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    return path


def test_timestamps_are_presentation_times(uneven: Path) -> None:
    config = flat_config(source="x", dataset="y", size=32)
    analyzer = create("mediapipe")
    try:
        result = clip_rows(uneven, Clip("a/v/1", "1.mkv", 1), "val", config, analyzer)
        table = pa.concat_tables(list(result.tables))
    finally:
        analyzer.close()
    assert (result.row["status"], result.row["reader"], result.row["frames_kept"]) == ("ok", "decord", len(STEPS))
    times = np.cumsum([0, *STEPS[:-1]]) / 1000
    assert table["timestamp"].to_numpy() == pytest.approx(times, abs=1e-3)
    assert result.row["fps"] == pytest.approx((len(STEPS) - 1) / times[-1], rel=0.01)
    assert result.row["seconds"] == pytest.approx(sum(STEPS) / 1000, abs=0.05)
