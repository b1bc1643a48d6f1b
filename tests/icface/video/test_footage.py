"""Kinds of footage: what is read is what a player shows, whoever reads."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support.footage import COUNT, Kind, grey_stream, hdr_clip, made, picture

from icface.errors import IcfaceError
from icface.video.reading import decord_is_right, probe, read_windows

UNEVEN = (40, 40, 200, 33, 33, 34, 400, 40, 40, 40, 1000, 40)
KINDS = {
    "plain": Kind(),
    "untagged": Kind(tagged=False),
    "bt709 limited": Kind(matrix="709"),
    "bt709 full": Kind(matrix="709", full=True),
    "bt601 full": Kind(full=True),
    "10 bit": Kind(codec="libx265", pixels="yuv420p10le", matrix="709", options={"x265-params": "log-level=none"}),
    "10 bit full": Kind(pixels="yuv420p10le", full=True),
    "4:2:2": Kind(pixels="yuv422p"),
    "4:4:4": Kind(pixels="yuv444p", matrix="709"),
    "interlaced": Kind(
        interlaced=True,
        codec="mpeg2video",
        suffix=".mpg",
        tagged=False,
        options={"flags": "+ildct+ilme", "qmin": "1", "b": "8M"},
    ),
    "interlaced h264": Kind(interlaced=True, options={"x264-params": "tff=1"}),
    "variable rate": Kind(steps=UNEVEN),
    "variable rate mkv": Kind(steps=UNEVEN, suffix=".mkv"),
    "variable rate webm": Kind(steps=UNEVEN, suffix=".webm", codec="libvpx-vp9"),
    "b-frames": Kind(options={"bf": "3", "b_strategy": "0", "g": "12"}),
    "b-frames, variable rate": Kind(steps=UNEVEN, options={"bf": "3", "b_strategy": "0"}),
    "no b-frames": Kind(options={"bf": "0"}),
    "odd size": Kind(size=(97, 65), pixels="yuv444p"),
    "odd size 4:2:0": Kind(size=(97, 65), suffix=".webm", codec="libvpx-vp9"),
    "wide pixels": Kind(aspect=Fraction(4, 3)),
    "narrow pixels": Kind(aspect=Fraction(2, 3)),
    "wide pixels mkv": Kind(aspect=Fraction(16, 11), suffix=".mkv"),
    "turned left": Kind(matrix9=(0, -1, 1, 0)),
    "turned right": Kind(matrix9=(0, 1, -1, 0)),
    "upside down": Kind(matrix9=(-1, 0, 0, -1)),
    "mirrored": Kind(matrix9=(-1, 0, 0, 1)),
    "flipped": Kind(matrix9=(1, 0, 0, -1)),
    "transposed": Kind(matrix9=(0, 1, 1, 0)),
    "mirrored and turned": Kind(matrix9=(0, -1, -1, 0)),
    "turned, wide pixels": Kind(matrix9=(0, 1, -1, 0), aspect=Fraction(3, 2)),
    "starts late": Kind(start=1500),
    "starts late, ts": Kind(start=1500, suffix=".ts"),
    "before 0": Kind(start=-200, suffix=".mkv", format_options={"avoid_negative_ts": "disabled"}, options={"bf": "0"}),
    "before 0, webm": Kind(
        start=-120, suffix=".webm", codec="libvpx-vp9", format_options={"avoid_negative_ts": "disabled"}
    ),
    "cover first": Kind(before=grey_stream(400, 304, 1, cover=True)),
    "still first": Kind(before=grey_stream(400, 304, 1), suffix=".mkv"),
    "small stream first": Kind(before=grey_stream(32, 32, 30), suffix=".mkv"),
    "default beside a larger one": Kind(before=grey_stream(400, 304, 30), suffix=".mkv", default=True),
    "alpha": Kind(codec="qtrle", suffix=".mov", pixels="argb", tagged=False),
    "mpeg-4 avi": Kind(codec="mpeg4", suffix=".avi", tagged=False),
    "mpeg-4 avi, b-frames": Kind(codec="mpeg4", suffix=".avi", tagged=False, options={"bf": "2"}),
    "flv": Kind(codec="flv", suffix=".flv", tagged=False),
    "h264 flv": Kind(suffix=".flv"),
    "ts": Kind(suffix=".ts"),
    "vp8": Kind(codec="libvpx", suffix=".webm", tagged=False),
    "av1": Kind(codec="libsvtav1", options={"preset": "8", "crf": "10"}),
    "raw h264": Kind(suffix=".h264", options={"bf": "2"}),
    "mjpeg": Kind(codec="mjpeg", pixels="yuvj420p", suffix=".mov", full=True),
    "wmv": Kind(codec="wmv2", suffix=".wmv", tagged=False),
    "3gp": Kind(suffix=".3gp"),
    "m4v": Kind(suffix=".m4v"),
}


def shown(kind: Kind, number: int) -> np.ndarray:
    """(H, W, 3) of frame `number` as a player shows it: stretched to square pixels, then turned."""
    frame = picture(number, *kind.size)
    width, height = kind.size
    if kind.aspect:
        across = np.arange(round(width * kind.aspect)) / kind.aspect if kind.aspect > 1 else np.arange(width)
        down = np.arange(height) if kind.aspect > 1 else np.arange(round(height / kind.aspect)) * kind.aspect
        frame = frame[np.float64(down).astype(int)][:, np.float64(across).astype(int)]
    if kind.matrix9:
        a, b, c, d = kind.matrix9
        height, width = frame.shape[:2]
        y, x = np.mgrid[:height, :width]
        to_x, to_y = a * x + c * y, b * x + d * y
        to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
        turned = np.empty((to_y.max() + 1, to_x.max() + 1, 3))
        turned[to_y, to_x] = frame
        frame = turned
    return frame


@pytest.mark.parametrize("reader", ["decord", "pyav"])
@pytest.mark.parametrize("name", KINDS)
def test_what_is_read_is_what_a_player_shows(name: str, reader: Any, tmp_path: Path) -> None:
    kind = KINDS[name]
    path = made(kind, tmp_path / f"clip{kind.suffix}")
    windows = list(read_windows(path, window=5, reader=reader))
    frames = np.concatenate([window.frames for window in windows]).astype(int)
    times = [time for window in windows for time in window.times]
    assert len(frames) == COUNT, "every frame once"
    assert [index for window in windows for index in window.indices] == list(range(COUNT))
    # Containers round times to their clock's ticks: 1 ms, 1/90000 s.
    assert times == pytest.approx(kind.times, abs=0.0011)
    for number, frame in enumerate(frames):
        expected = shown(kind, number)
        assert frame.shape == expected.shape
        # Away from edges, which coding, chroma and stretching blur.
        flat = np.ones(frame.shape[:2], bool)
        for axis in (0, 1):
            for step in range(-3, 4):
                flat &= (np.roll(expected, step, axis) == expected).all(axis=-1)
        wrong = np.abs(frame - expected).max(axis=-1)[flat]
        assert flat.mean() > 0.3
        if kind.interlaced and number == 0:
            continue  # there is no frame before it, so that its second field is filled in from the first alone
        assert np.quantile(wrong, 0.99) <= 8, f"frame {number}"
    info = probe(path)
    assert (info.height, info.width) == frames.shape[1:3]
    assert info.fps == pytest.approx((COUNT - 1) / kind.times[-1], rel=0.02)
    assert {window.reader for window in windows} == {reader if decord_is_right(path) else "pyav"}


def numbers(path: Path, reader: Any) -> tuple[list[int], list[float]]:
    """Which frame each read one is, by the length of its white bar, and when it is shown."""
    windows = list(read_windows(path, reader=reader))
    bars = np.concatenate([window.frames for window in windows])[:, 32]
    lengths = (bars.min(axis=-1) > 190).sum(axis=-1)
    return [round(length / 4) - 1 for length in lengths], [time for window in windows for time in window.times]


@pytest.mark.parametrize("reader", ["auto", "decord", "pyav"])
@pytest.mark.parametrize("b_frames", ["0", "3"])
def test_frames_before_an_edit_lists_start_are_not_shown(reader: Any, b_frames: str, tmp_path: Path) -> None:
    kind = Kind(start=-200, format_options={"avoid_negative_ts": "disabled"}, options={"bf": b_frames})
    path = made(kind, tmp_path / "clip.mp4")
    found, times = numbers(path, reader)
    assert found == list(range(5, COUNT))
    assert times == pytest.approx([0.04 * index for index in range(COUNT - 5)], abs=1e-3)
    assert probe(path).frames == COUNT - 5


@pytest.mark.parametrize("reader", ["auto", "decord", "pyav"])
def test_frames_without_a_time_come_in_even_steps(shared: Path, reader: Any) -> None:
    """A Matroska file cut by copying: its first packets have no time that the container could hold."""
    windows = list(read_windows(shared / "cases" / "negative_time" / "cut.mkv", reader=reader))
    times = [time for window in windows for time in window.times]
    assert times == pytest.approx(np.arange(77) / 25, abs=0.002)
    frames = np.concatenate([window.frames for window in windows])
    assert len(np.unique(frames.reshape(77, -1), axis=0)) == 77


def test_a_span_is_of_times_not_of_indices(tmp_path: Path) -> None:
    kind = KINDS["variable rate"]
    path = made(kind, tmp_path / "clip.mp4")
    read = [index for window in read_windows(path, span=(0.3, 0.9)) for index in window.indices]
    assert read == [index for index, time in enumerate(kind.times) if 0.3 <= time < 0.9]


def test_a_cover_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        grey_stream(64, 64, 1, cover=True)(out)()
    with pytest.raises(IcfaceError, match="only a cover picture"):
        probe(path)


def test_colours_that_cannot_be_converted_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ycgco.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        stream.codec_context.colorspace = 8
        for _ in range(3):
            frame = av.VideoFrame(64, 64, "yuv444p")
            frame.colorspace = 8
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with pytest.raises(IcfaceError, match="YCgCo, which cannot be read"):
        probe(path)


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_looks_as_sdr_up_to_its_shoulder(transfer: int, tmp_path: Path) -> None:
    """203 nits are diffuse white: half of it is what half of white is in sRGB; highlights keep their order."""
    nits = [1.0, 10.0, 50.0, 101.5, 150.0, 203.0, 400.0, 1000.0]
    path = hdr_clip(tmp_path / "hdr.mp4", transfer, nits)
    (window,) = read_windows(path)
    assert window.reader == "pyav"
    stripes = window.frames[1, 32, 8::16].astype(int)
    share = np.array(nits[:5]) / 203
    srgb = np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055) * 255
    assert np.abs(stripes[:5] - srgb[:, None]).max() <= 4
    assert (np.diff(stripes[3:, 1]) > 0).all()
    assert stripes[-1].min() >= 253
    assert np.ptp(stripes, axis=1).max() <= 2
