"""Each filter drops a frame at its own bound, under its own name, which the format has a column for."""

import numpy as np
import pytest

from icface.analyzers.face import Face
from icface.arrays import Picture
from pipelines.config import FilterConfig
from pipelines.format import CLIPS
from pipelines.frame_filters import FILTERS, drop_reason, sharpness


def face(height: float = 60, confidence: float = 0.9, yaw: float = 0.0) -> Face:
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[1] = (50, height)
    attributes = np.full(20, np.nan, np.float32)
    attributes[:3] = (0, yaw, 0)
    return Face(landmarks=landmarks, attributes=attributes, confidence=confidence)


def noise() -> Picture:
    return np.random.default_rng(0).integers(0, 256, (80, 80, 3)).astype(np.uint8)


def test_a_good_frame_is_kept():
    assert drop_reason(FilterConfig(), noise(), face()) == ""


@pytest.mark.parametrize(
    ("options", "seen", "name"),
    [
        ({"min_face": 61}, {}, "small_face"),
        ({"min_face": 60}, {}, ""),
        ({"min_confidence": 0.95}, {}, "low_confidence"),
        ({"min_confidence": 0.9}, {}, ""),
        ({"max_pose": 0.5}, {"yaw": -0.6}, "turned"),
        ({"max_pose": 0.7}, {"yaw": -0.6}, ""),
        ({"min_face": 61, "max_pose": 0.5}, {"yaw": 0.6}, "small_face"),
    ],
)
def test_each_filter_has_its_bound(options: dict, seen: dict, name: str):
    assert drop_reason(FilterConfig(**options), noise(), face(**seen)) == name


def test_blurred_faces_are_dropped_when_asked_for():
    flat = np.full((80, 80, 3), 128, np.uint8)
    bound = sharpness(noise(), face().box) / 2
    assert drop_reason(FilterConfig(min_sharpness=bound), flat, face()) == "blurred"
    assert drop_reason(FilterConfig(min_sharpness=bound), noise(), face()) == ""
    assert drop_reason(FilterConfig(), flat, face()) == ""


def test_every_filter_is_counted_in_a_column():
    assert {f"dropped_{known.name}" for known in FILTERS} <= set(CLIPS.names)
