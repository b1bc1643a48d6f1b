"""Animating from files, with a model that has learned nothing: what counts here is what comes out where."""

from pathlib import Path

import av
import pandas as pd
import pytest

from icface.images import encode_png, read_image
from icface.video.reading import read_frames, read_windows
from icface.video.writing import write_video
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


@pytest.mark.parametrize("link", ["same name", "other spelling", "link"])
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_an_input_is_never_written_over(
    untrained_bundle: Path, portrait: Path, tmp_path: Path, capsys, link: str, overwrite: list[str]
):
    own = tmp_path / "me.png"
    own.write_bytes(portrait.read_bytes())
    output = {"same name": own, "other spelling": tmp_path / "." / "sub" / ".." / "me.png", "link": tmp_path / "l.png"}
    (tmp_path / "sub").mkdir()
    (tmp_path / "l.png").symlink_to(own)
    arguments = [str(untrained_bundle), str(own), "--set", "AU12=1", "-o", str(output[link]), *overwrite]
    assert main(["animate", *arguments]) == 1
    assert "which this command reads" in capsys.readouterr().err
    assert own.read_bytes() == portrait.read_bytes()


def test_the_driver_is_never_written_over(untrained_bundle: Path, portrait: Path, driver: Path, tmp_path: Path, capsys):
    film = write_video(tmp_path / "talk.mp4", [read_image(portrait)] * 3, 25)
    before = film.read_bytes()
    for option in ("--drive", "--mouth-from"):
        arguments = [str(untrained_bundle), str(portrait), option, str(film), "-o", str(film)]
        assert main(["animate", *arguments]) == 1
        assert "which this command reads" in capsys.readouterr().err
    assert film.read_bytes() == before


def test_what_exists_is_replaced_only_when_asked(untrained_bundle: Path, portrait: Path, tmp_path: Path, capsys):
    output = tmp_path / "o.png"
    output.write_bytes(b"mine")
    arguments = ["animate", str(untrained_bundle), str(portrait), "--set", "AU12=1", "-o", str(output)]
    assert main(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert output.read_bytes() == b"mine"
    assert main([*arguments, "--overwrite"]) == 0
    assert read_image(output).shape == (32, 32, 3)


def test_an_uneven_driver_makes_an_uneven_film(untrained_bundle: Path, portrait: Path, tmp_path: Path):
    times = [0.0, 0.1, 0.2, 0.7, 0.75]
    table = tmp_path / "driver.csv"
    pd.DataFrame({"timestamp": times, "AU12": range(5)}).to_csv(table, index=False)
    output = tmp_path / "out.mp4"
    animate(AnimateJob(model=str(untrained_bundle), source_image=str(portrait), drive=str(table), output=str(output)))
    assert [time for window in read_windows(output) for time in window.times] == pytest.approx(times, abs=1e-3)
