"""Animating from files, with a model that has learned nothing: what counts here is what comes out where."""

import errno
import wave
from collections.abc import Iterator
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
from icface.errors import IcfaceError
from icface.images import encode_png, read_image, resize
from icface.video.camera import LiveFrame
from icface.video.reading import read_frames, read_windows
from icface.video.writing import Sound, write_video
from orchestration.__main__ import main
from orchestration.animation import animate
from orchestration.clip_library import DatasetLibrary
from orchestration.config import OUTPUT, AnimateJob
from orchestration.live import live_resolvers
from pipelines.dataset import Dataset


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


def test_sound_that_is_left_out_and_faces_that_are_not_taken_are_said(
    untrained_bundle: Path, portrait: Path, sample_clips: dict[str, Path], tmp_path: Path
):
    picture = read_image(portrait)
    two = tmp_path / "two.png"
    small = cv2.resize(picture, None, fx=0.7, fy=0.7)
    both = np.full((len(picture), picture.shape[1] + small.shape[1], 3), 128, np.uint8)
    both[:, : picture.shape[1]] = picture
    both[: len(small), picture.shape[1] :] = small
    two.write_bytes(encode_png(both))
    with wave.open(str(tmp_path / "noise.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 8000, "NONE", ""))
        sound.writeframes(np.random.default_rng(0).bytes(16000))
    loud = write_video(tmp_path / "loud.mp4", [both] * 3, 25, sound=Sound(path=tmp_path / "noise.wav"))

    def notices(source: Path, output: str, **options: str) -> tuple[str, ...]:
        return animate(
            AnimateJob(model=str(untrained_bundle), source_image=str(source), output=str(tmp_path / output), **options)
        ).notices

    driven = f"{loud} shows more than one face in 3 of 3 frames: the face that is largest at first is followed"
    assert notices(portrait, "a.mp4", drive=str(loud)) == (driven,)
    assert notices(portrait, "a.gif", drive=str(loud)) == (
        driven,
        f"the sound of {loud} is left out: a gif has none; write an mp4 or a webm",
    )
    assert f"the sound of {loud} is left out: only that of --drive is taken" in notices(
        portrait, "b.mp4", mouth_from=str(loud)
    )
    (said,) = notices(two, "b.png", set=("AU12=1",))
    assert said == f"{two} shows 2 faces, the largest is face 1: face 1 is animated; --face takes another"
    assert notices(portrait, "c.png", set=("AU12=1",)) == ()


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
            replace="mouth",
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"drive": "a.csv", "gesture": "nod"}, "both drive everything"),
        ({"neutral": True, "set": ("AU12=1",)}, "--neutral writes the neutral face itself"),
        ({"set": ("AU12=1",), "layout": "driver,result"}, "needs --drive"),
        ({"set": ("AU12=1",), "layout": "source"}, "result among them"),
        ({"set": ("AU12=1",), "replace": "mouth"}, "--replace needs --drive"),
        ({"drive": "a.csv", "replace": "ears"}, "unknown region 'ears'"),
        ({"drive": "a.csv", "start": 2.0, "end": 1.0}, "lies before --start"),
        ({"set": ("AU12=1",), "face": 0}, "--face counts from 1"),
        ({"set": ("AU12=1",), "plot": "p.svg"}, "must end in .png"),
        ({"set": ("AU12=1",), "plot": "o.png"}, "choose two names"),
        ({"drive": "camera:0", "record": 0.0}, "--record 0"),
        ({"set": ("AU12=1",), "sign_key": "k.pem"}, "belong together"),
        ({"live": True, "set": ("AU12=1",), "output": OUTPUT}, "--live needs --drive"),
        ({"live": True, "drive": "a.mp4"}, "leave -o out"),
        ({"live": True, "drive": "a.mp4", "output": OUTPUT, "start": 1.0}, "leave --start out"),
    ],
)
def test_options_that_contradict_each_other(options: dict, said: str):
    with pytest.raises(IcfaceError, match=said):
        AnimateJob(**{"model": "m", "source_image": "p.png", "output": "o.png", **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"set": ("AU12=1",), "face": 4}, "has no face 4: it shows 1"),
        ({"gain": ("ears=2",)}, "--gain ears=2"),
        ({"drive": "{driver}", "start": 9.0}, "nothing of the driver lies between"),
        ({"drive": "{driver}", "layout": "driver,result"}, "is a table, which shows nothing"),
        ({"drive": "{driver}", "replace": "mouth"}, "--replace is for a video as source"),
        ({"drive": "{source}", "relative": True}, "--relative: .* no motion"),
        ({"drive": "camera:63"}, "camera:63: no camera answers there"),
    ],
)
def test_options_that_do_not_fit_the_files(
    options: dict, said: str, untrained_bundle: Path, portrait: Path, driver: Path, tmp_path: Path
):
    filled = {
        name: value.format(driver=driver, source=portrait) if isinstance(value, str) else value
        for name, value in options.items()
    }
    with pytest.raises(IcfaceError, match=said):
        animate(
            AnimateJob(
                model=str(untrained_bundle), source_image=str(portrait), output=str(tmp_path / "o.mp4"), **filled
            )
        )
    assert list(tmp_path.iterdir()) == []


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
    other_bundle: Path, sample_clips: dict[str, Path], tmp_path: Path, portrait: Path
):
    short = write_video(tmp_path / "short.mp4", [read_image(portrait)] * 3, 25)
    clip = str(sample_clips["single_face.mp4"])
    job = AnimateJob(
        model=str(other_bundle),
        source_image=clip,
        drive=str(short),
        replace="mouth",
        layout="driver,result",
        output=str(tmp_path / "o.mp4"),
    )
    made = animate(job)
    assert made.frames > 3
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == made.frames


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


def test_a_full_disk_is_one_line(
    other_bundle: Path, portrait: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    arguments = ["animate", str(other_bundle), str(portrait), "--set", "AU12=1", "-o"]
    with monkeypatch.context() as patched:
        patched.setattr("pipelines.storage.Folder.write", full)
        assert main([*arguments, str(tmp_path / "o.png")]) == 1
    said = capsys.readouterr().err
    assert said == f"icface: {tmp_path / 'o.png'}, or what goes with it, cannot be written: No space left on device\n"
    assert main([*arguments, "/proc/o.png"]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
