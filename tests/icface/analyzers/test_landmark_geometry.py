import math

import cv2
import numpy as np
import pytest

from icface.analyzers.landmark_geometry import CANONICAL, GAINS, MEASURES, attributes_from_landmarks
from icface.analyzers.pose import rotation_from_euler
from icface.attributes import ATTRIBUTE_NAMES, POSE_NAMES

UPPER_LIDS, LOWER_LIDS = [37, 38, 43, 44], [40, 41, 46, 47]
JAW = [6, 7, 8, 9, 10, 55, 56, 57, 58, 59, 65, 66, 67]


def seen(face: np.ndarray, pitch: float = 0, yaw: float = 0, roll: float = 0) -> np.ndarray:
    """(68, 2) of a head in degrees of pose, as a camera far away sees it; place and size are arbitrary."""
    rotation = rotation_from_euler(np.radians([[pitch, yaw, roll]]))[0]
    return (face @ rotation.T)[:, :2] * 7 + (300, 200)


def read(points: np.ndarray) -> dict[str, float]:
    return dict(zip(ATTRIBUTE_NAMES, attributes_from_landmarks(points[None])[0].tolist(), strict=True))


def moved(points: list[int], x: float = 0, y: float = 0) -> np.ndarray:
    face = CANONICAL.copy()
    face[points] += (x, y, 0)
    return face


@pytest.mark.parametrize("pose", [(0, 0, 0), (15, 0, 0), (0, -30, 0), (0, 0, 20), (-12, 25, -10)])
def test_the_pose_of_a_head_is_found(pose: tuple[float, float, float]) -> None:
    found = read(seen(CANONICAL, *pose))
    for name, expected in zip(POSE_NAMES, pose, strict=True):
        assert math.degrees(found[name]) == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize("pose", [(15, 0, 0), (0, -30, 0), (0, 0, 20), (-12, 25, -10)])
def test_a_turned_head_keeps_its_units(pose: tuple[float, float, float]) -> None:
    straight, turned = read(seen(CANONICAL)), read(seen(CANONICAL, *pose))
    for name in GAINS:
        assert turned[name] == pytest.approx(straight[name], abs=0.12), name


@pytest.mark.parametrize(
    ("name", "face"),
    [
        ("AU01", moved([21, 22], y=-0.4)),
        ("AU02", moved([17, 18, 19, 24, 25, 26], y=-0.6)),
        ("AU12", moved([48, 60], x=-0.5, y=-0.4) + moved([54, 64], x=0.5, y=-0.4) - CANONICAL),
        ("AU25", moved([65, 66, 67], y=0.5)),
        ("AU26", moved(JAW, y=1.0)),
        ("AU45", moved(UPPER_LIDS, y=0.3) + moved(LOWER_LIDS, y=-0.1) - CANONICAL),
    ],
)
def test_a_movement_is_read_as_its_unit(name: str, face: np.ndarray) -> None:
    # Lips that part lower the lower lip, and a jaw that drops takes it along: those two move together.
    before, after = read(seen(CANONICAL, yaw=10)), read(seen(face, yaw=10))
    assert after[name] > before[name] + 0.3
    for other in GAINS.keys() - {name} - ({"AU12", "AU25", "AU26"} if name in ("AU25", "AU26") else set()):
        assert after[other] == pytest.approx(before[other], abs=0.35), other


def test_the_eye_aspect_ratio_is_the_papers() -> None:
    """Soukupova and Cech's equation on a face straight ahead, by plain arithmetic."""
    face = seen(CANONICAL)

    def ratio(p1: int, p2: int, p3: int, p4: int, p5: int, p6: int) -> float:
        return (math.dist(face[p2], face[p6]) + math.dist(face[p3], face[p5])) / (2 * math.dist(face[p1], face[p4]))

    mean = (ratio(36, 37, 38, 39, 40, 41) + ratio(42, 43, 44, 45, 46, 47)) / 2
    assert read(face)["AU45"] == pytest.approx(7.4 * (0.39 - mean), abs=0.02)


def test_place_and_size_do_not_matter() -> None:
    face = seen(moved([65, 66, 67], y=0.5), yaw=20)
    one, other = read(face), read(face * 0.01 - 5)
    assert other == pytest.approx(one, abs=1e-4, nan_ok=True)


def test_what_geometry_cannot_see_is_null() -> None:
    found = read(seen(CANONICAL))
    assert {name for name, value in found.items() if not math.isnan(value)} == MEASURES


def test_pose_is_that_of_a_projection_by_opencv() -> None:
    """A camera with perspective, far away: cv2's own projection instead of ours."""
    rotation = rotation_from_euler(np.radians([[5, -20, 8]]))[0]
    camera = np.array([[5000.0, 0, 320], [0, 5000, 240], [0, 0, 1]])
    points, _ = cv2.projectPoints(CANONICAL, cv2.Rodrigues(rotation)[0], np.array([1.0, 2, 300]), camera, None)
    found = read(points[:, 0])
    assert [math.degrees(found[name]) for name in POSE_NAMES] == pytest.approx([5, -20, 8], abs=1.5)
