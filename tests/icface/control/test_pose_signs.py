"""The signs that docs/attributes.md draws: what the picture shows when an angle is positive."""

from pathlib import Path

import numpy as np
import pytest

from icface.analyzers import create
from icface.video.reading import read_frames

NOSE_TIP, CHIN, LEFT_JAW, RIGHT_JAW = 30, 8, 0, 16
EYES = slice(36, 42), slice(42, 48)


@pytest.fixture(scope="module")
def faces(sample_clips: dict[str, Path]) -> tuple[np.ndarray, np.ndarray]:
    """Pose (N, 3) in radians and landmarks (N, 68, 2) of every 12th frame of WolfgangLanger_Pexels."""
    analyzer = create("mediapipe")
    found = [
        faces[0]
        for indices, frames in read_frames(sample_clips["WolfgangLanger_Pexels.mp4"], every=12)
        for faces in analyzer.analyze(frames, indices, "")
        if faces
    ]
    analyzer.close()
    return np.stack([face.attributes[:3] for face in found]), np.stack([face.landmarks for face in found])


def eye_line(points: np.ndarray) -> np.ndarray:
    """(N, 2) from the eye on the picture's left to the one on its right."""
    return points[:, EYES[1]].mean(axis=1) - points[:, EYES[0]].mean(axis=1)


def test_positive_roll_leans_the_head_to_the_right_of_the_picture(faces: tuple[np.ndarray, np.ndarray]) -> None:
    pose, points = faces
    line = eye_line(points)
    slope = np.arctan2(line[:, 1], line[:, 0])  # y points down: positive is clockwise
    assert np.ptp(slope) > 0.5
    # The eyes' line in the picture is the roll but for what yaw and pitch together add.
    assert np.abs(slope - pose[:, 2]).max() < np.radians(8)


def test_positive_yaw_turns_the_nose_to_the_left_of_the_picture(faces: tuple[np.ndarray, np.ndarray]) -> None:
    pose, points = faces
    middle = (points[:, LEFT_JAW] + points[:, RIGHT_JAW]) / 2
    along = eye_line(points)
    length = np.linalg.norm(along, axis=1)
    turn = ((points[:, NOSE_TIP] - middle) * along).sum(axis=1) / length**2
    assert np.corrcoef(turn, pose[:, 1])[0, 1] < -0.9


def test_positive_pitch_lowers_the_nose_towards_the_chin(faces: tuple[np.ndarray, np.ndarray]) -> None:
    pose, points = faces
    eyes = (points[:, EYES[0]].mean(axis=1) + points[:, EYES[1]].mean(axis=1)) / 2
    above, below = (np.linalg.norm(points[:, NOSE_TIP] - other, axis=1) for other in (eyes, points[:, CHIN]))
    assert np.corrcoef(above / below, pose[:, 0])[0, 1] > 0.7
