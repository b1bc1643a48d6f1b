from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from icface.errors import IcfaceError
from icface.video import reading
from icface.video.reading import TruncatedClip, probe, read_frames, read_windows
from icface.video.writing import write_video

HARD = ("id90095/df_519", "id90111/vx_RD_Radio10_0_clip_0", "id90114/liax_driving2")


def every_frame(path: Path) -> Iterator[np.ndarray]:
    """An independent reading: PyAV's plain loop."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def equals_plain_decoding(path: Path, reader: str) -> int:
    expected = every_frame(path)
    count = 0
    for indices, frames in read_frames(path, window=50, reader=reader):
        for index, frame in zip(indices, frames, strict=True):
            assert index == count
            assert np.array_equal(frame, next(expected)), f"frame {index} of {path}"
            count += 1
    assert next(expected, None) is None
    return count


@pytest.mark.parametrize("reader", ["auto", "decord"])
@pytest.mark.parametrize("clip", HARD)
def test_hard_clips_decode_as_by_pyav(shared: Path, clip: str, reader: str) -> None:
    """Open GOPs and edit lists: grey or shifted frames after a seek, invented frames at the end."""
    assert equals_plain_decoding(shared / "clips" / clip / "00001.mp4", reader) > 50


@pytest.mark.parametrize("reader", ["auto", "decord"])
def test_sample_clips_decode_as_by_pyav(sample_clips: dict[str, Path], reader: str) -> None:
    counts = {name: equals_plain_decoding(path, reader) for name, path in sample_clips.items()}
    assert counts == {"WolfgangLanger_Pexels.mp4": 472, "single_face.mp4": 72}


def test_what_decord_would_hold_whole_is_read_by_pyav(
    sample_clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, count: object) -> Iterator[np.ndarray]:
        raise AssertionError(f"decord opened {path}")

    monkeypatch.setattr(reading, "decord_frames", refused)
    indices, _ = next(read_frames(sample_clips["WolfgangLanger_Pexels.mp4"]))  # 311 MiB of frames
    assert len(indices) == 32
    monkeypatch.setattr(reading, "DECORD_BYTES", 1 << 30)
    with pytest.raises(AssertionError, match="decord opened"):
        next(read_frames(sample_clips["WolfgangLanger_Pexels.mp4"]))


def test_probe_tells_the_header(sample_clips: dict[str, Path]) -> None:
    info = probe(sample_clips["WolfgangLanger_Pexels.mp4"])
    assert (info.width, info.height, info.frames) == (640, 360, 472)
    assert info.fps == pytest.approx(24000 / 1001)
    assert info.seconds == pytest.approx(472 * 1001 / 24000, abs=0.05)


@pytest.mark.parametrize("reader", ["auto", "pyav"])
@pytest.mark.parametrize(("every", "window"), [(1, 32), (5, 4), (7, 100), (100, 1)])
def test_every_nth_frame_in_windows(sample_clips: dict[str, Path], reader: str, every: int, window: int) -> None:
    path = sample_clips["single_face.mp4"]
    whole = list(every_frame(path))
    windows = list(read_frames(path, every=every, window=window, reader=reader))
    assert [index for indices, _ in windows for index in indices] == list(range(0, 72, every))
    assert all(len(indices) == window for indices, _ in windows[:-1])
    for indices, frames in windows:
        assert frames.shape == (len(indices), 360, 640, 3)
        assert frames.dtype == np.uint8
        assert all(np.array_equal(frame, whole[index]) for index, frame in zip(indices, frames, strict=True))


def test_a_window_of_large_frames_is_cut_shorter(
    sample_clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "WINDOW_BYTES", 3 * 360 * 640 * 3 + 100)
    lengths = [len(indices) for indices, _ in read_frames(sample_clips["single_face.mp4"], window=32)]
    assert lengths == [3] * 24


def test_frames_that_change_their_size_are_said(tmp_path: Path) -> None:
    path = tmp_path / "joined.h264"
    with path.open("wb") as joined:
        for number, (width, height) in enumerate([(64, 48), (96, 80)]):
            part = tmp_path / f"{number}.h264"
            with av.open(str(part), "w") as out:
                stream = out.add_stream("libx264", rate=25)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                picture = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
                for _ in range(5):
                    out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                out.mux(stream.encode())
            joined.write(part.read_bytes())
    with pytest.raises(IcfaceError, match="change their size at frame 5"):
        list(read_frames(path, reader="pyav"))


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(11).integers(0, 256, (9, 8, 10, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)


@pytest.mark.parametrize("reader", ["auto", "decord", "pyav"])
def test_a_clip_that_ends_at_rest_keeps_its_last_frames(tmp_path: Path, noise: np.ndarray, reader: str) -> None:
    """decord repeats the last frame when it runs out; really equal frames must not be taken for that."""
    frames = [*noise, *[noise[-1]] * 6]
    path = write_video(tmp_path / "rest.mp4", frames, 25, crf=0)
    assert sum(len(indices) for indices, _ in read_frames(path, reader=reader)) == 15


@pytest.mark.parametrize("reader", ["auto", "decord", "pyav"])
def test_a_still_in_the_middle_keeps_every_frame(tmp_path: Path, noise: np.ndarray, reader: str) -> None:
    frames = [noise[0], *[noise[1]] * 5, noise[2], noise[3]]
    path = write_video(tmp_path / "still.mp4", frames, 25, crf=0)
    read = np.concatenate([window for _, window in read_frames(path, reader=reader)])
    assert all(np.abs(frame.astype(int) - wanted).mean() < 60 for frame, wanted in zip(read, frames, strict=True))
    assert np.array_equal(read[1], read[5])
    assert not np.array_equal(read[5], read[6])
    assert not np.array_equal(read[6], read[7])


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_clip_filmed_sideways_is_turned_upright(tmp_path: Path, degrees: int) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, 32:] = [250, 30, 30]  # red on the right
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(degrees)
        for _ in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    info = probe(path)
    _, frames = next(read_frames(path))
    assert (info.height, info.width) == frames.shape[1:3] == ((48, 64) if degrees == 180 else (64, 48))
    # FFmpeg's display matrix turns anticlockwise: what was on the right comes to the top, the left, the bottom.
    side = {90: frames[0, 2, 24], 180: frames[0, 24, 2], 270: frames[0, -2, 24]}[degrees]
    assert side[0] > 200
    assert side[1] < 80


def test_an_odd_size_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    picture = np.random.default_rng(1).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 47, 33, "yuv444p"
        for _ in range(4):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    assert [window.shape for _, window in read_frames(path)] == [(4, 33, 47, 3)]


@pytest.mark.parametrize("reader", ["auto", "pyav"])
def test_a_cut_off_clip_gives_what_is_there_then_says_so(shared: Path, reader: str) -> None:
    """104 of its packets lie whole in the file (OpenCV stops at 102, without the two held back for reordering)."""
    count = 0
    with pytest.raises(TruncatedClip, match="cut off, 104 of 183"):
        for indices, _ in read_frames(shared / "bad" / "truncated.mp4", reader=reader):
            count += len(indices)
    assert count == 104


@pytest.mark.parametrize("name", ["garbage.mp4", "zero_bytes.mp4", "text.mp4"])
def test_what_cannot_be_decoded_is_said_in_one_line(shared: Path, name: str) -> None:
    with pytest.raises(IcfaceError, match=name) as raised:
        list(read_frames(shared / "bad" / name))
    assert "\n" not in str(raised.value)


def test_bytes_that_are_no_video_are_said_in_one_line(tmp_path: Path) -> None:
    for name, data in (("empty.mp4", b""), ("text.mp4", b"not a video"), ("noise.mp4", bytes(range(256)) * 64)):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(IcfaceError, match=name) as raised:
            probe(path)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "`git lfs pull` fetches the video"),
        (b"\n<!DOCTYPE html><html>404</html>", "it is a web page"),
    ],
)
def test_what_is_no_video_is_called_by_its_name(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    with pytest.raises(IcfaceError, match=said):
        probe(path)


def written(path: Path, options: dict[str, str] | None = None) -> bytes:
    """A clip of 25 different frames of a second."""
    with av.open(str(path), "w", options=options or {}) as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(25):
            frame = np.full((64, 64, 3), 10 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    return path.read_bytes()


def test_an_encrypted_clip_is_said_to_be_one(tmp_path: Path) -> None:
    """FFmpeg draws another start of the cipher for each clip, and some of the noise decodes to a picture."""
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76" * 16, "encryption_kid": "a7" * 16}
    for number in range(40):
        path = tmp_path / f"{number}.mp4"
        written(path, key)
        with pytest.raises(IcfaceError, match="it is encrypted"):
            probe(path)


def test_the_clock_goes_on_where_recordings_were_joined(tmp_path: Path) -> None:
    """`cat a.ts b.ts`: both begin at the same time, and a player shows one after the other."""
    part = written(tmp_path / "part.ts")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part + part + part)
    windows = list(read_windows(joined))
    times = np.concatenate([window.times for window in windows])
    grey = np.concatenate([window.frames.mean((1, 2, 3)) for window in windows])
    # FFmpeg may drop the packet at a join, which it takes for damaged.
    assert 72 <= len(times) <= 75
    assert times[-1] == pytest.approx(74 / 25, abs=0.05)
    assert (np.diff(times) > 0.03).all()
    # Each frame's grey tells its time.
    assert np.abs(times % 1.0 * 250 - grey).max() < 14
    assert probe(joined).seconds == pytest.approx(3.0, abs=0.1)


def test_no_file_a_folder_and_a_sound_are_said(tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match="not a file"):
        probe(tmp_path / "missing.mp4")
    with pytest.raises(IcfaceError, match="not a file"):
        next(read_frames(tmp_path))
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with pytest.raises(IcfaceError, match="no video stream"):
        probe(sound)


def test_a_damaged_middle_does_not_stop_the_rest(sample_clips: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(sample_clips["single_face.mp4"].read_bytes())
    start = data.index(b"mdat") + 4
    middle = start + (len(data) - start) // 2
    data[middle : middle + 2000] = np.random.default_rng(2).integers(0, 256, 2000, dtype=np.uint8).tobytes()
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    indices = [index for window, _ in read_frames(path) for index in window]
    assert indices == list(range(len(indices)))
    assert len(indices) > 60


def test_bad_steps_are_refused(sample_clips: dict[str, Path]) -> None:
    for options in ({"every": 0}, {"window": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            next(read_frames(sample_clips["single_face.mp4"], **options))
