from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.openface_tables import openface_table

from icface.analyzers.face import Analyzer
from icface.analyzers.openface import OpenFaceAnalyzer
from icface.analyzers.openface_csv import POSE_COLUMNS
from icface.attributes import ATTRIBUTE_NAMES
from icface.control import read_driving
from icface.control.driving import fill_gaps, measured_by
from icface.errors import IcfaceError
from icface.images import encode_png
from icface.video.reading import read_frames
from icface.video.writing import write_video


@pytest.fixture(scope="module")
def frames(sample_clips: dict[str, Path]) -> np.ndarray:
    return next(read_frames(sample_clips["single_face.mp4"], every=6, window=10))[1]


def test_a_video_gives_a_row_a_frame_and_fills_frames_without_a_face(
    frames: np.ndarray, analyzer: Analyzer, tmp_path: Path
) -> None:
    shown = frames.copy()
    shown[4] = 255
    clip = write_video(tmp_path / "driver.mp4", shown, fps=10)
    table = read_driving(clip, analyzer)
    assert table["frame"].tolist() == list(range(10))
    np.testing.assert_allclose(table["timestamp"], np.arange(10) / 10)
    assert table["face"].tolist() == [index != 4 for index in range(10)]
    measured = sorted(analyzer.measures)
    assert np.isfinite(table[measured]).all(axis=None)
    assert table[[name for name in ATTRIBUTE_NAMES if name not in measured]].isna().all(axis=None)
    np.testing.assert_allclose(table["pose_yaw"][4], table["pose_yaw"][[3, 5]].mean(), atol=1e-6)


def test_a_videos_labels_are_smoothed_but_for_blinks(
    sample_clips: dict[str, Path], analyzer: Analyzer, tmp_path: Path
) -> None:
    frames = next(read_frames(sample_clips["single_face.mp4"], window=12))[1]
    clip = write_video(tmp_path / "driver.mp4", frames, fps=30, crf=0)
    table = read_driving(clip, analyzer)
    decoded = next(read_frames(clip, window=12))[1]
    raw = np.stack([faces[0].attributes for faces in analyzer.analyze(decoded, range(12), "")])
    yaw, blink = ATTRIBUTE_NAMES.index("pose_yaw"), ATTRIBUTE_NAMES.index("AU45")
    np.testing.assert_allclose(table["pose_yaw"][4:8], [raw[i - 2 : i + 3, yaw].mean() for i in range(4, 8)], rtol=1e-5)
    np.testing.assert_array_equal(table["AU45"], raw[:, blink])


def test_a_picture_gives_one_row(frames: np.ndarray, analyzer: Analyzer, tmp_path: Path) -> None:
    path = tmp_path / "driver.png"
    path.write_bytes(encode_png(frames[0]))
    table = read_driving(path, analyzer)
    expected = analyzer.analyze(frames[:1], [0], "")[0][0].attributes
    assert len(table) == 1
    np.testing.assert_array_equal(table[list(ATTRIBUTE_NAMES)].to_numpy()[0], expected)


@pytest.mark.parametrize("suffix", [".png", ".mp4"])
def test_a_driver_without_a_face_is_refused(suffix: str, analyzer: Analyzer, tmp_path: Path) -> None:
    blank = np.full((64, 64, 3), 128, np.uint8)
    path = tmp_path / f"blank{suffix}"
    if suffix == ".png":
        path.write_bytes(encode_png(blank))
    else:
        write_video(path, [blank] * 3, fps=25)
    with pytest.raises(IcfaceError, match="no face is found"):
        read_driving(path, analyzer)


@pytest.mark.parametrize("name", ["driver.mp4", "driver.png", "driver.csv"])
def test_a_missing_or_broken_driver_is_one_clear_line(name: str, analyzer: Analyzer, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(IcfaceError, match="no such file"):
        read_driving(path, analyzer)
    path.write_text("this is only text\n")
    with pytest.raises(IcfaceError, match=name) as caught:
        read_driving(path, analyzer)
    assert "\n" not in str(caught.value)


def test_a_csv_with_our_names(tmp_path: Path) -> None:
    path = tmp_path / "driver.csv"
    path.write_text("AU12,pose_yaw\n1.5,0.1\n,0.2\n")
    table = read_driving(path, None)
    assert table["timestamp"].tolist() == [0, 0.04]
    assert table["face"].tolist() == [True, True]
    np.testing.assert_allclose(table["pose_yaw"], [0.1, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(table["AU12"], [1.5, np.nan])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yaw,AU12\n10,1\n", "pose_yaw in radians"),
        ("AU99\n1\n", "unknown column 'AU99'"),
        ("frame,timestamp\n0,0\n", "no attribute column"),
        ("AU12\n", "no rows"),
        ("AU12\n1\nmuch\n", "column AU12 holds 'much' in row 2"),
        ("frame,AU12\n,1\n", "column frame"),
        ("", "cannot be read as a csv"),
    ],
)
def test_a_csv_that_makes_no_sense_is_one_clear_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "driver.csv"
    path.write_text(text)
    with pytest.raises(IcfaceError, match=message) as caught:
        read_driving(path, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("space", ["", " "])
def test_openface_writes_with_and_without_spaces(space: str, tmp_path: Path) -> None:
    names = ["frame", "face_id", "timestamp", "confidence", "success", "pose_Tx", "pose_Rx", "pose_Ry", "pose_Rz"]
    names += ["AU01_r", "AU12_r", "AU01_c"]
    rows = [
        [1, 0, 0.0, 0.98, 1, 9, 0.1, 0.2, 0.3, 1.0, 2.0, 1],
        [2, 0, 0.04, 0.1, 0, 9, 9.0, 9.0, 9.0, 5.0, 5.0, 1],
        [3, 0, 0.08, 0.98, 1, 9, 0.3, 0.2, 0.1, 3.0, 0.0, 1],
        [3, 1, 0.08, 0.98, 1, 9, 0.7, 0.7, 0.7, 0.7, 0.7, 1],
    ]
    lines = [f",{space}".join(map(str, line)) for line in [names, *rows]]
    path = tmp_path / "openface.csv"
    path.write_text("\n".join(lines) + "\n")
    table = read_driving(path, None)
    assert table["frame"].tolist() == [0, 1, 2]
    assert table["face"].tolist() == [True, False, True]
    np.testing.assert_allclose(table["pose_pitch"], [0.1, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose(table["AU12"], [2, 1, 0], atol=1e-6)
    assert "AU02" not in table


def test_openface_drives_as_it_labels(tmp_path: Path) -> None:
    names = ["frame", "face_id", "timestamp", "confidence", "success", *POSE_COLUMNS, "AU12_r"]
    rows = [
        # An older version counts from 0; a face of another person comes first; AU12 leaves its scale.
        [0, 1, 0.00, 0.90, 1, 0.7, 0.7, 0.7, 4.0],
        [0, 0, 0.00, 0.98, 1, 0.1, 0.2, 0.3, 5.3],
        [1, 0, 0.04, 0.98, 1, 0.2, 0.2, 0.3, 2.0],
        [2, 0, 0.08, 0.50, 1, 9.0, 9.0, 9.0, 5.0],
        [3, 0, 0.12, 0.98, 1, 0.4, 0.2, 0.3, 1.0],
    ]
    data = pd.DataFrame(rows, columns=names)
    (tmp_path / "a/v").mkdir(parents=True)
    data.to_csv(tmp_path / "a/v/1.csv", index=False)
    driving = read_driving(tmp_path / "a/v/1.csv", None)
    assert driving["frame"].tolist() == [0, 1, 2, 3]
    assert driving["face"].tolist() == [True, True, False, True]
    labels = OpenFaceAnalyzer(str(tmp_path))
    for frame in (0, 1, 3):
        attributes = dict(zip(ATTRIBUTE_NAMES, labels.attributes("a/v/1", frame), strict=True))
        for name in ("pose_pitch", "pose_yaw", "AU12"):
            assert driving[name][frame] == attributes[name]
    assert driving["AU12"][0] == 5
    assert np.isnan(labels.attributes("a/v/1", 2)).all()


def test_a_real_openface_csv(shared: Path) -> None:
    folder = shared / "clips" / "id90001" / "icface_vox"
    table = read_driving(folder / "00116.csv", None)
    assert len(table) == 498
    assert set(ATTRIBUTE_NAMES) <= set(table.columns)
    assert table["pose_yaw"].abs().max() < 1.5
    assert table["AU12"].between(0, 5).all()


def gaps(face: list[bool], values: list[float], fps: float = 10) -> list[float]:
    table = pd.DataFrame({"timestamp": np.arange(len(face)) / fps, "face": face, "AU12": values})
    return fill_gaps(table)["AU12"].tolist()


def test_short_gaps_are_bridged_and_long_ones_held() -> None:
    nan = np.nan
    assert gaps([False, True, False, True, False], [nan, 2, nan, 4, nan]) == [2, 2, 3, 4, 4]
    long = [True, *[False] * 5, True]
    assert gaps(long, [1, *[nan] * 5, 4]) == [1, 1, 1, 1, 1, 1, 4]
    assert gaps(long, [1, *[nan] * 5, 4], fps=24) == [1, 1.5, 2, 2.5, 3, 3.5, 4]


def test_what_a_face_did_not_measure_stays_open() -> None:
    nan = np.nan
    result = gaps([True, False, True], [nan, nan, nan])
    assert np.isnan(result).all()
    assert gaps([True, False, True], [1, nan, nan])[:2] == [1, 1]


NO_NUMBERS = ("nan", "-nan(ind)", "nan(ind)", "-nan", "inf", "-inf", "1.#QNAN", "-1.#IND", "1e999", "")


@pytest.mark.parametrize("word", NO_NUMBERS)
def test_what_stands_for_no_value_is_missing_in_every_csv(word: str, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text(f"pose_yaw,AU12\n0.1,1\n0.2,{word}\n0.3,3\n")
    np.testing.assert_array_equal(read_driving(own, None)["AU12"], [1, np.nan, 3])
    table = openface_table(3).astype(object)
    table.loc[1, ["AU12_r", "AU25_r"]] = word
    openface = tmp_path / "openface.csv"
    table.to_csv(openface, index=False)
    read = read_driving(openface, None)
    assert np.isnan(read["AU12"][1])
    assert read[["AU12", "AU25"]].notna().sum().tolist() == [2, 2]


@pytest.mark.parametrize("word", ["-nan(ind)", "inf"])
def test_a_failed_row_of_openface_has_no_face_whatever_its_numbers(word: str, tmp_path: Path) -> None:
    table = openface_table(3).astype(object)
    table.loc[1, ["success", "confidence"]] = 0
    table.loc[1, ["pose_Rx", "pose_Ry", "pose_Rz", "AU12_r"]] = word
    path = tmp_path / "openface.csv"
    table.to_csv(path, index=False)
    read = read_driving(path, None)
    assert read["face"].tolist() == [True, False, True]
    assert read["AU12"].notna().all()


def test_rows_far_apart_are_keyframes(tmp_path: Path) -> None:
    keys, frames = tmp_path / "keys.csv", tmp_path / "frames.csv"
    keys.write_text("timestamp,AU12,AU45\n0,0,\n0.5,2,1\n1.0,1,\n")
    table = read_driving(keys, None, interpolation="linear")
    assert len(table) == 26 and table["face"].all()
    np.testing.assert_allclose(table["AU12"], np.interp(np.arange(26) / 25, [0, 0.5, 1], [0, 2, 1]), atol=1e-6)
    assert (table["AU45"] == 1).all()
    np.testing.assert_allclose(read_driving(keys, None)["AU12"].iloc[[0, -1]], [0, 1], atol=1e-6)
    frames.write_text("timestamp,AU12\n0,0\n0.1,2\n0.2,1\n")
    assert read_driving(frames, None)["AU12"].tolist() == [0, 2, 1]


def test_who_measured_a_csv(tmp_path: Path) -> None:
    texts = {
        "ours.csv": ("timestamp,AU12,analyzer\n0,1,dlib\n0.04,2,dlib\n", "dlib"),
        "hand.csv": ("timestamp,AU12\n0,1\n", None),
        "openface.csv": ("frame, timestamp, confidence, success, pose_Rx, AU12_r\n1,0,1,1,0,1\n", "openface"),
        "empty.csv": ("", None),
    }
    for name, (text, who) in texts.items():
        (tmp_path / name).write_text(text)
        assert measured_by(tmp_path / name) == who
    assert measured_by(tmp_path / "none.csv") is None
    assert read_driving(tmp_path / "ours.csv", None)["AU12"].tolist() == [1, 2]
