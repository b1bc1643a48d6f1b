"""What of the py-feat analyzer runs without py-feat: its table brought to our faces (`make test-pyfeat`: the rest)."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from icface.analyzers import create
from icface.analyzers.landmarks import IBUG_FROM_MESH
from icface.analyzers.pyfeat import attributes_from_table, faces_from_table
from icface.attributes import ACTION_UNIT_NAMES, ATTRIBUTE_NAMES
from icface.errors import IcfaceError

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)


def table(rows: int, points: int = 68, frames: list[int] | None = None) -> pd.DataFrame:
    """A result as py-feat 2.1.5 lays it out."""
    rng = np.random.default_rng(6)
    columns: dict[str, np.ndarray | list[int]] = {"frame": frames or list(range(rows)), "FaceScore": np.full(rows, 0.9)}
    for name in ("Pitch", "Roll", "Yaw"):
        columns[name] = rng.uniform(-0.4, 0.4, rows)
    for number in UNITS:
        columns[f"AU{number:02d}"] = rng.uniform(0, 1, rows)
    for point in range(points):
        for axis in "xy":
            columns[f"{axis}_{point}"] = rng.uniform(10, 90, rows)
    return pd.DataFrame(columns)


def test_action_units_have_openfaces_range() -> None:
    data = table(4)
    data.loc[0, "AU12"] = 1.2
    attributes = attributes_from_table(data, "v1")
    for name in ACTION_UNIT_NAMES:
        source = data["AU43" if name == "AU45" else name]
        assert np.allclose(attributes[:, ATTRIBUTE_NAMES.index(name)], np.minimum(5 * source, 5), atol=1e-6)


@pytest.mark.parametrize("detector", ["v1", "v2"])
def test_pose_has_openfaces_signs(detector: str) -> None:
    """Looking up, turned and tilted to the person's right; OpenFace: up is negative, right positive, tilt negative."""
    data = table(1).assign(Pitch=0.1, Yaw=0.2, Roll=0.3)
    assert np.allclose(attributes_from_table(data, detector)[0, :3], [-0.1, 0.2, -0.3])


def test_mpdetectors_swapped_columns_are_put_right() -> None:
    data = table(1).assign(Pitch=0.1, Yaw=0.2, Roll=0.3)
    assert np.allclose(attributes_from_table(data, "mp")[0, :3], [0.1, -0.3, -0.2])


def test_faces_are_sorted_into_their_frames_largest_first() -> None:
    data = table(4, frames=[0, 2, 2, 1])
    landmarks = [column for column in data if column[:2] in ("x_", "y_")]
    data.loc[2, landmarks] *= 2
    data.loc[3, [*landmarks, "FaceScore"]] = np.nan  # py-feat's row for a frame without a face
    faces = faces_from_table(data, 4, "v1")
    assert [len(found) for found in faces] == [1, 0, 2, 0]
    assert faces[2][0].landmarks[7].tolist() == pytest.approx([data["x_7"][2], data["y_7"][2]], rel=1e-5)
    assert faces[2][0].confidence == pytest.approx(0.9)


def test_a_row_of_score_0_is_no_face() -> None:
    assert faces_from_table(table(1).assign(FaceScore=0.0), 1, "v1") == [[]]


def test_mpdetectors_mesh_becomes_68_points() -> None:
    data = table(1, points=478)
    (face,) = faces_from_table(data, 1, "mp")[0]
    nose = IBUG_FROM_MESH[30]
    assert face.landmarks[30].tolist() == pytest.approx([data[f"x_{nose}"][0], data[f"y_{nose}"][0]], rel=1e-5)


@pytest.mark.skipif(find_spec("feat") is not None, reason="py-feat is installed here")
def test_without_pyfeat_a_sentence_says_what_to_do() -> None:
    with pytest.raises(IcfaceError, match=r"make setup-pyfeat") as raised:
        create("pyfeat")
    assert "\n" not in str(raised.value)


def test_an_unknown_detector_and_weights_folder_are_said(tmp_path: object) -> None:
    with pytest.raises(IcfaceError, match="v1, v2, mp"):
        create("pyfeat", detector="v9")
    with pytest.raises(IcfaceError, match="not a folder"):
        create("pyfeat", weights=f"{tmp_path}/missing")
