from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from icface.errors import IcfaceError
from icface.video.reading import probe, read_frames, read_windows
from icface.video.writing import Sound, write_gif, write_video


@pytest.fixture
def frames() -> list[np.ndarray]:
    """12 frames 48 x 64 in which a bright square moves to the right over a gradient."""
    y, x = np.mgrid[0:48, 0:64]
    moving = []
    for step in range(12):
        frame = np.stack([x * 3, y * 4, np.full_like(x, 90)], axis=-1).astype(np.uint8)
        frame[16:32, step * 4 : step * 4 + 12] = [240, 200, 40]
        moving.append(frame)
    return moving


def test_what_is_written_is_read_back(tmp_path: Path, frames: list[np.ndarray]) -> None:
    path = write_video(tmp_path / "new" / "clip.mp4", iter(frames), 24000 / 1001)
    info = probe(path)
    assert (info.width, info.height, info.frames) == (64, 48, 12)
    assert info.fps == pytest.approx(24000 / 1001, rel=1e-6)
    read = np.concatenate([window for _, window in read_frames(path)])
    error = (read.astype(float) - np.stack(frames)) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 25  # dB; chroma is stored at half the resolution


def test_a_browser_can_play_it_at_once(tmp_path: Path, frames: list[np.ndarray]) -> None:
    path = write_video(tmp_path / "clip.mp4", frames, 25)
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_an_odd_size_is_made_even(tmp_path: Path, frames: list[np.ndarray]) -> None:
    path = write_video(tmp_path / "odd.mp4", [frame[:47, :63] for frame in frames], 25)
    assert (probe(path).width, probe(path).height) == (64, 48)


def test_a_gif_holds_every_frame(tmp_path: Path, frames: list[np.ndarray]) -> None:
    path = write_gif(tmp_path / "clip.gif", frames, 10)
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (12, 100, 0)  # type: ignore[attr-defined]
        gif.seek(11)
        last = np.asarray(gif.convert("RGB")).astype(int)
    assert np.abs(last - frames[11]).mean() < 12


@pytest.mark.parametrize("write", [write_video, write_gif])
def test_nothing_half_written_stays(tmp_path: Path, frames: list[np.ndarray], write: object) -> None:
    path = tmp_path / ("clip.mp4" if write is write_video else "clip.gif")
    path.write_bytes(b"what was there before")

    def broken() -> Iterator[np.ndarray]:
        yield from frames
        raise RuntimeError("the generator failed")

    with pytest.raises(RuntimeError, match="the generator failed"):
        write(path, broken(), 25)
    assert path.read_bytes() == b"what was there before"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("write", [write_video, write_gif])
def test_bad_frames_are_said(tmp_path: Path, frames: list[np.ndarray], write: object) -> None:
    with pytest.raises(IcfaceError, match="no frame"):
        write(tmp_path / "empty", [], 25)
    with pytest.raises(IcfaceError, match="do not mix"):
        write(tmp_path / "mixed", [frames[0], frames[0][:20]], 25)
    with pytest.raises(ValueError, match="uint8"):
        write(tmp_path / "floats", [frames[0].astype(np.float32)], 25)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, frames: list[np.ndarray]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(IcfaceError, match="cannot be written"):
        write_video(tmp_path / "file" / "clip.mp4", frames, 25)


def test_frames_are_shown_at_their_times(tmp_path: Path) -> None:
    frames = [np.full((32, 32, 3), 20 * number, np.uint8) for number in range(6)]
    times = [0.0, 0.1, 0.15, 0.5, 0.54, 1.2]
    path = write_video(tmp_path / "uneven.mp4", frames, 10, times=times)
    assert [time for window in read_windows(path) for time in window.times] == pytest.approx(times, abs=1e-3)
    shown = []
    with Image.open(write_gif(tmp_path / "uneven.gif", frames, 10, times)) as gif:
        for number in range(gif.n_frames):  # type: ignore[attr-defined]
            gif.seek(number)
            shown.append(gif.info["duration"])
    assert shown == [100, 50, 350, 40, 660, 100]


def clip_with_sound(path: Path, seconds: float = 2.0, begins: float = 0.0) -> None:
    """A tone of 440 Hz, from `begins` on, that is silent after a second."""
    with av.open(str(path), "w") as out:
        video, audio = out.add_stream("libx264", rate=10), out.add_stream("aac", rate=44100)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        for _ in range(round(10 * seconds)):
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        out.mux(video.encode())
        times = np.arange(round(44100 * seconds)) / 44100
        wave = (np.sin(2 * np.pi * 440 * times) * (times < 1) * 0.5).astype(np.float32)
        for start in range(0, len(wave) - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate = 44100
            frame.pts = start + round(44100 * begins)
            out.mux(audio.encode(frame))
        out.mux(audio.encode())


@pytest.mark.parametrize("name", ["out.mp4", "out.webm"])
def test_the_drivers_sound_is_heard_from_the_same_second_on(name: str, tmp_path: Path) -> None:
    clip_with_sound(tmp_path / "driver.mp4")
    sound = Sound.of(tmp_path / "driver.mp4", start=0.5)
    write_video(tmp_path / name, [np.zeros((32, 32, 3), np.uint8)] * 10, 10, sound=sound)
    with av.open(str(tmp_path / name)) as container:
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        rate = container.streams.audio[0].rate
    assert len(wave) / rate == pytest.approx(1.0, abs=0.1)
    loud = np.abs(wave[: rate // 10 * 9].reshape(-1, rate // 10)).mean(axis=1) > 0.1
    assert loud[1:4].all() and not loud[6:9].any()  # the tone ends half a second in


def test_a_sound_that_begins_late_does_so_in_the_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are relative and have a colon, which FFmpeg takes for the end of a protocol's name."""
    clip_with_sound(tmp_path / "take 10:30.mkv", seconds=3.0, begins=1.0)
    monkeypatch.chdir(tmp_path)
    sound = Sound.of("take 10:30.mkv")
    write_video("film 10:31.mp4", [np.zeros((32, 32, 3), np.uint8)] * 25, 10, sound=sound)
    with av.open(str(tmp_path / "film 10:31.mp4")) as container:
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        rate = container.streams.audio[0].rate
    loud = np.abs(wave[: rate // 10 * 24].reshape(-1, rate // 10)).mean(axis=1) > 0.1
    assert not loud[:9].any() and loud[11:19].all() and not loud[21:].any()


def test_what_has_no_sound(tmp_path: Path) -> None:
    write_video(tmp_path / "silent.mp4", [np.zeros((32, 32, 3), np.uint8)] * 3, 10)
    assert Sound.of(tmp_path / "silent.mp4") is None
    (tmp_path / "table.csv").write_text("AU12\n1\n")
    assert Sound.of(tmp_path / "table.csv") is None
