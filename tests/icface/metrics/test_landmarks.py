import numpy as np
import pytest

from icface.metrics.landmarks import eye_boxes, landmark_distance, mouth_boxes


def face(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.2, 0.8, (1, 68, 2))


def test_the_distance_is_written_out_by_hand() -> None:
    real, found = face(0), face(1)
    apart = [np.hypot(*(found[0, index] - real[0, index])) for index in range(68)]
    eyes = np.hypot(*(real[0, 36] - real[0, 45]))
    assert landmark_distance(found, real)[0] == pytest.approx(100 * np.mean(apart) / eyes)


def test_it_does_not_depend_on_the_size_of_the_picture_and_unknown_stays_unknown() -> None:
    real, found = face(0), face(1)
    np.testing.assert_allclose(landmark_distance(found * 256, real * 256), landmark_distance(found, real))
    assert np.isnan(landmark_distance(found * np.nan, real)).all()
    assert np.isnan(landmark_distance(found, real * np.nan)).all()


def test_the_boxes_hold_their_points_and_little_else() -> None:
    points = face(3)
    for boxes, part in ((eye_boxes(points), points[0, 36:48]), (mouth_boxes(points), points[0, 48:68])):
        x, y, width, height = boxes[0]
        assert (part > [x, y]).all() and (part < [x + width, y + height]).all()
        assert width == pytest.approx(1.3 * np.ptp(part[:, 0]))
    assert np.isnan(eye_boxes(points * np.nan)).all()
