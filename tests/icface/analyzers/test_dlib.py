from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from icface.analyzers import create
from icface.analyzers.dlib import DlibAnalyzer
from icface.analyzers.face import Face
from icface.analyzers.openface_csv import attributes_from_row, read_openface_csv
from icface.attributes import ATTRIBUTE_NAMES
from icface.crop import CropRule, crop_image
from icface.errors import IcfaceError
from icface.video.reading import read_frames
from icface.weights import LANDMARKS_68


@pytest.fixture(scope="module")
def analyzer() -> Iterator[DlibAnalyzer]:
    made = create("dlib")
    assert isinstance(made, DlibAnalyzer)
    yield made
    made.close()


@pytest.fixture(scope="module")
def frames(sample_clips: dict[str, Path]) -> np.ndarray:
    """(21, H, W, 3): every 20th frame of a man who speaks."""
    return next(read_frames(sample_clips["WolfgangLanger_Pexels.mp4"], every=20, window=21))[1]


@pytest.fixture(scope="module")
def theirs(frames: np.ndarray) -> list[Face]:
    """MediaPipe's faces of the same frames."""
    analyzer = create("mediapipe")
    try:
        return [faces[0] for faces in analyzer.analyze(frames, range(len(frames)), "clip")]
    finally:
        analyzer.close()


@pytest.fixture(scope="module", params=[64, 128])
def crops(request: pytest.FixtureRequest, frames: np.ndarray, theirs: list[Face]) -> np.ndarray:
    height, width = frames.shape[1:3]
    squares = CropRule(mode="track").squares(np.stack([face.box for face in theirs]), 25, width, height)
    return np.stack([crop_image(frame, square, request.param) for frame, square in zip(frames, squares, strict=True)])


def column(faces: list[Face], name: str) -> np.ndarray:
    return np.array([face.attributes[ATTRIBUTE_NAMES.index(name)] for face in faces])


def test_faces_are_found_in_small_crops_and_agree_with_mediapipes(
    analyzer: DlibAnalyzer, crops: np.ndarray, theirs: list[Face]
) -> None:
    found = analyzer.analyze(crops, range(len(crops)), "clip")
    assert [len(faces) for faces in found] == [1] * len(crops)
    ours = [faces[0] for faces in found]
    assert np.corrcoef(column(ours, "pose_yaw"), column(theirs, "pose_yaw"))[0, 1] > 0.9
    for name in ("AU25", "AU26"):
        assert np.corrcoef(column(ours, name), column(theirs, name))[0, 1] > 0.4, name


def test_landmarks_lie_where_mediapipes_do(analyzer: DlibAnalyzer, frames: np.ndarray, theirs: list[Face]) -> None:
    for index in (0, 10, 20):
        (ours,) = analyzer.analyze(frames[index : index + 1], [index], "clip")[0]
        between_eyes = np.linalg.norm(ours.landmarks[45] - ours.landmarks[36])
        inner = slice(27, 68)  # the outline of the jaw means another line to MediaPipe
        apart = np.linalg.norm(ours.landmarks[inner] - theirs[index].landmarks[inner], axis=1)
        assert apart.mean() < 0.06 * between_eyes


def test_what_it_says_of_a_frame_does_not_depend_on_the_others(analyzer: DlibAnalyzer, frames: np.ndarray) -> None:
    together = analyzer.analyze(frames[:3], range(3), "clip")
    alone = analyzer.analyze(frames[2:3], [2], "another")
    np.testing.assert_array_equal(together[2][0].attributes, alone[0][0].attributes)
    np.testing.assert_array_equal(together[2][0].landmarks, alone[0][0].landmarks)


def test_units_that_it_does_not_measure_are_null(analyzer: DlibAnalyzer, frames: np.ndarray) -> None:
    face = analyzer.analyze(frames[:1], [0], "clip")[0][0]
    finite = {name for name, value in zip(ATTRIBUTE_NAMES, face.attributes, strict=True) if np.isfinite(value)}
    assert finite == analyzer.measures
    assert face.blendshapes is None and face.face_matrix is None
    assert 0.5 < face.confidence <= 1


@pytest.mark.parametrize("shape", [(64, 64, 3), (16, 16, 3), (40, 200, 3)])
def test_a_picture_without_a_face_has_none(analyzer: DlibAnalyzer, shape: tuple[int, int, int]) -> None:
    assert analyzer.analyze(np.zeros((1, *shape), np.uint8), [0], "clip") == [[]]
    noise = np.random.default_rng(0).integers(0, 255, (1, *shape), dtype=np.uint8)
    assert analyzer.analyze(noise, [0], "clip") == [[]]


def test_the_larger_of_two_faces_comes_first(analyzer: DlibAnalyzer, crops: np.ndarray) -> None:
    size = crops.shape[1]
    canvas = np.full((1, 4 * size, 6 * size, 3), 128, np.uint8)
    large = np.kron(crops[0], np.ones((3, 3, 1), np.uint8))
    canvas[0, : 3 * size, 3 * size :] = large
    canvas[0, :size, :size] = crops[5]
    small_and_large = analyzer.analyze(canvas, [0], "clip")[0]
    assert len(small_and_large) >= 1
    assert small_and_large[0].box[0] > 3 * size
    assert [face.box[2] * face.box[3] for face in small_and_large] == sorted(
        (face.box[2] * face.box[3] for face in small_and_large), reverse=True
    )


def test_the_fingerprint_names_the_weights(analyzer: DlibAnalyzer) -> None:
    assert LANDMARKS_68.sha256[:16] in analyzer.fingerprint


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match="is not a file"):
        DlibAnalyzer(weights=tmp_path / "missing.dat")
    other = tmp_path / "other.dat"
    other.write_bytes(b"something else")
    with pytest.raises(IcfaceError, match="cannot be loaded as dlib's landmarks"):
        DlibAnalyzer(weights=other)


def test_action_units_go_with_openfaces(shared: Path, analyzer: DlibAnalyzer) -> None:
    folder = shared / "clips" / "id90001" / "icface_vox"
    with (folder / "00116.csv").open("rb") as stream:
        table = read_openface_csv(stream, "00116.csv")
    indices, ours = [], []
    for positions, window in read_frames(folder / "00116.mp4", every=3):
        for position, faces in zip(positions, analyzer.analyze(window, positions, "clip"), strict=True):
            if faces:
                indices.append(position)
                ours.append(faces[0])
    openface = np.stack([attributes_from_row(table.loc[index]) for index in indices])
    assert len(indices) >= 160
    for name, least in LEAST_R.items():
        theirs = openface[:, ATTRIBUTE_NAMES.index(name)]
        assert np.corrcoef(column(ours, name), theirs)[0, 1] >= least, name


LEAST_R = {"pose_yaw": 0.9, "pose_roll": 0.9, "pose_pitch": 0.7, "AU12": 0.6, "AU25": 0.5, "AU45": 0.6}
