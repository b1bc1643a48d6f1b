"""Animating from files, with a model that has learned nothing: what counts here is what comes out where."""

from pathlib import Path

import av
import pandas as pd
import pytest

from icface.images import encode_png, read_image
from icface.video.reading import read_frames
from orchestration.__main__ import main
from orchestration.animation import animate
from orchestration.config import AnimateJob


@pytest.fixture(scope="module")
def portrait(sample_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("portrait") / "portrait.png"
    _, frames = next(read_frames(sample_clips["single_face.mp4"]))
    path.write_bytes(encode_png(frames[0]))
    return path


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("driver") / "driver.csv"
    pd.DataFrame({"timestamp": [0.0, 0.1, 0.2], "AU12": [0, 2, 4], "pose_yaw": [0, 0.1, 0.9]}).to_csv(path, index=False)
    return path


def test_driving_video(untrained_bundle: Path, portrait: Path, driver: Path, tmp_path: Path):
    output = tmp_path / "new" / "out.mp4"
    made = animate(
        AnimateJob(model=str(untrained_bundle), source_image=str(portrait), drive=str(driver), output=str(output))
    )
    assert made.frames == 3
    assert made.clamped == {"pose_yaw": 1, "AU12": 2}  # beyond the range, and beyond what the clip shows
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == (32, 32)
        assert float(stream.average_rate) == pytest.approx(10)


def test_edits_alone_make_a_picture_or_a_film(untrained_bundle: Path, portrait: Path, tmp_path: Path, capsys):
    for name, frames in (("one.png", 1), ("film.gif", 50)):
        arguments = [str(untrained_bundle), str(portrait), "--set", "AU12=3.5", "yaw=20", "-o", str(tmp_path / name)]
        assert main(["animate", *arguments]) == 0
        assert f'"frames": {frames}}}' in capsys.readouterr().out
    assert read_image(tmp_path / "one.png").shape == (32, 32, 3)


def test_a_gpu_that_is_not_there_is_said(
    untrained_bundle: Path, portrait: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["animate", str(untrained_bundle), str(portrait), "--set", "AU12=1", "--gpu", "-o", "a.png"]) == 1
    assert capsys.readouterr().err.startswith("icface: --gpu: PyTorch sees no GPU here")


def test_parts_of_several_drivers(untrained_bundle: Path, portrait: Path, driver: Path, tmp_path: Path):
    output = tmp_path / "sheet.png"
    made = animate(
        AnimateJob(
            model=str(untrained_bundle),
            source_image=str(portrait),
            mouth_from=str(driver),
            scale=("AU12=0.5",),
            add=("pitch=5",),
            output=str(output),
        )
    )
    assert made.frames == 3
    assert read_image(output).shape[1] > 3 * 32
