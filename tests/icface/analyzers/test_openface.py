import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from icface.analyzers import create
from icface.analyzers.openface import OpenFaceAnalyzer
from icface.analyzers.openface_csv import LANDMARK_COLUMNS, read_openface_csv
from icface.attributes import ACTION_UNIT_NAMES, ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.video.reading import read_frames

CLIP = "id00001/video/00001"


def table(rows: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(9)
    columns: dict[str, np.ndarray] = {
        "frame": np.arange(1, rows + 1),
        "face_id": np.zeros(rows, int),
        "timestamp": np.arange(rows) * 0.04,
        "confidence": np.full(rows, 0.98),
        "success": np.ones(rows, int),
    }
    for name in ("pose_Rx", "pose_Ry", "pose_Rz"):
        columns[name] = rng.uniform(-0.5, 0.5, rows).round(3)
    for name in LANDMARK_COLUMNS:
        columns[name] = rng.uniform(20, 80, rows).round(1)
    for name in ACTION_UNIT_NAMES:
        columns[f"{name}_r"] = rng.uniform(0, 5, rows).round(2)
        columns[f"{name}_c"] = rng.integers(0, 2, rows)
    return pd.DataFrame(columns)


def store(folder: Path, data: pd.DataFrame, below: str = "", space: bool = False) -> Path:
    path = folder / below / f"{CLIP}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    data.rename(columns={c: f" {c}" for c in data.columns} if space else {}).to_csv(path, index=False)
    return path


def blank(count: int) -> np.ndarray:
    return np.zeros((count, 96, 96, 3), np.uint8)


@pytest.mark.parametrize("space", [False, True])
@pytest.mark.parametrize("below", ["", "mp4", "dev/mp4"])
def test_values_are_those_of_the_rows(tmp_path: Path, space: bool, below: str) -> None:
    data = table()
    store(tmp_path, data, below, space)
    analyzer = create("openface", root=str(tmp_path))
    faces = analyzer.analyze(blank(3), [0, 2, 5], CLIP)
    for (face,), row in zip(faces, (0, 2, 5), strict=True):
        expected = [data[f"pose_R{axis}"][row] for axis in "xyz"]
        expected += [data[f"{name}_r"][row] for name in ACTION_UNIT_NAMES]
        assert np.allclose(face.attributes, expected, atol=1e-6)
        assert face.landmarks[30].tolist() == pytest.approx([data["x_30"][row], data["y_30"][row]], abs=1e-4)
        assert face.confidence == pytest.approx(0.98)
        assert face.blendshapes is None
        assert face.face_matrix is None


def test_failures_and_doubtful_rows_are_dropped(tmp_path: Path) -> None:
    data = table()
    data.loc[1, "success"] = 0
    data.loc[2, "confidence"] = 0.79
    store(tmp_path, data)
    faces = OpenFaceAnalyzer(str(tmp_path)).analyze(blank(6), range(6), CLIP)
    assert [len(found) for found in faces] == [1, 0, 0, 1, 1, 1]
    assert len(OpenFaceAnalyzer(str(tmp_path), confidence=0.5).analyze(blank(1), [2], CLIP)[0]) == 1


def test_several_rows_of_a_frame_are_several_faces_largest_first(tmp_path: Path) -> None:
    data = table(2)
    second = data.iloc[[0]].assign(face_id=1)
    second[list(LANDMARK_COLUMNS)] = data.loc[[0], list(LANDMARK_COLUMNS)] * 3
    store(tmp_path, pd.concat([data.iloc[[0]], second, data.iloc[[1]]]))
    faces = OpenFaceAnalyzer(str(tmp_path)).analyze(blank(2), [0, 1], CLIP)
    assert [len(found) for found in faces] == [2, 1]
    assert faces[0][0].box[2] > 2 * faces[0][1].box[2]


def test_an_action_unit_without_a_column_is_nan_and_values_stay_on_the_scale(tmp_path: Path) -> None:
    data = table().drop(columns=["AU45_r"])
    data["AU12_r"] = 5.3
    store(tmp_path, data)
    (face,) = OpenFaceAnalyzer(str(tmp_path)).analyze(blank(1), [0], CLIP)[0]
    assert np.isnan(face.attributes[ATTRIBUTE_NAMES.index("AU45")])
    assert face.attributes[ATTRIBUTE_NAMES.index("AU12")] == 5


def test_a_csv_shorter_than_the_clip_is_said(tmp_path: Path) -> None:
    store(tmp_path, table(6))
    analyzer = OpenFaceAnalyzer(str(tmp_path))
    assert analyzer.frames(CLIP) == 6
    with pytest.raises(IcfaceError, match="6 frames"):
        analyzer.analyze(blank(2), [5, 6], CLIP)


def test_frames_may_be_counted_from_0() -> None:
    data = table().assign(frame=np.arange(6))
    read = read_openface_csv(io.StringIO(data.to_csv(index=False)), "a.csv")
    assert read.index.tolist() == list(range(6))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not an OpenFace csv"),
        ("frame,success\n1,yes\n", "not an OpenFace csv"),
        ("frame,success,confidence\n1,1,0.9\n", "pose_Rx"),
        (table().drop(columns=[f"{n}_r" for n in ACTION_UNIT_NAMES]).to_csv(index=False), "AU intensities"),
        (table().iloc[:0].to_csv(index=False), "no row"),
        (table().drop(index=3).to_csv(index=False), "leaves out"),
    ],
)
def test_a_file_that_will_not_do_is_said_in_one_line(text: str, said: str) -> None:
    with pytest.raises(IcfaceError, match=said) as raised:
        read_openface_csv(io.StringIO(text), "a.csv")
    assert "a.csv" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match="no OpenFace csv"):
        OpenFaceAnalyzer(str(tmp_path)).analyze(blank(1), [0], CLIP)
    with pytest.raises(IcfaceError, match="not a folder"):
        OpenFaceAnalyzer(str(tmp_path / "missing"))


def test_the_next_clip_has_its_own_file(tmp_path: Path) -> None:
    data = table()
    path = store(tmp_path, data)
    data.assign(pose_Rx=0.25).to_csv(path.with_name("00002.csv"), index=False)
    analyzer = OpenFaceAnalyzer(str(tmp_path))
    analyzer.analyze(blank(1), [0], CLIP)
    assert analyzer.analyze(blank(1), [0], "id00001/video/00002")[0][0].attributes[0] == pytest.approx(0.25)


def test_without_landmarks_mediapipe_says_where_the_face_is(tmp_path: Path, sample_clips: dict[str, Path]) -> None:
    store(tmp_path, table().drop(columns=list(LANDMARK_COLUMNS)))
    _, frames = next(read_frames(sample_clips["single_face.mp4"], window=2))
    analyzer, mediapipe = OpenFaceAnalyzer(str(tmp_path)), create("mediapipe")
    (face,), (other,) = analyzer.analyze(frames[:1], [0], CLIP)[0], mediapipe.analyze(frames[:1], [0], CLIP)[0]
    assert np.array_equal(face.landmarks, other.landmarks)
    assert analyzer.analyze(blank(1), [1], CLIP) == [[]]
    analyzer.close()
    mediapipe.close()


def test_the_real_file_of_a_voxceleb_clip(shared: Path) -> None:
    analyzer = OpenFaceAnalyzer(str(shared / "clips"))
    clip = "id90001/icface_vox/00116"
    assert analyzer.frames(clip) == 498
    (face,) = analyzer.analyze(np.zeros((1, 224, 224, 3), np.uint8), [497], clip)[0]
    assert np.isfinite(face.attributes).all()
    assert 100 < face.box[3] < 180


@pytest.mark.parametrize("word", ["-nan(ind)", "nan", "inf", "-inf", "1.#QNAN"])
def test_a_missing_number_is_nan_and_a_face_without_pose_or_points_is_none(tmp_path: Path, word: str) -> None:
    data = table().astype(object)
    data.loc[0, "AU12_r"] = word
    data.loc[1, "pose_Ry"] = word
    data.loc[2, "x_5"] = word
    data.loc[3, ["success", "confidence", "pose_Rx", "pose_Ry", "pose_Rz"]] = [0, 0, word, word, word]
    store(tmp_path, data)
    faces = OpenFaceAnalyzer(str(tmp_path)).analyze(blank(6), range(6), CLIP)
    assert [len(found) for found in faces] == [1, 0, 0, 0, 1, 1]
    assert np.isnan(faces[0][0].attributes[ATTRIBUTE_NAMES.index("AU12")])
    assert np.isfinite(faces[0][0].attributes).sum() == len(ATTRIBUTE_NAMES) - 1
