"""One face is followed by overlap, whoever else is in the picture."""

import numpy as np
import pytest

from icface.analyzers.face import Face
from icface.analyzers.following import follow, overlap


def face(x: float, size: float) -> Face:
    corners = np.tile(np.array([[x, 0.0], [x + size, size]], np.float32), (34, 1))
    return Face(landmarks=corners, attributes=np.zeros(20, np.float32), confidence=1.0)


def test_the_same_face_is_followed_though_another_grows_larger() -> None:
    larger, smaller = face(100, 80), face(0, 40)
    assert follow([larger, smaller], smaller.box) is smaller
    assert follow([larger, face(4, 40)], smaller.box).box[0] == 4
    assert follow([larger], smaller.box) is None
    assert follow([larger], None) is None
    assert follow([], smaller.box) is None


def test_overlap_is_intersection_over_union() -> None:
    assert overlap([0, 0, 10, 10], [5, 0, 10, 10]) == pytest.approx(50 / 150)
    assert overlap([0, 0, 10, 10], [20, 0, 10, 10]) == 0
    assert overlap([0, 0, 0, 0], [0, 0, 0, 0]) == 0
