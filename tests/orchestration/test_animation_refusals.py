"""Animating from files: what is refused, what is never written over, and what is said when something is left out."""

import errno
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.errors import IcfaceError
from icface.images import encode_png, read_image
from icface.video.writing import Sound, write_video
from orchestration.__main__ import main
from orchestration.animation import animate
from orchestration.config import OUTPUT, AnimateJob


def test_a_gpu_that_is_not_there_is_said(
    untrained_bundle: Path, portrait: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["animate", str(untrained_bundle), str(portrait), "--set", "AU12=1", "--gpu", "-o", "a.png"]) == 1
    assert capsys.readouterr().err.startswith("icface: --gpu: PyTorch sees no GPU here")


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
