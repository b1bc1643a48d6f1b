import numpy as np

from icface.compose import paste_back, side_by_side
from icface.crop import crop_image


def ramp(height: int, width: int) -> np.ndarray:
    """A picture whose colours change slowly."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, x + y], axis=2).astype(np.uint8)


def test_a_face_that_was_only_cut_out_goes_back_where_it_was() -> None:
    picture = ramp(100, 120)
    square = (20.25, 10.5, 60.0)
    back = paste_back(picture, square, crop_image(picture, square, 60))
    assert np.abs(back.astype(int) - picture).max() <= 1


def test_only_the_square_changes_and_its_edge_is_soft() -> None:
    picture = np.full((100, 120, 3), 100, np.uint8)
    result = paste_back(picture, (30.0, 20.0, 50.0), np.full((32, 32, 3), 200, np.uint8))
    outside = np.ones((100, 120), bool)
    outside[20:70, 30:80] = False
    assert (result[outside] == 100).all()
    assert (result[40:50, 50:60] == 200).all()
    across = result[45, 29:81, 0].astype(int)
    assert np.abs(np.diff(across)).max() < 40 and (np.diff(across[:26]) >= 0).all()


def test_a_square_at_the_pictures_rim() -> None:
    picture = ramp(64, 64)
    assert paste_back(picture, (0.0, 0.0, 64.0), picture).shape == picture.shape


def test_pictures_side_by_side_have_one_height() -> None:
    row = side_by_side([ramp(40, 80), ramp(20, 20)], height=40)
    assert row.shape == (40, 80 + 40, 3)
    np.testing.assert_array_equal(row[:, :80], ramp(40, 80))
