"""Each filter drops a frame at its own bound, under its own name, which the format has a column for."""

import cv2
import numpy as np
import pytest

from icface.analyzers.face import Face
from icface.arrays import Picture
from pipelines.config import FilterConfig
from pipelines.format import CLIPS
from pipelines.frame_filters import FILTERS, clipped_share, drop_reason, sharpness, stroke_share


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


def square_face(left: int = 20, top: int = 20, side: int = 40) -> Face:
    """A face whose landmarks lie on the corners of a square."""
    far = side - 1
    corners = np.add([(0, 0), (far, 0), (far, far), (0, far)], (left, top)).astype(np.float32)
    attributes = np.full(20, np.nan, np.float32)
    attributes[:3] = 0
    return Face(landmarks=np.tile(corners, (17, 1)), attributes=attributes, confidence=0.9)


def test_a_face_without_detail_is_badly_exposed_its_background_is_not():
    frame = np.full((80, 80, 3), 255, np.uint8)
    frame[20:60, 20:60] = 120
    assert clipped_share(frame, square_face().landmarks) == 0
    frame[20:60, 20:30] = 255  # a quarter of the face
    assert clipped_share(frame, square_face().landmarks) == pytest.approx(0.25)
    frame[20:60, 50:60] = 0
    assert clipped_share(frame, square_face().landmarks) == pytest.approx(0.5)
    options = FilterConfig(max_clipped=0.4, min_face=1)
    assert drop_reason(options, frame, square_face()) == "exposure"
    assert drop_reason(FilterConfig(max_clipped=0.6, min_face=1), frame, square_face()) == ""
    assert drop_reason(FilterConfig(min_face=1), frame, square_face()) == "", "off by default"


def skin(height: int) -> tuple[Picture, Face]:
    """A face of that height in smooth skin, with a wide mouth full of teeth and two dark brows."""
    frame = np.full((2 * height, 2 * height, 3), (190, 150, 130), np.uint8)
    corner, unit = height // 2, height // 16

    def at(x: int, y: int) -> tuple[int, int]:
        return corner + x * unit, corner + y * unit

    for left in (3, 10):
        cv2.line(frame, at(left, 4), at(left + 3, 4), (0, 0, 0), 2)
    cv2.rectangle(frame, at(4, 11), at(12, 13), (240, 235, 225), -1)
    return frame, square_face(corner, corner, height)


@pytest.mark.parametrize("height", [96, 128, 256])
@pytest.mark.parametrize("outlined", [False, True])
@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 255, 0)])
def test_a_caption_before_the_face_is_found_brows_and_teeth_are_none(height: int, outlined: bool, colour: tuple):
    frame, found = skin(height)
    options = FilterConfig(max_text=0.013)
    assert stroke_share(frame, found.landmarks) < 0.004
    assert drop_reason(options, frame, found) == ""
    place, size = (height // 2 + 2, height), height / 200
    for shade, wider in (((0, 0, 0), 3), (colour, 1)) if outlined else ((colour, 1),):
        thick = wider * max(1, round(2 * size))
        cv2.putText(frame, "Captions", place, cv2.FONT_HERSHEY_SIMPLEX, size, shade, thick, cv2.LINE_AA)
    assert drop_reason(options, frame, found) == "text"
    assert drop_reason(FilterConfig(), frame, found) == "", "off by default"


def test_a_caption_beside_the_face_is_none_and_a_face_outside_has_no_strokes():
    frame, found = skin(128)
    cv2.putText(frame, "Captions", (2, 240), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 2)
    assert drop_reason(FilterConfig(max_text=0.013), frame, found) == ""
    assert stroke_share(frame, square_face(left=900).landmarks) == 0


def test_a_strong_colour_is_well_exposed():
    frame = np.zeros((80, 80, 3), np.uint8)
    frame[..., 0] = 255
    assert clipped_share(frame, square_face().landmarks) == 0


def test_a_face_at_the_border_is_looked_at_as_far_as_it_is_seen():
    frame = np.zeros((80, 80, 3), np.uint8)
    assert clipped_share(frame, square_face(left=60, top=-20).landmarks) == 1
    assert clipped_share(frame, square_face(left=200).landmarks) == 0
