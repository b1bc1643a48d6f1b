import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from icface.analyzers import create
from icface.analyzers.blendshapes import BLENDSHAPE_NAMES, MEASURES
from icface.analyzers.face import Face
from icface.analyzers.landmarks import MIRRORED
from icface.analyzers.mediapipe import MediaPipeAnalyzer
from icface.attributes import ATTRIBUTE_NAMES
from icface.crop import CropRule, crop_image
from icface.errors import IcfaceError
from icface.video.reading import read_frames


@pytest.fixture(scope="module")
def analyzer() -> Iterator[MediaPipeAnalyzer]:
    made = MediaPipeAnalyzer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def frames(sample_clips: dict[str, Path]) -> np.ndarray:
    """(8, 360, 640, 3): one face."""
    return np.concatenate([window for _, window in read_frames(sample_clips["single_face.mp4"], every=9)])


@pytest.fixture(scope="module")
def openface(shared: Path, analyzer: MediaPipeAnalyzer) -> tuple[dict[str, np.ndarray], list[Face]]:
    """OpenFace's columns of the VoxCeleb clip id90001, and our faces of its 498 frames."""
    folder = shared / "clips" / "id90001" / "icface_vox"
    with (folder / "00116.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    table = np.array(rows[1:], float)
    columns = {name.strip(): table[:, index] for index, name in enumerate(rows[0])}
    faces = []
    for indices, window in read_frames(folder / "00116.mp4"):
        for found in analyzer.analyze(window, indices, "id90001/icface_vox/00116"):
            assert len(found) == 1
            faces += found
    assert len(faces) == len(table)
    return columns, faces


def ours(faces: list[Face], name: str) -> np.ndarray:
    return np.array([face.attributes[ATTRIBUTE_NAMES.index(name)] for face in faces])


@pytest.mark.parametrize(("name", "column"), [("pose_yaw", "pose_Ry"), ("pose_roll", "pose_Rz")])
def test_yaw_and_roll_are_openfaces(openface: tuple, name: str, column: str) -> None:
    columns, faces = openface
    error = np.degrees(np.abs(ours(faces, name) - columns[column]))
    assert error.mean() <= 2
    assert np.corrcoef(ours(faces, name), columns[column])[0, 1] > 0.95


def test_pitch_is_openfaces_but_for_a_bias(openface: tuple) -> None:
    columns, faces = openface
    difference = np.degrees(ours(faces, "pose_pitch") - columns["pose_Rx"])
    assert np.abs(difference - np.median(difference)).mean() <= 2
    assert np.corrcoef(ours(faces, "pose_pitch"), columns["pose_Rx"])[0, 1] > 0.8


@pytest.mark.parametrize(
    ("name", "least"),
    [("AU01", 0.7), ("AU12", 0.7), ("AU25", 0.65), ("AU45", 0.8), ("AU05", 0.8), ("AU06", 0.6), ("AU09", 0.6)],
)
def test_action_units_go_with_openfaces(openface: tuple, name: str, least: float) -> None:
    columns, faces = openface
    assert np.corrcoef(ours(faces, name), columns[f"{name}_r"])[0, 1] >= least
    # On the same scale too: neither half nor double over the clip's strong frames.
    ratio = np.percentile(ours(faces, name), 97) / np.percentile(columns[f"{name}_r"], 97)
    assert 0.4 < ratio < 2.1


def test_landmarks_lie_where_openfaces_do(openface: tuple) -> None:
    columns, faces = openface
    theirs = np.stack(
        [np.stack([columns[f"x_{i}"], columns[f"y_{i}"]], axis=-1) for i in range(68)], axis=1
    )  # (498, 68, 2)
    distance = np.linalg.norm(np.stack([face.landmarks for face in faces]) - theirs, axis=-1)
    relative = distance.mean(axis=0) / np.linalg.norm(theirs[:, 36] - theirs[:, 45], axis=-1).mean()
    assert relative[17:].max() < 0.08  # brows, nose, eyes, mouth
    assert relative[:17].mean() < 0.08  # the jaw line slides along itself


def test_a_result_is_the_same_in_any_order_company_and_process(
    analyzer: MediaPipeAnalyzer, frames: np.ndarray, sample_clips: dict[str, Path]
) -> None:
    together = analyzer.analyze(frames, range(8), "clip")
    alone = [analyzer.analyze(frames[i : i + 1], [i], "clip")[0] for i in reversed(range(8))][::-1]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one[0].attributes, other[0].attributes, equal_nan=True)
        assert np.array_equal(one[0].landmarks, other[0].landmarks)
    program = (
        "import sys; from icface.analyzers import create; from icface.video.reading import read_frames\n"
        "_, frames = next(read_frames(sys.argv[1], every=9))\n"
        "print(create('mediapipe').analyze(frames[:1], [0], '')[0][0].landmarks.tobytes().hex())"
    )
    command = [sys.executable, "-c", program, str(sample_clips["single_face.mp4"])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == together[0][0].landmarks.tobytes().hex()
    assert done.stderr == "", "MediaPipe's start is quiet"


def test_a_face_has_all_its_parts(analyzer: MediaPipeAnalyzer, frames: np.ndarray) -> None:
    (face,) = analyzer.analyze(frames[:1], [0], "clip")[0]
    assert face.blendshapes is not None
    assert face.blendshapes.shape == (52,)
    assert face.face_matrix is not None
    assert face.face_matrix.reshape(4, 4)[3].tolist() == [0, 0, 0, 1]
    assert {n for n, value in zip(ATTRIBUTE_NAMES, face.attributes, strict=True) if np.isfinite(value)} == MEASURES
    x, y, width, height = face.box
    assert 0 <= x < x + width <= 640
    assert 0 <= y < y + height <= 360
    assert 150 < height < 230  # 191 px by clips/README.md, with the forehead


def test_blendshapes_come_in_the_order_of_their_names(analyzer: MediaPipeAnalyzer, frames: np.ndarray) -> None:
    import mediapipe as mp

    image = mp.Image(image_format=mp.ImageFormat.SRGB, data=frames[0])
    found = analyzer._landmarker.detect(image).face_blendshapes[0]
    assert tuple(shape.category_name for shape in found) == BLENDSHAPE_NAMES


def test_a_mirrored_face_has_mirrored_landmarks_yaw_and_roll(analyzer: MediaPipeAnalyzer, frames: np.ndarray) -> None:
    (face,) = analyzer.analyze(frames[:1], [0], "")[0]
    (mirrored,) = analyzer.analyze(np.ascontiguousarray(frames[:1, :, ::-1]), [0], "")[0]
    expected = face.landmarks[MIRRORED] * [-1, 1] + [639, 0]
    assert np.linalg.norm(mirrored.landmarks - expected, axis=1).mean() < 4
    assert np.allclose(mirrored.attributes[:3], face.attributes[:3] * [1, -1, -1], atol=0.05)


@pytest.mark.parametrize("size", [64, 128])
def test_small_tight_crops_are_analysed_again(analyzer: MediaPipeAnalyzer, frames: np.ndarray, size: int) -> None:
    """What a network makes is 64 or 128 px wide: found each time, with nearly the attributes of the whole frame."""
    found = [faces[0] for faces in analyzer.analyze(frames, range(8), "")]
    squares = CropRule().squares([face.box for face in found], 3.3, 640, 360)
    crops = np.stack([crop_image(frame, square, size) for frame, square in zip(frames, squares, strict=True)])
    again = analyzer.analyze(crops, range(8), "")
    assert [len(faces) for faces in again] == [1] * 8
    for face, (other,), square in zip(found, again, squares, strict=True):
        back = other.landmarks * square[2] / size + square[:2]
        assert np.linalg.norm(back - face.landmarks, axis=1).mean() < 0.03 * face.box[3]
        assert np.abs(np.degrees(other.attributes[1:3] - face.attributes[1:3])).max() < 5
        for unit in ("AU12", "AU25", "AU45"):
            index = ATTRIBUTE_NAMES.index(unit)
            assert abs(other.attributes[index] - face.attributes[index]) < 0.5


def test_no_face_and_two_faces(analyzer: MediaPipeAnalyzer, shared: Path) -> None:
    for name, number in (("no_face.mp4", 0), ("two_faces.mp4", 2)):
        for indices, window in read_frames(shared / "bad" / name, every=40):
            for faces in analyzer.analyze(window, indices, name):
                assert len(faces) == number
                areas = [face.box[2] * face.box[3] for face in faces]
                assert areas == sorted(areas, reverse=True)


def test_a_blank_frame_has_no_face(analyzer: MediaPipeAnalyzer) -> None:
    blank = np.full((2, 40, 30, 3), 128, np.uint8)
    assert analyzer.analyze(blank, [0, 1], "") == [[], []]


def test_the_fingerprint_names_weights_and_mapping(analyzer: MediaPipeAnalyzer) -> None:
    assert "64184e229b263107" in analyzer.fingerprint
    assert "mapping 1" in analyzer.fingerprint


def test_create_makes_analyzers_by_name() -> None:
    made = create("mediapipe", batch_size=4)
    assert made.name == "mediapipe"
    assert made.batch_size == 4
    made.close()
    with pytest.raises(IcfaceError, match="mediapipe"):
        create("nobody")


def test_weights_that_are_none_are_said(tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match="not a file"):
        MediaPipeAnalyzer(weights=tmp_path / "missing.task")
    path = tmp_path / "text.task"
    path.write_text("no weights")
    with pytest.raises(IcfaceError, match=r"text\.task"):
        MediaPipeAnalyzer(weights=path)
