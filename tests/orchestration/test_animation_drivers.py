"""Animating from files: the kinds of drivers, and what becomes of their rows."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from icface.errors import IcfaceError
from icface.images import read_image
from icface.video.camera import LiveFrame
from icface.video.reading import read_frames, read_windows
from icface.video.writing import write_video
from orchestration.__main__ import main
from orchestration.animation import animate
from orchestration.clip_library import DatasetLibrary
from orchestration.config import AnimateJob
from orchestration.live import live_resolvers, show_live
from pipelines.dataset import Dataset


def test_an_uneven_driver_makes_an_uneven_film(untrained_bundle: Path, portrait: Path, tmp_path: Path):
    times = [0.0, 0.1, 0.2, 0.7, 0.75]
    table = tmp_path / "driver.csv"
    pd.DataFrame({"timestamp": times, "AU12": range(5)}).to_csv(table, index=False)
    output = tmp_path / "out.mp4"
    animate(AnimateJob(model=str(untrained_bundle), source_image=str(portrait), drive=str(table), output=str(output)))
    assert [time for window in read_windows(output) for time in window.times] == pytest.approx(times, abs=1e-3)


def test_the_curves_that_were_used_drive_again(other_bundle: Path, portrait: Path, driver: Path, tmp_path: Path):
    curves = tmp_path / "curves.csv"
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    job = AnimateJob(
        model=str(other_bundle),
        source_image=str(portrait),
        drive=str(driver),
        gain=("mouth=0.5", "pose=2"),
        start=0.1,
        save_attributes=str(curves),
        output=str(first),
    )
    assert animate(job).frames == 2
    table = pd.read_csv(curves)
    assert table["AU12"].tolist() == pytest.approx([1, 2])
    assert table["timestamp"].tolist() == pytest.approx([0, 0.1])
    assert len(table.columns) >= 21 and table.notna().all().all()
    animate(AnimateJob(model=str(other_bundle), source_image=str(portrait), drive=str(curves), output=str(again)))
    assert np.abs(read_image(first).astype(int) - read_image(again)).max() <= 1


def test_a_clip_of_a_data_set_drives(other_bundle: Path, portrait: Path, small_dataset: Path, tmp_path: Path, capsys):
    curves, output = tmp_path / "c.csv", tmp_path / "o.mp4"
    clip = "single/v/1"
    arguments = ["animate", str(other_bundle), str(portrait), "-o", str(output)]
    more = ["--layout", "driver,result", "--save-attributes", str(curves), "--smooth", "never"]
    assert main([*arguments, "--drive", f"{small_dataset}#{clip}", *more]) == 0
    stored = DatasetLibrary(Dataset.open(str(small_dataset))).table(clip)
    used = pd.read_csv(curves)
    assert used["frame"].tolist() == stored["frame"].tolist()
    np.testing.assert_allclose(used["AU25"], stored["AU25"], atol=1e-4)
    assert set(used["analyzer"]) == {"mediapipe"}
    with av.open(str(output)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (64, 32)
    capsys.readouterr()
    for driver, said in (
        (str(small_dataset), f"'{small_dataset}#single/v/1'"),
        (f"{small_dataset}#a/b/c", "no clip 'a/b/c'"),
    ):
        assert main([*arguments, "--drive", driver, "--overwrite"]) == 1
        assert said in capsys.readouterr().err


def test_attributes_of_another_analyzer_are_converted_only_when_asked(
    other_bundle: Path, portrait: Path, tmp_path: Path, capsys
):
    table, curves = tmp_path / "openface.csv", tmp_path / "used.csv"
    rows = pd.DataFrame({"timestamp": np.arange(60) / 25, "AU12": np.linspace(0.5, 1.5, 60), "analyzer": "openface"})
    rows.to_csv(table, index=False)
    arguments = ["animate", str(other_bundle), str(portrait), "--drive", str(table), "-o", str(tmp_path / "o.png")]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "measured by openface" in said and "--map-attributes" in said
    assert main([word.replace("--drive", "--keyframes") for word in arguments]) == 1
    assert "measured by openface" in capsys.readouterr().err
    assert main([*arguments, "--map-attributes", "--save-attributes", str(curves)]) == 0
    assert "brought to those of mediapipe" in capsys.readouterr().out
    rest = np.percentile(rows["AU12"], 20)
    np.testing.assert_allclose(pd.read_csv(curves)["AU12"], np.maximum(rows["AU12"] - rest, 0), atol=1e-4)


def test_a_short_driver_is_relative_to_its_first_face_and_says_so(
    other_bundle: Path, portrait: Path, driver: Path, tmp_path: Path, capsys
):
    table, curves = tmp_path / "short.csv", tmp_path / "used.csv"
    pd.DataFrame({"timestamp": [0, 0.04, 0.08], "AU12": [0.5, 1.0, 0.2]}).to_csv(table, index=False)
    arguments = ["animate", str(other_bundle), str(portrait), "--drive", str(table), "-o", str(tmp_path / "o.gif")]
    assert main([*arguments, "--relative", "--save-attributes", str(curves)]) == 0
    assert "has 3 frames with a face, too few" in capsys.readouterr().out
    assert pd.read_csv(curves)["AU12"].tolist() == pytest.approx([0, 0.5, 0])


def test_a_camera_is_recorded_first(
    other_bundle: Path, portrait: Path, sample_clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _, frames = next(read_frames(sample_clips["single_face.mp4"]))

    def filmed(name: str) -> Iterator[LiveFrame]:
        assert name == "camera:0"
        for index in range(1000):  # a camera in bad light: frames come unevenly
            yield LiveFrame(index / 20 + 0.01 * (index % 2), index, frames[index % len(frames)])

    monkeypatch.setattr("orchestration.driving.camera_frames", filmed)
    made = animate(
        AnimateJob(
            model=str(other_bundle),
            source_image=str(portrait),
            drive="camera:0",
            record=0.5,
            output=str(tmp_path / "o.mp4"),
        )
    )
    assert made.frames == 10
    times = [time for window in read_windows(tmp_path / "o.mp4") for time in window.times]
    assert times == pytest.approx([n / 20 + 0.01 * (n % 2) for n in range(10)], abs=2e-3)


def test_a_driver_shorter_than_the_video_is_held(
    other_bundle: Path, sample_clips: dict[str, Path], tmp_path: Path, portrait: Path, driver: Path
):
    short = write_video(tmp_path / "short.mp4", [read_image(portrait)] * 3, 25)
    clip = str(sample_clips["single_face.mp4"])
    job = AnimateJob(
        model=str(other_bundle),
        source_image=clip,
        drive=str(short),
        replace="mouth",
        pose_from=str(driver),
        save_attributes=str(tmp_path / "curves.csv"),
        layout="driver,result",
        output=str(tmp_path / "o.mp4"),
    )
    made = animate(job)
    assert made.frames > 3
    yaw = pd.read_csv(tmp_path / "curves.csv")["pose_yaw"]
    assert yaw.iloc[-1] == pytest.approx(0.08, abs=1e-3), "a region beside --replace, as long as the driver lasts"
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == made.frames


def test_the_live_page_is_for_whoever_has_its_address(
    other_bundle: Path, portrait: Path, sample_clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    """It shows a camera: other users of the machine reach the port, and must not see it."""
    served: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "orchestration.live.serve", lambda _, host, port, token, device, say: served.append((host, token))
    )
    clip = str(sample_clips["single_face.mp4"])
    job = AnimateJob(model=str(other_bundle), source_image=str(portrait), live=True, drive=clip)
    for _ in range(2):
        show_live(job, print)
    assert [host for host, _ in served] == ["127.0.0.1"] * 2
    first, second = (token for _, token in served)
    assert len(first) >= 20 and first != second


def test_what_the_live_page_is_given(other_bundle: Path, portrait: Path, sample_clips: dict[str, Path]):
    clip = str(sample_clips["single_face.mp4"])
    common = {"model": str(other_bundle), "source_image": str(portrait), "live": True}
    made, notices = live_resolvers(AnimateJob(**common, drive=clip, scale=("AU12=2",)))
    assert notices == [] and made.live is not None
    assert made.live.layout == ("driver", "result")
    assert next(made.live.frames()).picture.shape[2] == 3
    row = made.live.edit(pd.DataFrame({"AU12": [0.5], "AU45": [0.2]}), {})
    assert row["AU12"].tolist() == [1.0] and row["AU45"].tolist() == pytest.approx([0.2])
    with pytest.raises(IcfaceError, match="is a picture, which does not move"):
        live_resolvers(AnimateJob(**common, drive=str(portrait)))
    with pytest.raises(IcfaceError, match=r"none\.mp4"):
        live_resolvers(AnimateJob(**common, drive="none.mp4"))
