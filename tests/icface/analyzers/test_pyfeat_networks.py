"""py-feat's own code through our analyzer, in an environment of its own: `make test-pyfeat`."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.synthetic_pyfeat import CHAIN, MADE_UP, mesh_detector, place

from icface.analyzers import create
from icface.analyzers.blendshapes import BLENDSHAPE_NAMES
from icface.analyzers.face import Face
from icface.analyzers.openface_csv import LANDMARK_COLUMNS, read_openface_csv
from icface.analyzers.pyfeat import WEIGHTS, PyFeatAnalyzer
from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.video.reading import read_frames

pytestmark = [
    pytest.mark.pyfeat,
    pytest.mark.skipif(find_spec("feat") is None, reason="py-feat has an environment of its own: make test-pyfeat"),
]

CLIP = "id90001/icface_vox/00116"
EVERY = 4


def look_at(analyzer: PyFeatAnalyzer, boxes: np.ndarray) -> None:
    """Replace the face detector, whose weights we have not, by the boxes (N, 4) x0, y0, x1, y1 of the next frames."""
    following = iter(boxes)

    def find(images: object) -> list[list[list[float]]]:
        return [[[*map(float, next(following)), 0.99]] for _ in images]  # type: ignore[attr-defined]

    detector = analyzer._detector
    for name in ("face_detector", "facepose_detector"):
        if callable(getattr(detector, name, None)):
            setattr(detector, name, find)


@pytest.fixture(scope="module")
def openface(shared: Path) -> pd.DataFrame:
    """OpenFace's rows of the frames that are looked at."""
    with (shared / "clips" / f"{CLIP}.csv").open("rb") as stream:
        return read_openface_csv(stream, CLIP).iloc[::EVERY]


@pytest.fixture(scope="module")
def faces(shared: Path, openface: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> list[Face]:
    """MPDetector's faces of the VoxCeleb clip id90001, by MediaPipe's real networks in py-feat's code."""
    folder = tmp_path_factory.mktemp("mesh")
    mesh_detector(folder, shared / "models/pyfeat")
    analyzer = create("pyfeat", detector="mp", weights=str(folder))
    points = openface[list(LANDMARK_COLUMNS)].to_numpy().reshape(-1, 68, 2)
    low, high = points.min(axis=1), points.max(axis=1)
    # A square with the forehead in it, as MediaPipe's own region: py-feat does not keep a box's aspect.
    low[:, 1] -= 0.25 * (high - low)[:, 1]
    centre, side = (low + high) / 2, (high - low).max(axis=1, keepdims=True)
    look_at(analyzer, np.column_stack([centre - side / 2, centre + side / 2]))
    found = []
    for indices, window in read_frames(shared / "clips" / f"{CLIP}.mp4", EVERY, analyzer.batch_size):
        for one in analyzer.analyze(window, indices, CLIP):
            assert len(one) == 1
            found += one
    analyzer.close()
    assert len(found) == len(openface)
    return found


def ours(faces: list[Face], name: str) -> np.ndarray:
    return np.array([face.attributes[ATTRIBUTE_NAMES.index(name)] for face in faces])


@pytest.mark.parametrize(("name", "column"), [("pose_yaw", "pose_Ry"), ("pose_roll", "pose_Rz")])
def test_real_mpdetector_yaw_and_roll_are_openfaces(
    faces: list[Face], openface: pd.DataFrame, name: str, column: str
) -> None:
    """Not swapped, with OpenFace's signs, in radians."""
    assert np.corrcoef(ours(faces, name), openface[column])[0, 1] > 0.95
    assert np.degrees(np.abs(ours(faces, name) - openface[column])).mean() < 5


def test_real_mpdetector_pitch_is_openfaces_but_for_a_bias(faces: list[Face], openface: pd.DataFrame) -> None:
    difference = np.degrees(ours(faces, "pose_pitch") - openface["pose_Rx"].to_numpy())
    assert np.corrcoef(ours(faces, "pose_pitch"), openface["pose_Rx"])[0, 1] > 0.7
    assert np.abs(difference - np.median(difference)).mean() < 4


def test_real_mpdetector_landmarks_lie_where_openfaces_do(faces: list[Face], openface: pd.DataFrame) -> None:
    theirs = openface[list(LANDMARK_COLUMNS)].to_numpy().reshape(-1, 68, 2)
    distance = np.linalg.norm(np.stack([face.landmarks for face in faces]) - theirs, axis=-1).mean(axis=0)
    eyes = np.linalg.norm(theirs[:, 36] - theirs[:, 45], axis=-1).mean()
    assert distance[17:].mean() / eyes < 0.08


def test_real_mpdetector_blendshapes_are_mediapipes(faces: list[Face], shared: Path) -> None:
    """The same networks by way of MediaPipe, which cuts the face out differently."""
    analyzer = create("mediapipe")
    theirs = []
    for indices, window in read_frames(shared / "clips" / f"{CLIP}.mp4", 3 * EVERY):
        theirs += [found[0].blendshapes for found in analyzer.analyze(window, indices, CLIP)]
    analyzer.close()
    mine = np.stack([face.blendshapes for face in faces])[::3]
    for name in ("jawOpen", "eyeBlinkLeft", "browInnerUp"):
        column = BLENDSHAPE_NAMES.index(name)
        assert np.corrcoef(mine[:, column], np.stack(theirs)[:, column])[0, 1] > 0.85, name


@pytest.mark.parametrize(("name", "least"), [("AU01", 0.7), ("AU12", 0.7), ("AU25", 0.65), ("AU45", 0.8)])
def test_action_units_of_real_blendshapes_by_a_synthetic_regression_go_with_openfaces(
    faces: list[Face], openface: pd.DataFrame, name: str, least: float
) -> None:
    """py-feat's table is brought to OpenFace's scale, AU45 from AU43. The regression's own weights are not here."""
    assert np.corrcoef(ours(faces, name), openface[f"{name}_r"])[0, 1] >= least
    assert 0 <= ours(faces, name).min() <= ours(faces, name).max() <= 5


@pytest.fixture(scope="module")
def frames(sample_clips: dict[str, Path]) -> np.ndarray:
    """(3, 360, 640, 3): one face."""
    return next(read_frames(sample_clips["single_face.mp4"], every=20, window=3))[1]


@pytest.fixture(scope="module", params=sorted(MADE_UP))
def synthetic(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PyFeatAnalyzer]:
    folder = tmp_path_factory.mktemp(request.param)
    MADE_UP[request.param](folder)
    analyzer = create("pyfeat", detector=request.param, weights=str(folder))
    assert isinstance(analyzer, PyFeatAnalyzer)
    yield analyzer
    analyzer.close()


def test_synthetic_weights_plumbing_only_a_frame_without_a_face_has_none(
    synthetic: PyFeatAnalyzer, frames: np.ndarray
) -> None:
    """First: the synthetic face detector sees nothing, which py-feat says with a row of its own."""
    assert synthetic.analyze(frames[:2], [0, 20], "clip") == [[], []]


def test_synthetic_weights_plumbing_only_every_attribute_is_measured(
    synthetic: PyFeatAnalyzer, frames: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    look_at(synthetic, np.array([[250, 60, 400, 260], [250, 70, 400, 270]]))
    found = synthetic.analyze(frames[:2], [0, 20], "clip")
    assert [len(one) for one in found] == [1, 1]
    for (face,) in found:
        assert np.isfinite(face.attributes).all()
        assert (face.attributes[3:] >= 0).all()
        assert (face.attributes[3:] <= 5).all()
        assert np.isfinite(face.landmarks).all()
        assert face.confidence == pytest.approx(0.99)
    assert capfd.readouterr().out == ""


def test_synthetic_weights_plumbing_only_heads_that_identify_are_off(synthetic: PyFeatAnalyzer) -> None:
    assert synthetic._detector.identity_detector is None
    assert getattr(synthetic._detector, "emotion_detector", None) is None
    assert getattr(synthetic._detector, "gaze_detector", None) is None


def test_the_fingerprint_tells_other_weights(tmp_path: Path) -> None:
    MADE_UP["v1"](tmp_path)
    one, again = (create("pyfeat", detector="v1", weights=str(tmp_path)).fingerprint for _ in range(2))
    assert one == again
    assert one.startswith("py-feat 2.1.5 Detector v1, weights ")
    with place(tmp_path, "pose_mlp_v2", "pose_mlp_v2.json").open("a") as stream:
        stream.write("\n")
    assert create("pyfeat", detector="v1", weights=str(tmp_path)).fingerprint != one


@pytest.mark.parametrize("detector", sorted(WEIGHTS))
def test_a_folder_without_the_weights_is_said(detector: str, tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match=r"lacks py-feat's weights models--py-feat--retinaface_r34") as raised:
        create("pyfeat", detector=detector, weights=str(tmp_path))
    assert "\n" not in str(raised.value)


def test_neither_hub_nor_folder_is_said_by_the_command(tmp_path: Path, sample_clips: dict[str, Path]) -> None:
    (tmp_path / "clips/ann/v").mkdir(parents=True)
    (tmp_path / "clips/ann/v/1.mp4").symlink_to(sample_clips["single_face.mp4"])
    command = [sys.executable, "-m", "orchestration", "preprocess", "clips", "data", "--analyzer", "pyfeat"]
    environment = {"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--pyfeat-weights" in done.stderr
    assert "Traceback" not in done.stderr


def test_synthetic_weights_plumbing_only_the_whole_job(tmp_path: Path, sample_clips: dict[str, Path]) -> None:
    (tmp_path / "clips/ann/v").mkdir(parents=True)
    (tmp_path / "clips/ann/v/1.mp4").symlink_to(sample_clips["single_face.mp4"])
    weights = tmp_path / "weights"
    MADE_UP["v1"](weights)
    from support.datasets import flat_config

    from pipelines.preprocess.clip_worker import ClipWorker
    from pipelines.sources import Clip

    config = flat_config(
        source=str(tmp_path / "clips"),
        dataset="unused",
        analyzer="pyfeat",
        analyzer_options={"weights": str(weights)},
        every=40,
    )
    worker = ClipWorker(config)
    try:
        assert worker.start()["fingerprint"].startswith("py-feat 2.1.5 Detector v1, weights ")
        row, _ = worker.rows(Clip("ann/v/1", "ann/v/1.mp4", 1), "train", tmp_path / "clip.arrow")
    finally:
        worker.close()
    assert (row["status"], row["reason"]) == ("rejected", "no face")
    assert row["frames_read"] == 2


def test_the_synthetic_regression_names_units_that_py_feat_has() -> None:
    from feat.pretrained import AU_LANDMARK_MAP

    assert {f"AU{unit:02d}" for unit in CHAIN} <= set(AU_LANDMARK_MAP["Feat"])
