"""Animating from files, with a model that has learned nothing: what counts here is what comes out where."""

from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pyexiv2
import pytest

from icface.analyzers import create
from icface.animate import Animator
from icface.control import read_driving
from icface.images import read_image, resize
from icface.video.reading import read_frames
from orchestration.__main__ import main
from orchestration.animation import animate
from orchestration.config import AnimateJob


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


def still(path: Path) -> dict[str, str]:
    """What a file says of its making."""
    with pyexiv2.Image(str(path)) as image:
        return dict(image.read_xmp())


def test_with_the_sources_own_attributes_the_output_is_the_source(
    untrained_bundle: Path, portrait: Path, tmp_path: Path
):
    # The untrained model moves nothing: what is left is the way in and out, and it must not change the picture.
    for name, more in (("crop.png", {}), ("full.png", {"paste_back": True})):
        animate(
            AnimateJob(
                model=str(untrained_bundle),
                source_image=str(portrait),
                scale=("AU12=1",),
                output=str(tmp_path / name),
                **more,
            )
        )
    animator = Animator.from_bundle(untrained_bundle)
    source = animator.prepare(read_image(portrait))
    animator.analyzer.close()
    assert np.abs(read_image(tmp_path / "crop.png").astype(int) - source.crop).max() <= 1
    full, picture = read_image(tmp_path / "full.png").astype(int), read_image(portrait).astype(int)
    x, y, side = (round(value) for value in source.square)
    assert full.shape == picture.shape
    outside = np.ones(picture.shape[:2], bool)
    outside[max(0, y - 1) : y + side + 1, max(0, x - 1) : x + side + 1] = False
    np.testing.assert_array_equal(full[outside], picture[outside])
    assert still(tmp_path / "crop.png")["Xmp.iptcExt.DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert still(tmp_path / "full.png")["Xmp.iptcExt.DigitalSourceType"].endswith(
        "/compositeWithTrainedAlgorithmicMedia"
    )


def test_regions_keyframes_gestures_and_layouts(other_bundle: Path, portrait: Path, driver: Path, tmp_path: Path):
    keys = tmp_path / "keys.json"
    keys.write_text('[{"timestamp": 0, "AU12": 0}, {"timestamp": 0.4, "AU12": 2}]')
    curves = tmp_path / "curves.csv"
    common = {
        "model": str(other_bundle),
        "source_image": str(portrait),
        "save_attributes": str(curves),
        "overwrite": True,
    }
    animate(AnimateJob(**common, keyframes=str(keys), interpolate="linear", output=str(tmp_path / "a.webm")))
    assert pd.read_csv(curves)["AU12"].tolist() == pytest.approx(np.linspace(0, 2, 11))
    made = animate(AnimateJob(**common, gesture="nod", layout="source,result", output=str(tmp_path / "b.mp4")))
    assert made.frames == 41
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (64, 32)
    animate(AnimateJob(**common, drive=str(driver), pose_from="source", output=str(tmp_path / "c.gif")))
    assert pd.read_csv(curves)["pose_yaw"].nunique() == 1
    animate(
        AnimateJob(model=str(other_bundle), source_image=str(portrait), neutral=True, output=str(tmp_path / "n.png"))
    )
    assert read_image(tmp_path / "n.png").shape == (32, 32, 3)


def test_a_video_is_edited_frame_by_frame(
    untrained_bundle: Path, other_bundle: Path, driver: Path, sample_clips: dict[str, Path], tmp_path: Path
):
    clip, curves = str(sample_clips["single_face.mp4"]), tmp_path / "curves.csv"
    same, edited = tmp_path / "same.mp4", tmp_path / "edited.mp4"
    animate(
        AnimateJob(model=str(untrained_bundle), source_image=clip, scale=("AU12=1",), paste_back=True, output=str(same))
    )
    (_, before), (_, after) = next(read_frames(clip)), next(read_frames(same))
    outside_and_in = np.abs(before.astype(int) - after)
    assert outside_and_in.mean() < 3  # the untrained model moves nothing; 32 px and H.264 take some sharpness
    made = animate(
        AnimateJob(
            model=str(other_bundle),
            source_image=clip,
            drive=str(driver),
            pose_from="source",
            set=("AU45=1",),
            save_attributes=str(curves),
            layout="source,result",
            output=str(edited),
        )
    )
    table = pd.read_csv(curves)
    own = read_driving(clip, create("mediapipe"))
    assert made.frames == len(table) == len(own)
    assert table["pose_yaw"].tolist() == pytest.approx(own["pose_yaw"].tolist(), abs=1e-4)  # the head keeps its motion
    assert table["AU12"].iloc[-1] == pytest.approx(4)  # the mouth is the driver's, whose last value is held
    assert (table["AU45"] == 1).all()
    assert still(edited)["Xmp.iptcExt.DigitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")


def test_a_drive_as_png_shows_source_driver_and_result(
    other_bundle: Path, portrait: Path, sample_clips: dict[str, Path], tmp_path: Path
):
    clip, plot = str(sample_clips["single_face.mp4"]), tmp_path / "plot.png"
    common = {"model": str(other_bundle), "source_image": str(portrait), "drive": clip, "end": 0.4}
    animate(AnimateJob(**common, output=str(tmp_path / "a.png"), plot=str(plot)))
    sheet = read_image(tmp_path / "a.png")
    _, frames = next(read_frames(clip))
    # The driver's first frame stands in the second row, in its own shape.
    height, width = frames.shape[1:3]
    share = min(144 / width, 144 / height)
    small = resize(frames[0], (round(height * share), round(width * share)))
    found = cv2.matchTemplate(sheet, small, cv2.TM_SQDIFF).min() / small.size
    assert found < 2
    assert read_image(plot).shape[1] == 960
    # Wide frames are shown wide.
    animate(AnimateJob(**common, paste_back=True, output=str(tmp_path / "b.png")))
    assert read_image(tmp_path / "b.png").shape[1] > sheet.shape[1]
